"""The two tables, cell by cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.auditing.standing import Standing
from onnx_gapmil.auditing.tables import write_classes, write_images
from onnx_gapmil.data.slices import Slices
from onnx_gapmil.errors import InputError
from onnx_gapmil.metrics.figures import ClassRow
from tests.helpers.audit_records import record


def name(index: int) -> str:
    return f"kind {index}"


def test_an_image_with_a_known_object(tmp_path: Path) -> None:
    made = record("a.png", answer=2, sure=0.625, cause="dilution", share=0.25)
    made = replace(made, measures=replace(made.measures, object_share=0.25, label_probability=0.125, label_cells=4))
    slices = Slices({"light": {"day": (1,), "night": (0,)}, "aspect": {"(missing)": (0, 1)}}, {})
    write_images(
        tmp_path / "t.parquet", [Failure("z.png", "is empty."), made, record("b.png")], name, Standing(slices, (0,))
    )
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["suspect"] for row in rows] == [None, True, False]
    assert dict(rows[2]["slices"]) == {"light": "day", "aspect": "(missing)"}
    assert rows[0]["slices"] is None
    row = rows[1]
    ranks = {f"rank_{key}": place + 1 for place, key in enumerate(AGGREGATORS)}
    assert row == {
        "image": "a.png",
        "error": None,
        "width": 64,
        "height": 48,
        "labels": [1],
        "label_names": ["kind 1"],
        "prediction": 2,
        "prediction_name": "kind 2",
        "probability": 0.625,
        "top5": [2, 3, 0],
        "right": False,
        "rank": 3,
        **ranks,
        "cause": "dilution",
        "recoverable": True,
        "control": None,
        "foreground_cells": 3,
        "any_top1": True,
        "any_top5": True,
        "most_top1": False,
        "cell_share": 0.25,
        "background_share": 0.125,
        "background_reliance": 0.75,
        "pointing_game": False,
        "object_share": 0.25,
        "label_probability": 0.125,
        "label_cells": 4,
        "suspect": True,
        "slices": [("light", "night"), ("aspect", "(missing)")],
        "present": None,
        "present_names": None,
    }


def test_what_could_not_be_measured_is_null(tmp_path: Path) -> None:
    write_images(tmp_path / "t.parquet", [record("a.png"), Failure("b.png", "is empty.")], name)
    plain, failed = pq.read_table(tmp_path / "t.parquet").to_pylist()
    places = {"cause", "recoverable", "control", "foreground_cells", "any_top1", "any_top5", "most_top1", "cell_share"}
    places |= {"background_share", "background_reliance", "pointing_game", "object_share", "present", "present_names"}
    places |= {"label_probability", "label_cells", "suspect", "slices"}  # made-up records have none
    assert {key for key, value in plain.items() if value is None} == {"error"} | places
    assert (plain["right"], plain["rank"]) == (True, 1)
    assert {key: value for key, value in failed.items() if value is not None} == {
        "image": "b.png",
        "error": "is empty.",
    }


def test_columns_have_their_type_without_a_single_value(tmp_path: Path) -> None:
    write_images(tmp_path / "t.parquet", [Failure("b.png", "is empty.")], name)
    types = {field.name: field.type for field in pq.read_schema(tmp_path / "t.parquet")}
    assert types["labels"] == pa.list_(pa.int32())
    assert (types["probability"], types["right"], types["cause"]) == (pa.float64(), pa.bool_(), pa.string())


def test_classes_have_their_confusions_and_how_often(tmp_path: Path) -> None:
    rows = [ClassRow(4, 9, 0.5, 0.75, None, None, ((7, 3), (1, 1))), ClassRow(6, 1, 1.0, 1.0, 1.0, 0.25, ())]
    write_classes(tmp_path / "t.parquet", rows, name)
    several = dict.fromkeys(["threshold", "prevalence", "average_precision", "precision", "recall", "f1"])
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [
        {
            "index": 4,
            "name": "kind 4",
            "images": 9,
            "top1": 0.5,
            "top5": 0.75,
            "any_top1": None,
            "cell_share": None,
            "most_confused": [7, 1],
            "most_confused_images": [3, 1],
            **several,
        },
        {
            "index": 6,
            "name": "kind 6",
            "images": 1,
            "top1": 1.0,
            "top5": 1.0,
            "any_top1": 1.0,
            "cell_share": 0.25,
            "most_confused": [],
            "most_confused_images": [],
            **several,
        },
    ]


def test_a_folder_that_is_absent_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_images(tmp_path / "absent" / "t.parquet", [record("a.png")], name)
