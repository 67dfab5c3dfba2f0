"""Numbers of a photo against the same numbers computed the long way, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, special

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.prediction.describe import Describer
from onnx_gapmil.rewriting.record import HeadRecord
from onnx_gapmil.running.prediction_grid import PredictionGrid

GEOMETRY = Geometry.plan((120, 160), (96, 96), "squash")


def described(grid, *, activation="softmax", top=5, note="", dtype=np.float32):
    grid = np.asarray(grid, dtype)
    head = HeadRecord(
        logits="logits",
        output="y",
        outputs=("y",),
        verdict="exact",
        grid_shape=("N", 6, 5, 4),
        activation=activation,
        note=note,
    )
    logits = grid.mean((1, 2)).astype(dtype)
    found = PredictionGrid("y", logits[None], grid[None])
    return Describer(head, None, top).describe(found, GEOMETRY)


def random_grid(seed=0, classes=7, rows=4, columns=5, scale=3.0):
    return np.random.default_rng(seed).standard_normal((classes, rows, columns)) * scale


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_winners_are_those_of_scipy(activation, dtype):
    grid = random_grid().astype(dtype)
    found = described(grid, activation=activation, dtype=dtype)
    numbers = grid.astype(np.float64)
    score = {"softmax": lambda x: special.softmax(x, axis=0), "sigmoid": special.expit, "none": lambda x: x}[activation]
    scores, won = score(numbers), numbers.argmax(0)
    assert sum(entry.cells for entry in found.winners) == won.size
    assert [entry.cells for entry in found.winners] == sorted((entry.cells for entry in found.winners), reverse=True)
    for entry in found.winners:
        assert entry.cells == (won == entry.index).sum()
        assert entry.share == pytest.approx(entry.cells / won.size)
        assert entry.best_cell == np.unravel_index(numbers[entry.index].argmax(), won.shape)
        assert entry.best_logit == numbers[entry.index].max()
        assert entry.best_score == pytest.approx(scores[entry.index][entry.best_cell], rel=1e-12)
        assert entry.label == f"class {entry.index}"


def test_image_level_classes_are_the_highest_logits_with_their_probability():
    grid = random_grid(3)
    found = described(grid, top=3, dtype=np.float64)
    logits = grid.mean((1, 2))
    expected = np.argsort(-logits)[:3]
    assert [entry.index for entry in found.top] == expected.tolist()
    np.testing.assert_allclose([entry.logit for entry in found.top], logits[expected])
    np.testing.assert_allclose([entry.score for entry in found.top], special.softmax(logits)[expected])


def test_boxes_surround_connected_cells_that_are_sure():
    """Class 1 surely wins a block of 2 x 3 cells, class 2 a single cell of 20 (5 %), class 0 the rest by a hair."""
    grid = np.zeros((3, 4, 5))
    grid[0] += 0.1
    grid[1, 1:3, 2:5] = 9
    grid[2, 3, 0] = 9
    boxes = described(grid).boxes
    across, down = 160 / 5, 120 / 4
    assert [(box.index, box.cells) for box in boxes] == [(1, 6), (2, 1)]
    np.testing.assert_allclose(boxes[0].box, (2 * across, 1 * down, 5 * across, 3 * down))
    np.testing.assert_allclose(boxes[1].box, (0, 3 * down, across, 4 * down))


def test_regions_of_boxes_are_those_of_scipy():
    grid = random_grid(5, classes=3, rows=9, columns=8, scale=4)
    won, certain = grid.argmax(0), special.softmax(grid, axis=0).max(0) >= 0.5
    expected = []
    for index in range(3):
        labels, count = ndimage.label((won == index) & certain)
        expected += [(index, int((labels == k + 1).sum())) for k in range(count)]
    boxes = described(grid, dtype=np.float64).boxes
    at_least = max(1, 0.02 * 72)
    assert sorted((box.index, box.cells) for box in boxes) == sorted(e for e in expected if e[1] >= at_least)


def test_a_grid_without_known_rows_and_columns_has_no_boxes():
    from onnx_gapmil.lift.lifted import UNARRANGED

    grid = np.zeros((2, 3, 3))
    grid[1] = 9
    assert described(grid).boxes
    found = described(grid, note=f"the cells' {UNARRANGED}")
    assert (found.arranged, found.boxes) == (False, ())
    assert found.winners


def test_a_single_logit_wins_where_it_is_positive():
    grid = np.array([[[-1.0, 2.0], [3.0, -4.0]]])
    found = described(grid, activation="sigmoid")
    (entry,) = found.winners
    assert (entry.cells, entry.best_cell, entry.best_logit) == (2, (1, 0), 3.0)
    assert entry.best_score == pytest.approx(special.expit(3.0))
    assert [box.cells for box in found.boxes] == [1, 1]
    assert described(-np.abs(grid), activation="sigmoid").winners == ()
