"""The weight of auxiliary classifiers: by maps whose best weight is known, and by the fitted half alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil.data import Box, Sample
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.validation.refitting import weighing
from onnx_gapmil.validation.refitting.weighing import LEAST, USUAL, TuningImage, Weight, choose_weight

SIDE = 16
GEOMETRY = Geometry.plan((SIDE, SIDE), (SIDE, SIDE), "squash", 1.0)


def tuning(count: int, own: np.ndarray) -> list[TuningImage]:
    """Objects in cells (4..8, 6..12) of class 1, and the vendor's own grid."""
    sample = Sample(Path("x"), "x", labels=(1,), boxes=(Box((6.0, 4.0, 12.0, 8.0), (1,)),))
    return [TuningImage(sample, GEOMETRY, GEOMETRY, np.array([0.0, 1.0]), own, {}, ()) for _ in range(count)]


def on(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    found = np.zeros((2, SIDE, SIDE))
    found[1, top:bottom, left:right] = 1.0
    return found


OBJECT, ELSEWHERE, AROUND = on(4, 6, 8, 12), on(10, 0, 16, 4), on(2, 2, 12, 14)
LEFT, RIGHT = on(4, 6, 8, 9), on(4, 9, 8, 12)


@pytest.mark.parametrize(
    ("none", "beside", "best"),
    [
        (0.7 * AROUND + 0.3 * LEFT - 0.7 * RIGHT, RIGHT, 1.0),  # its right half is below what surrounds it until then
        (OBJECT, 2 * ELSEWHERE, 0.0),
        (AROUND, 30 * OBJECT - 30 * ELSEWHERE, 0.05),  # all weights above 0 box it alike: the smallest
    ],
)
def test_the_weight_whose_boxes_fit_is_taken(
    none: np.ndarray, beside: np.ndarray, best: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weighing, "_grids", lambda *_: (none, none + beside))
    found = choose_weight(None, tuning(LEAST, none), lambda values: values)  # type: ignore[arg-type]
    assert found.value == best
    assert found.objects == LEAST
    assert found.boxes[f"{best:g}"] == max(found.boxes.values())


def test_too_few_boxes_choose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighing, "_grids", lambda *_: (OBJECT, ELSEWHERE))
    found = choose_weight(None, tuning(LEAST - 1, OBJECT), lambda values: values)  # type: ignore[arg-type]
    assert found == Weight(USUAL, objects=LEAST - 1)
