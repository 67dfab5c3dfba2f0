"""``images.parquet`` and ``classes.parquet``: a row for each image and for each class, flat, for any tool to read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.files.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from onnx_gapmil.auditing.journal import Record
    from onnx_gapmil.auditing.preparation import Subject

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
    "foreground_cells": pa.int32(),
    "any_top1": pa.bool_(),
    "any_top5": pa.bool_(),
    "most_top1": pa.bool_(),
    "cell_share": pa.float64(),
    "background_share": pa.float64(),
    "background_reliance": pa.float64(),
    "pointing_game": pa.bool_(),
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
}


def write_images(path: Path, subject: Subject, records: Sequence[Record]) -> None:
    """Write a row for each image, in the data set's order; ranks count from 1, of the best-ranked true class.

    Raises:
        InputError: the file cannot be written.
    """
    _write(path, [_image_row(subject, record) for record in records], _IMAGES)


def write_classes(path: Path, rows: Sequence[Mapping[str, Any]], subject: Subject) -> None:
    """Write a row for each class that labels an image, in the order of the model's classes.

    Raises:
        InputError: the file cannot be written.
    """
    table = [
        {
            **{key: row.get(key) for key in ("index", "images", "top1", "top5", "any_top1", "cell_share")},
            "name": subject.name(int(row["index"])),
            "most_confused": [index for index, _ in row["most_confused"]],
            "most_confused_images": [count for _, count in row["most_confused"]],
        }
        for row in rows
    ]
    _write(path, table, _CLASSES)


def _write(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> None:
    arrays = [pa.array([row.get(name) for row in rows], type=kind) for name, kind in columns.items()]
    stream = io.BytesIO()
    pq.write_table(pa.table(arrays, names=list(columns)), stream, compression="zstd")
    write_whole(path, stream.getvalue())


def _image_row(subject: Subject, record: Record) -> dict[str, Any]:
    if "error" in record:
        return {"image": record["name"], "error": record["error"]}
    measures = record["measures"]
    answer, probability = record["top"][0]
    return {
        "image": record["name"],
        "width": record["size"][0],
        "height": record["size"][1],
        "labels": measures["labels"],
        "label_names": [subject.name(index) for index in measures["labels"]],
        "prediction": answer,
        "prediction_name": subject.name(answer),
        "probability": probability,
        "top5": [index for index, _ in record["top"]],
        "right": measures["right"],
        "rank": min(measures["ranks"]) + 1,
        **{f"rank_{name}": min(ranks) + 1 for name, ranks in record["aggregators"].items()},
        **_measured(measures),
    }


def _measured(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Of what was measured by place, the columns; null where it could not be."""
    foreground = measures.get("foreground") or {}
    cells = measures.get("foreground_cells")
    pointing = measures.get("pointing")
    return {
        "cause": measures.get("cause"),
        "recoverable": measures.get("recoverable"),
        "foreground_cells": len(cells) if cells else None,
        **{key: foreground.get(key) for key in ("any_top1", "any_top5", "most_top1", "cell_share", "background_share")},
        "background_reliance": (measures.get("background") or {}).get("share"),
        "pointing_game": pointing["hits"] == pointing["games"] if pointing else None,
    }
