"""Foreground recovery on grids that can be counted by hand."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.metrics.foreground import best_ranks, foreground_recovery, right_cells
from onnx_gapmil.metrics.image_cells import ImageCells


def grid_of_winners(winners: list[list[int]], classes: int = 8) -> np.ndarray:
    """Each cell's class at 1, the others at -0.01 times their index, so that the order of a cell is known."""
    grid = np.broadcast_to(-0.01 * np.arange(classes)[:, None, None], (classes, *np.shape(winners))).copy()
    for row, line in enumerate(winners):
        for col, winner in enumerate(line):
            grid[winner, row, col] = 1.0
    return grid


def cells_of(grid: np.ndarray) -> np.ndarray:
    """(cells, K)."""
    return ImageCells(grid).values


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cells_come_first_and_row_by_row(dtype):
    grid = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    cells = cells_of(grid)
    assert cells.shape == (12, 2)
    assert cells.dtype == dtype
    assert cells[7].tolist() == [grid[0, 1, 3], grid[1, 1, 3]]


def test_three_of_four_foreground_cells_and_one_of_two_others():
    cells = cells_of(grid_of_winners([[2, 2, 5], [2, 1, 2]]))
    found = foreground_recovery(cells, [2], np.array([[True, True, False], [True, True, False]]))
    assert asdict(found) == {
        "any_top1": True,
        "any_top5": True,
        "most_top1": True,
        "most_top5": True,
        "cell_share": 0.75,
        "background_share": 0.5,
    }


def test_half_of_the_cells_are_not_most():
    cells = cells_of(grid_of_winners([[2, 1]]))
    found = foreground_recovery(cells, [2], np.ones((1, 2), bool))
    assert (found.cell_share, found.most_top1, found.background_share) == (0.5, False, None)


def test_top5_reaches_the_fifth_class_and_not_the_sixth():
    cells = cells_of(grid_of_winners([[7]]))  # order of the cell: 7, 0, 1, 2, 3, 4, ...
    assert foreground_recovery(cells, [3], np.ones((1, 1), bool)).any_top5
    assert not foreground_recovery(cells, [4], np.ones((1, 1), bool)).any_top5


def test_a_tied_cell_is_won_by_nobody_and_ranks_by_number():
    cells = cells_of(np.zeros((8, 1, 1)))
    whole = np.ones((1, 1), bool)
    assert not foreground_recovery(cells, [0], whole).any_top1
    assert not foreground_recovery(cells, [1], whole).any_top1
    assert foreground_recovery(cells, [4], whole).any_top5
    assert not foreground_recovery(cells, [5], whole).any_top5


def test_any_of_several_labels_makes_a_cell_right():
    cells = cells_of(grid_of_winners([[1, 2, 3, 2]]))
    found = foreground_recovery(cells, [1, 2], np.array([[True, True, True, False]]))
    assert found.cell_share == pytest.approx(2 / 3)
    assert found.background_share == 1.0


def test_a_label_counts_in_the_foreground_only_where_it_is_allowed():
    winners = np.array([1, 2, 1, 2])
    foreground = np.array([True, True, True, False])
    allowed = np.array([[True, True, False, False], [False, False, True, False]])  # label 1 at 0 and 1, label 2 at 2
    assert right_cells(winners, [1, 2], foreground, allowed).tolist() == [True, False, False, True]
    cells = cells_of(grid_of_winners([[1, 2, 1, 2]], classes=20))
    found = foreground_recovery(cells, [1, 18], foreground, np.array([allowed[0], allowed[1]]))
    assert found.cell_share == pytest.approx(1 / 3)
    assert not found.most_top5 or found.any_top5


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True), st.booleans())
def test_best_rank_is_the_lowest_place_of_an_allowed_label(seed, labels, some):
    rng = np.random.default_rng(seed)
    cells = rng.integers(-1, 2, size=(6, 7)).astype(float)  # ties are frequent
    allowed = rng.random((len(labels), 6)) < 0.5 if some else np.ones((len(labels), 6), bool)
    found = best_ranks(cells, labels, allowed if some else None)
    for cell, row in enumerate(cells):
        order = np.argsort(-row, kind="stable").tolist()
        places = [order.index(label) for label, here in zip(labels, allowed[:, cell], strict=True) if here]
        assert found[cell] == (min(places) if places else 7)
