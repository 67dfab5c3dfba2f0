"""Whether a file, a folder or a pattern names shards, and of which kind."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_gapmil.data.files import listed
from onnx_gapmil.data.folders import SPLITS
from onnx_gapmil.data.shards.listing import PARQUET, TAR, ShardSet, shard_set, shards_in, shards_of_pattern
from onnx_gapmil.data.types import DataSet
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.remote import Place, RemotePath

SHARDS = PARQUET | TAR
"""Endings of files that are data sets by themselves."""


_CONVERTED = {"default"}
"""The folder that the Hub puts converted splits into."""


def find_shards(path: Place) -> ShardSet:
    """One shard, or those that a pattern names.

    Raises:
        DataError: the pattern names none.
    """
    return shard_set([path], path.parent) if path.is_file() else shards_of_pattern(path)


def read_shards(shards: ShardSet, label: str | None) -> DataSet:
    """Read a data set of shards.

    Args:
        shards: of one kind.
        label: the column of labels, where the user names one.

    Raises:
        DataError: nothing of them can be used; or a column is named, and there are none.
    """
    _require_parts(shards)
    if shards.shards[0].suffix.lower() in TAR:
        from onnx_gapmil.data.shards.webdataset import read_webdataset

        if label is not None:
            raise DataError(f"{shards.what}: a tar has its labels inside; leave --labels {label} out.")
        return read_webdataset(shards)
    from onnx_gapmil.data.shards.parquet import read_parquet

    return read_parquet(shards, label=label)


def _require_parts(shards: ShardSet) -> None:
    """Make sure that images can be read one by one, also of shards behind a URL."""
    for shard in shards.shards:
        try:
            if isinstance(shard, RemotePath) and not shard.gives_parts():
                raise DataError(
                    f"{shard}: its server gives whole files alone, and images are read one by one: fetch it."
                )
        except (OSError, ValueError) as error:
            raise DataError(f"{shard}: cannot be read ({error}).") from error


def images_in(shards: ShardSet) -> Iterator[tuple[Source, str, str]]:
    """The images of shards, labelled or not, each with the name of its shard and its key there.

    Raises:
        DataError: a shard is damaged or compressed, or holds no image.
    """
    _require_parts(shards)
    if shards.shards[0].suffix.lower() in TAR:
        from onnx_gapmil.data.shards import webdataset

        return webdataset.images_of(shards)
    from onnx_gapmil.data.shards import parquet

    return parquet.images_of(shards)


def folder_of_shards(folder: Place) -> ShardSet | None:
    """The shards in a folder, if they hold images; None if not.

    Raises:
        DataError: they are of several splits, or lie in several folders below.
    """
    found = _of_one_kind(folder)
    if found:
        return shard_set(found, folder)
    splits = [place for place in listed(folder) if place.name.lower() in SPLITS | _CONVERTED and place.is_dir()]
    deeper = ", ".join(str(place) for place in splits if _of_one_kind(place))
    if deeper:
        raise DataError(f"{folder}: the shards lie one folder deeper; give {deeper}.")
    return None


def without_images(folder: Place) -> str:
    """What the Parquet files of a folder hold of which none has images, for a message; "" where there are none."""
    from onnx_gapmil.data.shards.parquet import columns_said
    from onnx_gapmil.data.shards.rows import open_parquet

    found = shards_in(folder, PARQUET)
    if not found:
        return ""
    with open_parquet(found[0]) as file:  # it was opened a moment ago, to see that it has none
        return f"{found[0].name} has no column of images (its columns are {columns_said(file)})"


def _of_one_kind(folder: Place) -> list[Place]:
    """Parquet files with images, else tars."""
    return [path for path in shards_in(folder, PARQUET) if _holds_images(path)] or shards_in(folder, TAR)


def _holds_images(path: Place) -> bool:
    """Whether a Parquet file has a column of images; one that cannot be read may have had."""
    from onnx_gapmil.data.shards.features import features_of
    from onnx_gapmil.data.shards.rows import BROKEN, open_parquet

    try:
        with open_parquet(path) as file:
            found = features_of(file.schema_arrow, labelled=False)
            # Paths without labels are somebody's results.
            return found is not None and (found.form != "path" or "label" in file.schema_arrow.names)
    except BROKEN:
        return True
