"""``images.parquet`` and ``classes.parquet`` of a comparison: a row for each image and for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.auditing.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from onnx_gapmil.data.slices import Slices
    from onnx_gapmil.validation.comparing.classes import ClassFigures
    from onnx_gapmil.validation.comparing.records import Answer, Record
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Sides

_ANSWER: Mapping[str, pa.DataType] = {
    "labels": pa.list_(pa.int32()),
    "label_names": pa.list_(pa.string()),
    "prediction": pa.int32(),
    "prediction_name": pa.string(),
    "probability": pa.float64(),
    "top5": pa.list_(pa.int32()),
    "rank": pa.int32(),
    "right": pa.bool_(),
}
_IMAGES: Mapping[str, pa.DataType] = {
    "image": pa.string(),
    "error": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    **{f"{side}_{name}": kind for side in ("old", "new") for name, kind in _ANSWER.items()},
    "agree": pa.bool_(),
    "shared_top5": pa.float64(),
    "fixed": pa.bool_(),
    "broken": pa.bool_(),
    "logits_mean": pa.float64(),
    "logits_max": pa.float64(),
    "probabilities_mean": pa.float64(),
    "probabilities_max": pa.float64(),
    "common_cells": pa.int32(),
    "averaged": pa.bool_(),
    "correlation": pa.float64(),
    "winners_changed": pa.float64(),
    "moved": pa.float64(),
    "moved_onto_object": pa.float64(),
    "slices": pa.map_(pa.string(), pa.string()),
}
_CLASSES: Mapping[str, pa.DataType] = {
    "index": pa.int32(),
    "name": pa.string(),
    "new_index": pa.int32(),
    "images": pa.int64(),
    "agreement": pa.float64(),
    "fixed": pa.int64(),
    "broken": pa.int64(),
    "old_top1": pa.float64(),
    "new_top1": pa.float64(),
    "mcnemar_p": pa.float64(),
    "winners_changed": pa.float64(),
    "moved": pa.float64(),
}


def write_images(path: Path, records: Iterable[Record], sides: Sides, slices: Slices, compared: int) -> None:
    """Write a row for each image, in the data set's order; ranks count from 1, of the best-ranked true class.

    Args:
        path: the file.
        records: of the comparison.
        sides: the models.
        slices: of the images that were compared.
        compared: how many these are.

    Raises:
        InputError: the file cannot be written.
    """
    write_table(path, _image_rows(records, sides, slices.by_image(compared)), _IMAGES)


def write_classes(path: Path, rows: Sequence[ClassFigures]) -> None:
    """Write a row for each class that labels an image, in the order of the old model's classes.

    Raises:
        InputError: the file cannot be written.
    """
    table = []
    for row in rows:
        figures = row.figures
        table.append(
            {
                "index": row.index,
                "name": row.name,
                "new_index": row.partner,
                "images": figures.images,
                "agreement": figures.agreement.top1,
                "fixed": figures.flips.fixed,
                "broken": figures.flips.broken,
                "old_top1": figures.accuracy.old if figures.accuracy is not None else None,
                "new_top1": figures.accuracy.new if figures.accuracy is not None else None,
                "mcnemar_p": figures.flips.mcnemar_p,
                "winners_changed": figures.grids.winners_changed,
                "moved": figures.grids.moved.share,
            }
        )
    write_table(path, table, _CLASSES)


def _image_rows(records: Iterable[Record], sides: Sides, slices: Iterator[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for record in records:
        row = _image_row(record, sides)
        if not isinstance(record, Failure):
            row["slices"] = list(next(slices).items())
        yield row


def _image_row(record: Record, sides: Sides) -> dict[str, Any]:
    if isinstance(record, Failure):
        return {"image": record.image, "error": record.error}
    grids = record.grids
    labelled = record.old.rank is not None
    row: dict[str, Any] = {
        "image": record.image,
        "width": record.size[0],
        "height": record.size[1],
        **_answer("old", record.old, sides.old),
        **_answer("new", record.new, sides.new),
        "agree": record.agree,
        "shared_top5": record.shared,
        "fixed": record.fixed if labelled else None,
        "broken": record.broken if labelled else None,
        "logits_mean": record.logits.mean,
        "logits_max": record.logits.max,
        "probabilities_mean": record.probabilities.mean,
        "probabilities_max": record.probabilities.max,
    }
    if grids is not None:
        row |= {
            "common_cells": grids.cells,
            "averaged": grids.averaged,
            "correlation": grids.correlation,
            "winners_changed": grids.winners_changed,
            "moved": grids.moved,
            "moved_onto_object": grids.on_object,
        }
    return row


def _answer(which: str, answer: Answer, side: OpenedSide) -> dict[str, Any]:
    name = side.classifier.class_names.name
    first, probability = answer.top[0]
    found: dict[str, Any] = {
        "labels": answer.labels,
        "label_names": [name(index) for index in answer.labels],
        "prediction": first,
        "prediction_name": name(first),
        "probability": probability,
        "top5": [index for index, _ in answer.top],
        "rank": answer.rank + 1 if answer.rank is not None else None,
        "right": answer.right,
    }
    return {f"{which}_{key}": value for key, value in found.items()}
