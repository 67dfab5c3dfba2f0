"""Independent figures of real models on labelled photos, met to the last image.

They stand in the README of the shared folder and were computed by others, with code of their own.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from onnx_gapmil import GridSession
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics import Figures, ImageMeasures, measure_image, summarise

pytestmark = pytest.mark.shared

MOBILENET = "in1k_mobilenetv2_100_224_tflite_fp32"
SQUEEZENET = "in1k_squeezenet_fp16_caffe2"


def session_of(shared: Path, name: str) -> GridSession:
    entries = json.loads((shared / "real" / "manifest.json").read_text("utf-8"))["models"]
    file = next(entry["file"] for entry in entries if name in entry["file"])
    return GridSession(shared / "real" / file, spinning=False)


def mobilenet_input(pixels: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    return cv2.resize(pixels, (224, 224), interpolation=interpolation)[None, :, :, ::-1]


def squeezenet_input(pixels: np.ndarray) -> np.ndarray:
    values = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_LINEAR) - np.array([104.0, 117.0, 123.0])
    return values.transpose(2, 0, 1)[None].astype(np.float16)


def records(shared: Path, name: str, make_input: Any, offset: int) -> list[ImageMeasures]:
    session = session_of(shared, name)
    folder = shared / "real" / "images" / "ilsvrc_val_227"
    result = []
    for entry in json.loads((folder / "annotations.json").read_text("utf-8")):
        pixels = cv2.imread(str(folder / entry["file"]))
        assert pixels is not None
        (found,) = session.run(np.ascontiguousarray(make_input(pixels)))
        label = entry["label"] + offset
        boxes = [SimpleNamespace(box=tuple(map(float, box)), classes=(label,)) for box in entry["boxes_227_xyxy"]]
        geometry = Geometry.plan(pixels.shape[:2], (224, 224), "squash")
        result.append(
            measure_image(
                found.logits[0], found.grid[0], labels=[label], geometry=geometry, boxes=boxes, localization=False
            )
        )
    return result


def counts(summary: Figures) -> dict[str, int]:
    """Images behind the README's shares."""
    right, wrong = summary.foreground.right, summary.foreground.wrong
    return {
        "top1": round(summary.top1 * 400),
        "top5": round(summary.top5 * 400),
        "right": right.images,
        "right any top-1": round(right.any_top1 * right.images),
        "wrong any top-1": round(wrong.any_top1 * wrong.images),
        "wrong any top-5": round(wrong.any_top5 * wrong.images),
        "pointing": round(summary.pointing_game * 400),
    }


def test_mobilenet_meets_the_table_to_the_last_image(shared: Path) -> None:
    summary = summarise(records(shared, MOBILENET, mobilenet_input, 1))
    assert counts(summary) == {
        "top1": 310,
        "top5": 374,
        "right": 310,
        "right any top-1": 303,
        "wrong any top-1": 55,
        "wrong any top-5": 76,
        "pointing": 373,
    }
    right, wrong = summary.foreground.right, summary.foreground.wrong
    assert (right.any_top1, wrong.any_top1, wrong.any_top5) == pytest.approx((0.977, 0.611, 0.844), abs=5e-4)
    assert (right.cell_share, right.background_share, wrong.cell_share) == pytest.approx(
        (0.703, 0.262, 0.152), abs=5e-4
    )
    assert wrong.control_any_top1 == pytest.approx(0.417, abs=5e-4)
    assert wrong.excess == pytest.approx(wrong.any_top1 - wrong.control_any_top1)
    assert 0 < summary.intervals["foreground.wrong.excess"][0] < wrong.excess
    assert summary.error_causes.total == 90
    assert summary.error_causes.absent == 90 - 55


def test_squeezenet_in_half_precision_meets_the_table(shared: Path) -> None:
    summary = summarise(records(shared, SQUEEZENET, squeezenet_input, 0))
    expected = {
        "top1": 283,
        "top5": 358,
        "right": 283,
        "right any top-1": 262,
        "wrong any top-1": 76,
        "wrong any top-5": 107,
        "pointing": 368,
    }
    found = counts(summary)
    # Half precision rounds differently from machine to machine.
    assert {key: pytest.approx(value, abs=3) for key, value in expected.items()} == found
    right, wrong = summary.foreground.right, summary.foreground.wrong
    assert (right.cell_share, right.background_share, wrong.cell_share) == pytest.approx(
        (0.136, 0.025, 0.047), abs=3e-3
    )
    assert wrong.control_any_top1 == pytest.approx(0.504, abs=0.03)


def test_cells_name_ten_of_thirteen_objects_where_the_image_names_five(shared: Path) -> None:
    session = session_of(shared, MOBILENET)
    folder = shared / "real" / "images" / "photos"
    found = []
    for file, objects in json.loads((folder / "multi_object_boxes.json").read_text("utf-8"))["images"].items():
        pixels = cv2.imread(str(folder / file))
        assert pixels is not None
        height, width = pixels.shape[:2]
        (grids,) = session.run(np.ascontiguousarray(mobilenet_input(pixels, cv2.INTER_AREA)))
        boxes = [
            SimpleNamespace(
                box=tuple(np.array(thing["box"]) * (width, height, width, height)),
                classes=tuple(index + 1 for index in thing["ids"]),
            )
            for thing in objects
        ]
        labels = sorted({index for each in boxes for index in each.classes})
        geometry = Geometry.plan((height, width), (224, 224), "squash")
        found.append(measure_image(grids.logits[0], grids.grid[0], labels=labels, geometry=geometry, boxes=boxes))
    several = summarise(found).several_objects
    assert {key: getattr(several, key) for key in ("images", "objects", "grid", "top1", "top5")} == {
        "images": 6,
        "objects": 13,
        "grid": 10,
        "top1": 5,
        "top5": 9,
    }
