"""``images.parquet`` and ``classes.parquet``: a row for each image and for each class, flat, for any tool to read."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.files.writing import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from onnx_gapmil.auditing.records import ImageRecord, Record
    from onnx_gapmil.auditing.standing import Standing
    from onnx_gapmil.metrics import ImageMeasures
    from onnx_gapmil.metrics.figures import ClassRow
    from onnx_gapmil.metrics.multilabel import MultiLabelFigures

    NameOf = Callable[[int], str]

#: Rows of a group of the file, and rows that are objects at a time.
_ROWS, _PART = 1 << 14, 1 << 10
_IMAGES: Mapping[str, pa.DataType] = {
    "image": pa.string(),
    "error": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "labels": pa.list_(pa.int32()),
    "label_names": pa.list_(pa.string()),
    "prediction": pa.int32(),
    "prediction_name": pa.string(),
    "probability": pa.float64(),
    "top5": pa.list_(pa.int32()),
    "right": pa.bool_(),
    "rank": pa.int32(),
    **{f"rank_{name}": pa.int32() for name in AGGREGATORS},
    "cause": pa.string(),
    "recoverable": pa.bool_(),
    "control": pa.float64(),
    "foreground_cells": pa.int32(),
    "any_top1": pa.bool_(),
    "any_top5": pa.bool_(),
    "most_top1": pa.bool_(),
    "cell_share": pa.float64(),
    "background_share": pa.float64(),
    "background_reliance": pa.float64(),
    "pointing_game": pa.bool_(),
    "object_share": pa.float64(),
    "label_probability": pa.float64(),
    "label_cells": pa.int32(),
    "suspect": pa.bool_(),
    "slices": pa.map_(pa.string(), pa.string()),
    "present": pa.list_(pa.int32()),
    "present_names": pa.list_(pa.string()),
}
_CLASSES: Mapping[str, pa.DataType] = {
    "index": pa.int32(),
    "name": pa.string(),
    "images": pa.int64(),
    "top1": pa.float64(),
    "top5": pa.float64(),
    "any_top1": pa.float64(),
    "cell_share": pa.float64(),
    "most_confused": pa.list_(pa.int32()),
    "most_confused_images": pa.list_(pa.int32()),
    **{name: pa.float64() for name in ("threshold", "prevalence", "average_precision", "precision", "recall", "f1")},
}


def write_images(
    path: Path,
    records: Sequence[Record],
    name_of: NameOf,
    standing: Standing | None = None,
    measured: int | None = None,
) -> None:
    """Write a row for each image, in the data set's order; ranks count from 1, of the best-ranked true class.

    Args:
        path: the file.
        records: of the audit.
        name_of: a class's name.
        standing: the slices of each measured image, and whether its label is suspect.
        measured: how many images were; counted if None.

    Raises:
        InputError: the file cannot be written.
    """
    write_table(path, _image_rows(records, name_of, standing, measured), _IMAGES)


def write_classes(
    path: Path, rows: Sequence[ClassRow], name_of: NameOf, multi_label: MultiLabelFigures | None = None
) -> None:
    """Write a row for each class that labels an image, in the order of the model's classes.

    Of a multi-label head, what it is measured by as well; null of others.

    Raises:
        InputError: the file cannot be written.
    """
    table = [
        {
            "index": row.index,
            "name": name_of(row.index),
            "images": row.images,
            "top1": row.top1,
            "top5": row.top5,
            "any_top1": row.any_top1,
            "cell_share": row.cell_share,
            "most_confused": [index for index, _ in row.most_confused],
            "most_confused_images": [count for _, count in row.most_confused],
            **(to_json(multi_label.by_class[str(row.index)]) if multi_label is not None else {}),
        }
        for row in rows
    ]
    write_table(path, table, _CLASSES)


def _image_rows(
    records: Sequence[Record], name_of: NameOf, standing: Standing | None, measured: int | None
) -> Iterator[dict[str, Any]]:
    if measured is None:
        measured = sum(not isinstance(record, Failure) for record in records)
    slices: Iterator[dict[str, str]] = iter(()) if standing is None else standing.slices.by_image(measured)
    suspects = frozenset(() if standing is None else standing.suspects or ())
    places = itertools.count()
    for record in records:
        row = _image_row(record, name_of)
        if standing is not None and not isinstance(record, Failure):
            row["slices"] = list(next(slices).items())
            row["suspect"] = None if standing.suspects is None else next(places) in suspects
        yield row


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> None:
    """Write rows as Parquet, some thousands at a time, whole or not at all.

    Args:
        path: the file.
        rows: by column; what a row lacks is null.
        columns: their types, in order.

    Raises:
        InputError: the file cannot be written.
    """
    schema, left = pa.schema(list(columns.items())), iter(rows)
    with whole_file(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        while group := list(itertools.islice(_tables(left, schema), _ROWS // _PART)):
            writer.write_table(pa.concat_tables(group).combine_chunks())


def _tables(rows: Iterator[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows of which a part at a time are objects: as columns they take a tenth of the memory."""
    while part := list(itertools.islice(rows, _PART)):
        yield pa.table([pa.array([row.get(field.name) for row in part], type=field.type) for field in schema], schema)


def _image_row(record: Record, name_of: NameOf) -> dict[str, Any]:
    if isinstance(record, Failure):
        return {"image": record.image, "error": record.error}
    measures = record.measures
    answer, probability = record.top[0]
    return {
        "image": record.image,
        "width": record.size[0],
        "height": record.size[1],
        "labels": measures.labels,
        "label_names": [name_of(index) for index in measures.labels],
        "prediction": answer,
        "prediction_name": name_of(answer),
        "probability": probability,
        "top5": [index for index, _ in record.top],
        "right": measures.right,
        "label_probability": measures.label_probability,
        "label_cells": measures.label_cells,
        "rank": min(measures.ranks) + 1 if measures.ranks else None,
        **{f"rank_{name}": min(ranks) + 1 if ranks else None for name, ranks in record.aggregators.items()},
        **_by_place(measures),
        **_present(record, name_of),
    }


def _present(record: ImageRecord, name_of: NameOf) -> dict[str, Any]:
    """The classes that a multi-label head says are there."""
    if record.answered is None:
        return {}
    present = record.answered.present
    return {"present": present, "present_names": [name_of(index) for index in present]}


def _by_place(measures: ImageMeasures) -> dict[str, Any]:
    """Of what was measured by place, the columns; null where it could not be."""
    found: dict[str, Any] = {
        "cause": measures.cause,
        "recoverable": measures.recoverable,
        "control": measures.control,
        "object_share": measures.object_share,
    }
    if measures.foreground is not None and measures.foreground_cells is not None:
        found |= {
            "foreground_cells": len(measures.foreground_cells),
            "any_top1": measures.foreground.any_top1,
            "any_top5": measures.foreground.any_top5,
            "most_top1": measures.foreground.most_top1,
            "cell_share": measures.foreground.cell_share,
            "background_share": measures.foreground.background_share,
        }
    if measures.background is not None:
        found["background_reliance"] = measures.background.share
    if measures.pointing is not None:
        found["pointing_game"] = measures.pointing.won
    return found
