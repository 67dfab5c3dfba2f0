"""Numbers of a photo against the same numbers computed the long way, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage, special

from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.prediction.describe import Describer, highest_places
from onnx_gapmil.rewriting.record import HeadRecord
from onnx_gapmil.running.prediction_grid import PredictionGrid

GEOMETRY = Geometry.plan((120, 160), (96, 96), "squash")


def described(grid, *, activation="softmax", top=5, note="", dtype=np.float32, features_of=(), **given):
    grid = np.asarray(grid, dtype)
    head = HeadRecord(
        logits="logits",
        output="y",
        outputs=("y",),
        verdict="exact",
        grid_shape=("N", 6, 5, 4),
        activation=activation,
        note=note,
        features_of=features_of,
    )
    logits = grid.mean((1, 2)).astype(dtype)
    found = PredictionGrid("y", logits[None], grid[None])
    return Describer(head, None, top, **given).describe(found, GEOMETRY)


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


def test_one_logit_is_two_classes_and_ties_win_for_nobody():
    """By hand: class 1 is *x*, where the logit is positive; class 0 is *not x*, best where it is lowest."""
    grid = np.array([[[-1.0, 2.0], [3.0, -4.5], [0.0, -0.5]]])
    found = described(grid, activation="sigmoid")
    assert [(entry.index, entry.cells, entry.best_cell) for entry in found.winners] == [(0, 3, (1, 1)), (1, 2, (1, 0))]
    assert (found.none_cells, found.winners[1].best_logit, found.winners[0].best_logit) == (1, 3.0, 0.0)
    assert found.winners[1].best_score == pytest.approx(special.expit(3.0))
    assert found.winners[0].best_score == pytest.approx(special.expit(4.5))
    assert [(entry.index, entry.score) for entry in found.top] == [
        (0, pytest.approx(special.expit(1 / 6))),
        (1, pytest.approx(special.expit(-1 / 6))),
    ]
    assert [(box.index, box.cells) for box in found.boxes] == [(0, 2), (0, 1), (1, 1), (1, 1)]


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, (1, 3, 4), elements=st.floats(-50, 50, width=32)),
    st.sampled_from(["sigmoid", "none"]),
)
def test_one_logit_says_what_two_logits_with_0_before_it_say(grid, activation):
    """A model of one sigmoid, and its twin with a softmax of (0, z): every word is the same, and every number."""
    one = described(grid, activation=activation)
    two = described(np.concatenate([0 * grid, grid]), activation="softmax" if activation == "sigmoid" else "none")
    assert [replace(entry, best_cell=()) for entry in one.winners if entry.index == 1] == [
        replace(entry, best_cell=()) for entry in two.winners if entry.index == 1
    ]
    assert {entry.index: entry.cells for entry in one.winners} == {entry.index: entry.cells for entry in two.winners}
    assert (one.top, one.boxes, one.none_cells, one.present) == (two.top, two.boxes, two.none_cells, None)
    np.testing.assert_array_equal(one.grid, two.grid)
    np.testing.assert_array_equal(one.logits, two.logits)
    assert one.one_logit
    assert not two.one_logit


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, (5, 3, 4), elements=st.floats(-20, 20, width=32)),
    st.lists(st.floats(0.02, 0.98), min_size=5, max_size=5),
)
def test_of_sigmoids_a_cell_wins_only_above_a_threshold(grid, thresholds):
    """Against the definition, cell by cell: of the classes above their threshold the one that is most above it."""
    reading = Reading.of("sigmoid", 5, thresholds)
    found = described(grid, activation="sigmoid", reading=reading)
    levels = np.array([np.log(value / (1 - value)) for value in thresholds])
    won = {}
    for place in np.ndindex(3, 4):
        margins = grid[(slice(None), *place)].astype(np.float64) - levels
        near = np.sort(margins)[::-1]
        if abs(near[0]) < 1e-4 or near[0] - near[1] < 1e-4:
            assume(False)  # what rounding decides
        if near[0] > 0:
            won.setdefault(int(margins.argmax()), []).append(place)
    assert {entry.index: entry.cells for entry in found.winners} == {index: len(own) for index, own in won.items()}
    assert found.none_cells == 12 - sum(map(len, won.values()))
    logits = np.asarray(found.logits, np.float64)
    assert {entry.index for entry in found.present} == set(np.flatnonzero(special.expit(logits) > thresholds).tolist())
    for entry in found.top:
        assert entry.score == pytest.approx(special.expit(logits[entry.index]))
    assert found.reading.said_thresholds == pytest.approx(thresholds)


def test_boxes_of_sigmoids_may_lie_on_each_other():
    grid = np.full((3, 4, 5), -2.0)
    grid[0, :2] = 1  # both are present in row 1
    grid[1, 1:3] = 3
    found = described(grid, activation="sigmoid")
    assert [(box.index, box.cells) for box in found.boxes] == [(0, 10), (1, 10)]
    assert {entry.index: entry.cells for entry in found.winners} == {0: 5, 1: 10}
    assert found.none_cells == 5


def test_equal_sigmoids_win_for_nobody():
    found = described(np.full((3, 2, 2), 1.0), activation="sigmoid")
    assert (found.winners, found.none_cells) == ((), 4)
    assert {entry.index for entry in found.present} == {0, 1, 2}


def test_chosen_classes_are_told_whether_they_win_or_not_and_only_they_have_boxes():
    grid = np.zeros((3, 4, 5))
    grid[1, 1:3, 2:5] = 9
    grid[2, 3, 0] = 9
    found = described(grid, chosen=(2, 0))
    assert [(entry.index, entry.rank, entry.cells, entry.present) for entry in found.chosen] == [
        (2, 2, 1, None),
        (0, 3, 0, None),
    ]
    assert found.chosen[0].best_cell == (3, 0)
    assert {box.index for box in found.boxes} == {2}
    assert {entry.index for entry in found.winners} == {1, 2}  # what wins is told as it is
    assert described(grid).chosen is None
    sigmoids = described(grid - 1, activation="sigmoid", chosen=(1, 2))
    assert [entry.present for entry in sigmoids.chosen] == [True, False]


def test_features_have_no_boxes_and_are_called_features():
    grid = np.zeros((3, 4, 5))
    grid[1, 1:3, 2:5] = 9
    found = described(grid, features_of=("classes",))
    assert found.boxes == ()
    assert found.winners[0].label == found.name(1) == "feature 1"
    assert found.to_json()["features_of"] == ["classes"]


@given(st.lists(st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1.5, np.inf, -np.inf, np.nan]), min_size=1, max_size=9))
def test_the_highest_are_those_of_a_stable_sort(values):
    logits = np.array(values)
    for wanted in range(len(values) + 2):
        expected = np.argsort(-logits, kind="stable")[:wanted]
        np.testing.assert_array_equal(highest_places(logits, wanted), expected)
