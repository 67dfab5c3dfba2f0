"""Whether a file, a folder or a pattern names shards, and of which kind."""

from __future__ import annotations

from pathlib import Path

from onnx_gapmil.data.shards.listing import PARQUET, TAR, ShardSet, shard_set, shards_in, shards_of_pattern
from onnx_gapmil.data.types import DataSet
from onnx_gapmil.errors import DataError

SHARDS = PARQUET | TAR
"""Endings of files that are data sets by themselves."""


def find_shards(path: Path) -> ShardSet:
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
    if shards.shards[0].suffix.lower() in TAR:
        from onnx_gapmil.data.shards.webdataset import read_webdataset

        if label is not None:
            raise DataError(f"{shards.what}: a tar has its labels inside; leave --labels {label} out.")
        return read_webdataset(shards)
    from onnx_gapmil.data.shards.parquet import read_parquet

    return read_parquet(shards, label=label)


def folder_of_shards(folder: Path) -> ShardSet | None:
    """The shards in a folder, if they hold images; None if not.

    Raises:
        DataError: they are of several splits, or lie in several folders below.
    """
    found = _of_one_kind(folder)
    if found:
        return shard_set(found, folder)
    deeper = [place for place in sorted(folder.iterdir()) if place.is_dir() and _of_one_kind(place)]
    if deeper:
        listed = ", ".join(str(place) for place in deeper[:8])
        raise DataError(f"{folder}: the shards lie one folder deeper; give one of: {listed}.")
    return None


def _of_one_kind(folder: Path) -> list[Path]:
    """Parquet files with images, else tars."""
    return [path for path in shards_in(folder, PARQUET) if _holds_images(path)] or shards_in(folder, TAR)


def _holds_images(path: Path) -> bool:
    """Whether a Parquet file has a column of images; one that cannot be read may have had."""
    from onnx_gapmil.data.shards.features import features_of
    from onnx_gapmil.data.shards.rows import BROKEN, open_parquet

    try:
        with open_parquet(path) as file:
            return features_of(file.schema_arrow) is not None
    except DataError:  # several columns of labels: whoever reads it says so
        return True
    except BROKEN:
        return True
