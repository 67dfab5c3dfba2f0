"""Whether a file, a folder or a pattern names shards, and of which kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from onnx_gapmil.data.files import listed
from onnx_gapmil.data.kept_out import KeptOut
from onnx_gapmil.data.shards.listing import (
    PARQUET,
    TAR,
    ShardSet,
    shard_set,
    shards_in,
    shards_of_pattern,
    unread_archive,
)
from onnx_gapmil.data.types import DataSet
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.remote import Place, RemotePath

SHARDS = PARQUET | TAR
"""Endings of files that are data sets by themselves."""


_DEPTH = 3
"""Folders below one another in which shards are looked for: a configuration, `default`, a split."""

_NAMED = 8


def find_shards(path: Place, *, one_split: bool = True) -> ShardSet:
    """One shard, or those that a pattern names.

    Args:
        path: of a shard, or a pattern.
        one_split: see `shard_set`.

    Raises:
        DataError: the pattern names none, or those of several splits.
    """
    return shard_set([path], path.parent) if path.is_file() else shards_of_pattern(path, one_split=one_split)


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


def images_in(shards: ShardSet, kept_out: KeptOut) -> Iterator[tuple[Source, str, str]]:
    """The images of shards, labelled or not, each with the name of its shard and its key there.

    Args:
        shards: of one kind.
        kept_out: is told what cannot be used, and is left out.

    Raises:
        DataError: a shard is compressed, or none holds an image.
    """
    _require_parts(shards)
    if shards.shards[0].suffix.lower() in TAR:
        from onnx_gapmil.data.shards import webdataset

        return webdataset.images_of(shards, kept_out)
    from onnx_gapmil.data.shards import parquet

    return parquet.images_of(shards, kept_out)


def folder_of_shards(folder: Place, *, one_split: bool = True) -> ShardSet | None:
    """The shards in a folder, if they hold images; None if not.

    Args:
        folder: where they are looked for.
        one_split: see `shard_set`.

    Raises:
        DataError: they are of several splits.
    """
    found = _of_one_kind(folder)
    return shard_set(found, folder, one_split=one_split) if found else None


def instead_of_shards(folder: Place) -> str:
    """What a folder without shards has that comes near to it, for a message; "" where there is nothing.

    Parquet files without images, compressed tars, what `Dataset.save_to_disk` writes.
    """
    from onnx_gapmil.data.shards.parquet import columns_said
    from onnx_gapmil.data.shards.rows import BROKEN, in_short, open_parquet

    found = shards_in(folder, PARQUET)
    if found:
        try:
            with open_parquet(found[0]) as file:
                return f"{found[0].name} has no column of images (its columns are {columns_said(file)})"
        except BROKEN as error:
            return f"{found[0].name} cannot be read ({in_short(error)})"
    entries = listed(folder)
    for entry in entries:
        if (said := unread_archive(entry)) and entry.is_file():
            return f"{entry.name} is {said}"
    if any(entry.suffix == ".arrow" for entry in entries):
        return "its .arrow files are save_to_disk's; write Parquet with datasets.load_from_disk(...).to_parquet(...)"
    return ""


def refuse_deeper_shards(folder: Place) -> None:
    """Say of a folder without images of its own where the shards lie: the Hub's configurations, converted splits.

    Raises:
        DataError: there are such, in the folders below.
    """
    found = list(itertools.islice(_folders_of_shards(folder, _DEPTH), _NAMED + 1))
    if found:
        deeper = "one folder deeper" if all(place.parent == folder for place in found) else "deeper"
        more = ", ..." if len(found) > _NAMED else ""
        raise DataError(f"{folder}: the shards lie {deeper}; give {', '.join(map(str, found[:_NAMED]))}{more}.")


def _folders_of_shards(folder: Place, depth: int) -> Iterator[Place]:
    below = [place for place in listed(folder) if not place.name.startswith(".") and place.is_dir()]
    for place in below:
        if _of_one_kind(place):
            yield place
        elif depth > 1:
            yield from _folders_of_shards(place, depth - 1)


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
