"""Parquet as Hugging Face's `datasets` writes it: a row an image, one file or a folder of shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from onnx_gapmil.data.building import Placed, build
from onnx_gapmil.data.files import printable
from onnx_gapmil.data.kept_out import TORN, KeptOut
from onnx_gapmil.data.records import read_labels
from onnx_gapmil.data.shards.box_reading import settle_boxes
from onnx_gapmil.data.shards.features import Features, features_of
from onnx_gapmil.data.shards.listing import MAX_IMAGES, ShardSet
from onnx_gapmil.data.shards.rows import BROKEN, ParquetRow, RowReader, group_starts, in_short, open_parquet, values_of
from onnx_gapmil.data.types import DataSet, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.remote import Place

UNKNOWN = -1
"""The label of a row whose class is not known, in every data set of the `datasets` library."""


def read_parquet(shards: ShardSet, *, label: str | None = None) -> DataSet:
    """Read the labels of all shards; the images are read when they are asked for.

    An image is a struct of `bytes` and `path`, or bytes; where there are no bytes, the path names a file beside the
    shard. Labels are numbers or names, one or a list; numbers of a ClassLabel become its names, and -1 means that the
    class is not known. Objects have boxes, `[x, y, width, height]` as COCO's or corners, whichever fits the images.
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
    if features.objects:
        placed, note = settle_boxes(placed)
    names = features.names.get(features.label or "objects")
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


def images_of(shards: ShardSet) -> Iterator[tuple[Source, str, str]]:
    """The images of all rows, labelled or not, each with the name of its shard and its key there.

    Raises:
        DataError: a file is damaged, or has no column of images.
    """
    reader = RowReader()
    for shard in shards.shards:
        try:
            with open_parquet(shard) as file:
                features = features_of(file.schema_arrow, labelled=False)
                if features is None or features.bytes_column is None:
                    raise DataError(
                        f"{shard}: it has no column of images' bytes; its columns are {columns_said(file)}."
                    )
                rows = file.metadata.num_rows
        except BROKEN as error:
            raise DataError(f"{shard}: not a Parquet file that can be read ({in_short(error)}).") from error
        for row in range(rows):
            yield ParquetRow(shard, features.bytes_column, row, reader), shards.name(shard), str(row)


class _Reading:
    """Shards as they are read, one after the other."""

    def __init__(self, shards: ShardSet, label: str | None) -> None:
        self.placed: PackedList[tuple[RawSample, str]] = PackedList()
        self.kept_out = KeptOut()
        self.features: Features | None = None
        self._shards, self._label = shards, label
        self._reader = RowReader()
        self._lacking: dict[str, int] = {}

    def notes(self) -> list[str]:
        """Columns that some shards lack."""
        return [
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
        of = found.label or "objects"
        if found.names.get(of) != first.names.get(of):
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
            fields = _fields(features, values)
        except _LabelError as error:
            self.kept_out.add("row", error.why, f"{key}{error.detail}")
            return
        try:
            labels, boxes, columns = read_labels(fields, where, "the row")
            image = self._image(features, shard, row, values, empty, where)
        except DataError as error:
            self.kept_out.add("row", "fields that cannot be used", f"{key} ({_without(str(error), where)})")
            return
        mask = ParquetRow(shard, f"{features.mask}.bytes", row, self._reader) if _has_mask(features, values) else None
        self.placed.append((RawSample(image, key, labels, boxes, mask, columns), where))

    def _image(
        self, features: Features, shard: Place, row: int, values: Mapping[str, Any], empty: bool, where: str
    ) -> Source:
        column = features.bytes_column
        if column is not None and not empty:
            return ParquetRow(shard, column, row, self._reader)
        written = values.get(features.image)
        path = written.get("path") if isinstance(written, Mapping) else written
        if not isinstance(path, str):
            raise DataError(f"{where}: the image has neither bytes nor a path.")
        return self._shards.finder(shard).find(path, where)


class _LabelError(Exception):
    """A row's label is of no use."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(why)
        self.why, self.detail = why, detail


def _read_columns(file: pq.ParquetFile, features: Features) -> list[str]:
    """All that is read of each row before its image is."""
    there = set(file.schema_arrow.names)
    columns = [features.label] if features.label is not None else []
    columns += [name for name in ("boxes", "box_labels", "objects") if name in there]
    paths = [f"{features.image}.path", features.image] if features.form != "bytes" else []
    masks = [f"{features.mask}.path"] if features.mask is not None else []
    leaves = {file.metadata.schema.column(place).path for place in range(len(file.metadata.schema))}
    return [*dict.fromkeys([*columns, *features.columns]), *(leaf for leaf in [*paths, *masks] if leaf in leaves)]


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


def _fields(features: Features, values: Mapping[str, Any]) -> dict[str, object]:
    """A row as `read_labels` takes it.

    Raises:
        _LabelError: its label is not known, or no class.
    """
    fields: dict[str, object] = {
        name: _plain(_named_or_same(values.get(name), features.names.get(name))) for name in features.columns
    }
    fields |= {name: values[name] for name in ("boxes", "box_labels") if values.get(name) is not None}
    objects = values.get("objects")
    if features.objects is not None:
        fields["objects"] = _objects(objects, features.objects, features.names.get("objects"))
    elif isinstance(objects, list):
        fields["objects"] = objects
    if features.label is None:
        fields["labels"] = [] if not fields.get("objects") else None
        return fields
    label = values.get(features.label)
    names = features.names.get(features.label)
    if isinstance(label, list):
        known = [entry for entry in label if not _is_unknown(entry)]
        if label and not known:
            raise _LabelError("a label of -1, or none: the class is not known")
        fields["labels"] = [_named(_number(entry), names) for entry in known]
        return fields
    if _is_unknown(label):
        raise _LabelError("a label of -1, or none: the class is not known")
    fields["label"] = _named(_number(label), names)
    return fields


def _is_unknown(label: object) -> bool:
    return label is None or (type(label) is int and label == UNKNOWN)


def _number(label: object) -> object:
    return int(label) if isinstance(label, bool) else label


def _named(label: object, names: Sequence[str] | None) -> object:
    if names is None or type(label) is not int:
        return label
    if not 0 <= label < len(names):
        raise _LabelError(f"label out of range, which is 0 to {len(names) - 1:,}", f" (label {label:,})")
    return names[label]


def _named_or_same(value: object, names: Sequence[str] | None) -> object:
    """A column's value by its name; out of range it stays a number."""
    return names[value] if names is not None and type(value) is int and 0 <= value < len(names) else value


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _objects(value: object, spelled: tuple[str, str], names: Sequence[str] | None) -> list[dict[str, object]]:
    """Objects as `read_labels` takes them: of a struct of lists, or of a list of structs. One of unknown class has no
    say."""
    box, category = spelled
    if isinstance(value, Mapping):
        boxes, categories = value.get(box) or [], value.get(category) or []
        if len(boxes) != len(categories):
            raise _LabelError("objects that have not one class for each box")
        pairs = list(zip(boxes, categories, strict=True))
    else:
        pairs = [(entry.get(box), entry.get(category)) for entry in _listed(value) if isinstance(entry, Mapping)]
    return [{"box": corners, "label": _named(kind, names)} for corners, kind in pairs if not _is_unknown(kind)]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _has_mask(features: Features, values: Mapping[str, Any]) -> bool:
    return features.mask is not None and values.get(features.mask) is not None


def columns_said(file: pq.ParquetFile) -> str:
    """The names of a file's columns, for a message."""
    names = [repr(printable(name)[:40]) for name in file.schema_arrow.names[:12]]
    return ", ".join(names) or "none"


def _without(text: str, where: str) -> str:
    return text.removeprefix(f"{where}: ").rstrip(".")
