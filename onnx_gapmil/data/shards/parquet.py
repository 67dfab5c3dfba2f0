"""Parquet as Hugging Face's `datasets` writes it: a row an image, one file or a folder of shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.parquet as pq

from onnx_gapmil.data.building import Placed, build
from onnx_gapmil.data.coco import crowds_said
from onnx_gapmil.data.files import printable
from onnx_gapmil.data.kept_out import TORN, KeptOut
from onnx_gapmil.data.records import read_labels
from onnx_gapmil.data.shards.box_reading import settle_boxes
from onnx_gapmil.data.shards.features import Features, features_of
from onnx_gapmil.data.shards.fields import LabelError, fields_of
from onnx_gapmil.data.shards.listing import MAX_IMAGES, ShardSet
from onnx_gapmil.data.shards.rows import BROKEN, ParquetRow, RowReader, group_starts, in_short, open_parquet, values_of
from onnx_gapmil.data.types import DataSet, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.remote import Place


def read_parquet(shards: ShardSet, *, label: str | None = None) -> DataSet:
    """Read the labels of all shards; the images are read when they are asked for.

    An image is a struct of `bytes` and `path`, or bytes; where there are no bytes, the path names a file beside the
    shard. Labels are numbers or names, one or a list; numbers of a ClassLabel become its names, and -1 means that the
    class is not known. Objects have boxes, in pixels or fractions, whichever reading fits the images (`settle_boxes`).
    Other columns of plain values make slices.

    What cannot be used is left out and named in the notes: a shard that is damaged, or whose columns or classes are
    others than the first one's; a row without an image, or whose label is no class.

    Args:
        shards: the files, in order.
        label: the column of labels; found if None.

    Raises:
        DataError: no shard can be read, none has images and labels, or nothing is left of them.
    """
    reading = _Reading(shards, label)
    for shard in shards.shards:
        reading.add(shard)
    features = reading.features
    if features is None:
        raise DataError(f"{shards.what}: {' '.join(reading.kept_out.notes())}")
    if not reading.placed:
        raise DataError(f"{shards.what}: no row is left. {' '.join(reading.kept_out.notes())}")
    placed: Placed = reading.placed
    note = ""
    if features.objects is not None and not features.objects.as_in_label_files:
        placed, note = settle_boxes(placed, features.objects.column, shards.what)
    names = features.names.get(features.labels_from)
    notes = [*shards.notes, *reading.kept_out.notes(), *reading.notes(), *([note] if note else [])]
    return build(
        placed,
        kind="parquet",
        root=shards.root,
        what=shards.what,
        class_names=names,
        notes=notes,
        numbered=names is not None,
    )


def images_of(shards: ShardSet, kept_out: KeptOut) -> Iterator[tuple[Source, str, str]]:
    """The images of all rows, labelled or not, each with the name of its shard and its key there.

    Args:
        shards: the files, in order.
        kept_out: is told of shards that are damaged or without images, and of rows that have none.

    Raises:
        DataError: no image is left.
    """
    reader, any_image = RowReader(), False
    for shard in shards.shards:
        name = shards.name(shard)
        try:
            with open_parquet(shard) as file:
                features = features_of(file.schema_arrow, labelled=False)
                if features is None:
                    kept_out.add("shard", "no column of images", f"{name} (its columns are {columns_said(file)})")
                    continue
                for row, image in _images(file, features, shards, shard, reader, kept_out):
                    any_image = True
                    yield image, name, str(row)
        except BROKEN as error:
            kept_out.add("shard", "no Parquet file, or a damaged one", f"{name} ({in_short(error)})")
    if not any_image:
        raise DataError(f"{shards.what}: {' '.join(['no image was found.', *kept_out.notes()])}")


def _images(
    file: pq.ParquetFile, features: Features, shards: ShardSet, shard: Place, reader: RowReader, kept_out: KeptOut
) -> Iterator[tuple[int, Source]]:
    """The images of a file's rows; paths are read only where a row has no bytes."""
    empty = _empty_rows(file, features)
    if not empty:
        assert features.bytes_column is not None  # noqa: S101 (of paths all rows are empty)
        for row in range(file.metadata.num_rows):
            yield row, ParquetRow(shard, features.bytes_column, row, reader)
        return
    for row, record in enumerate(values_of(file, _path_columns(file, features))):
        where = f"{shard}, row {row:,}"
        try:
            yield row, _image(features, shards, shard, row, record, row in empty, where, reader)
        except DataError as error:
            kept_out.add("row", "no image", f"{shards.name(shard)}#{row} ({_without(str(error), where)})")


class _Reading:
    """Shards as they are read, one after the other."""

    def __init__(self, shards: ShardSet, label: str | None) -> None:
        self.placed: PackedList[tuple[RawSample, str]] = PackedList()
        self.kept_out = KeptOut()
        self.features: Features | None = None
        self._shards, self._label = shards, label
        self._reader = RowReader()
        self._lacking: dict[str, int] = {}
        self._crowds = 0

    def notes(self) -> list[str]:
        """Columns that some shards lack, and what of objects is not read."""
        crowds = [crowds_said(self._crowds)] if self._crowds else []
        return crowds + [
            f"Column '{printable(name)}' is not in {'one shard' if count == 1 else f'{count:,} shards'} of "
            f"{len(self._shards.shards):,}: images there have no value."
            for name, count in self._lacking.items()
        ]

    def add(self, shard: Place) -> None:
        """Read one; what is wrong with it is noted."""
        name = self._shards.name(shard)
        try:
            with open_parquet(shard) as file:
                features = self._checked(file, name)
                if features is not None:
                    self._rows(file, features, shard, name)
        except BROKEN as error:
            self.kept_out.add("shard", "no Parquet file, or a damaged one", f"{name} ({in_short(error)})")

    def _checked(self, file: pq.ParquetFile, name: str) -> Features | None:
        """The columns of a shard, if they are like the first one's."""
        try:
            found = features_of(file.schema_arrow, self._label)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        if found is None or (found.label is None and found.objects is None):
            lacks = "images" if found is None else "labels; --labels names one"
            self.kept_out.add("shard", f"no column of {lacks}", f"{name} (its columns are {columns_said(file)})")
            return None
        if self.features is None:
            self.features = found
        first = self.features
        if (found.image, found.label, found.objects) != (first.image, first.label, first.objects):
            self.kept_out.add("shard", "other columns than the first one's", f"{name} ({columns_said(file)})")
            return None
        if found.texts != first.texts:
            said = ("texts", "numbers") if found.texts else ("numbers", "texts")
            self.kept_out.add("shard", f"labels are {said[0]}, and the first one's {said[1]}", name)
            return None
        if found.names.get(found.labels_from) != first.names.get(first.labels_from):
            self.kept_out.add("shard", "other names of classes than the first one's", name)
            return None
        for column in {*first.columns} - {*found.columns}:
            self._lacking[column] = self._lacking.get(column, 0) + 1
        return found

    def _rows(self, file: pq.ParquetFile, features: Features, shard: Place, name: str) -> None:
        columns = _read_columns(file, features)
        row = -1
        empty = _empty_rows(file, features)
        try:
            for row, record in enumerate(values_of(file, columns)):
                if len(self.placed) >= MAX_IMAGES:
                    raise DataError(f"{self._shards.what}: more than {MAX_IMAGES:,} images; give fewer shards at once.")
                self._row(features, shard, name, row, record, row in empty)
        except BROKEN as error:
            self.kept_out.add(TORN, "damaged", f"{name} from row {row + 1:,} on ({in_short(error)})")

    def _row(
        self, features: Features, shard: Place, name: str, row: int, values: Mapping[str, Any], empty: bool
    ) -> None:
        key, where = f"{name}#{row}", f"{shard}, row {row:,}"
        try:
            fields, crowds = fields_of(features, values)
        except LabelError as error:
            self.kept_out.add("row", error.why, f"{key}{error.detail}")
            return
        try:
            labels, boxes, columns = read_labels(fields, where, "the row")
            image = _image(features, self._shards, shard, row, values, empty, where, self._reader)
        except DataError as error:
            self.kept_out.add("row", "fields that cannot be used", f"{key} ({_without(str(error), where)})")
            return
        self._crowds += crowds
        mask = ParquetRow(shard, f"{features.mask}.bytes", row, self._reader) if _has_mask(features, values) else None
        self.placed.append((RawSample(image, key, labels, boxes, mask, columns), where))


def _image(
    features: Features,
    shards: ShardSet,
    shard: Place,
    row: int,
    values: Mapping[str, Any],
    empty: bool,
    where: str,
    reader: RowReader,
) -> Source:
    """A row's image: its bytes, or the file that its path names.

    Raises:
        DataError: it has neither, or the path leads out.
    """
    column = features.bytes_column
    if column is not None and not empty:
        return ParquetRow(shard, column, row, reader)
    written = values.get(features.image)
    path = written.get("path") if isinstance(written, Mapping) else written
    if not isinstance(path, str):
        raise DataError(f"{where}: the image has neither bytes nor a path.")
    return shards.finder(shard).find(path, where)


def _read_columns(file: pq.ParquetFile, features: Features) -> list[str]:
    """All that is read of each row before its image is."""
    there = set(file.schema_arrow.names)
    columns = [features.label] if features.label is not None else []
    columns += [name for name in ("boxes", "box_labels", "objects") if name in there]
    columns += [features.objects.column] if features.objects is not None else []
    masks = [f"{features.mask}.path"] if features.mask is not None else []
    masks = [leaf for leaf in masks if leaf in _leaves(file)]
    return [*dict.fromkeys([*columns, *features.columns]), *_path_columns(file, features), *masks]


def _path_columns(file: pq.ParquetFile, features: Features) -> list[str]:
    """What is read of a row's image before its bytes are."""
    paths = [f"{features.image}.path", features.image] if features.form != "bytes" else []
    return [leaf for leaf in paths if leaf in _leaves(file)]


def _leaves(file: pq.ParquetFile) -> set[str]:
    return {file.metadata.schema.column(place).path for place in range(len(file.metadata.schema))}


def _empty_rows(file: pq.ParquetFile, features: Features) -> set[int]:
    """Rows that hold no bytes; read through only where the file does not say that there are none, or that all are."""
    column = features.bytes_column
    if column is None:
        return set(range(file.metadata.num_rows))
    place = next(at for at in range(len(file.metadata.schema)) if file.metadata.schema.column(at).path == column)
    found: set[int] = set()
    starts = group_starts(file)
    for group in range(file.metadata.num_row_groups):
        rows = starts[group + 1] - starts[group]
        statistics = file.metadata.row_group(group).column(place).statistics
        nulls = statistics.null_count if statistics is not None and statistics.has_null_count else None
        if nulls == rows:
            found.update(range(starts[group], starts[group + 1]))
        elif nulls != 0:
            at = starts[group]
            for batch in file.iter_batches(16, row_groups=[group], columns=[column], use_threads=False):
                values = batch.column(0)
                values = values.field("bytes") if features.form == "struct" else values
                found.update(at + row for row, null in enumerate(values.is_null().to_pylist()) if null)
                at += len(batch)
    return found


def _has_mask(features: Features, values: Mapping[str, Any]) -> bool:
    return features.mask is not None and values.get(features.mask) is not None


def columns_said(file: pq.ParquetFile) -> str:
    """The names of a file's columns, for a message."""
    names = [repr(printable(name)[:40]) for name in file.schema_arrow.names[:12]]
    return ", ".join(names) or "none"


def _without(text: str, where: str) -> str:
    return text.removeprefix(f"{where}: ").rstrip(".")
