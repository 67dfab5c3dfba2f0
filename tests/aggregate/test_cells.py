"""What a cell answers, against SciPy in float64."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from onnx_gapmil.aggregate.cells import certainty, sure_cells, winning_classes


def test_certainty_is_the_winners_softmax_and_of_one_logit_the_sigmoid() -> None:
    grid = np.random.default_rng(3).standard_normal((4, 3, 2)) * 5
    np.testing.assert_allclose(certainty(grid), special.softmax(grid, axis=0).max(axis=0), rtol=1e-9)
    np.testing.assert_allclose(certainty(grid[:1]), special.expit(grid[0]), rtol=1e-9)


def test_one_logit_wins_where_it_is_positive_and_nobody_elsewhere() -> None:
    assert winning_classes(np.array([[[0.5, 0.0, -3.0]]])).tolist() == [[0, -1, -1]]


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5]), st.sampled_from([0.1, 1.0, 10.0]))
def test_sure_cells_are_those_of_float64(seed, classes, scale):
    grid = (np.random.default_rng(seed).standard_normal((classes, 6, 6)) * scale).astype(np.float32)
    share = special.expit(grid[0].astype(float)) if classes == 1 else special.softmax(grid.astype(float), axis=0).max(0)
    np.testing.assert_array_equal(sure_cells(grid), share >= 0.5)


def test_a_cell_at_the_very_border_is_decided_in_float64():
    """Two equal classes and a third at -18: the best has a share of 0.5 - 4e-9, which float32 calls 0.5."""
    grid = np.array([0.0, 0.0, -18.0], np.float32).reshape(3, 1, 1)
    assert 1 / np.exp(grid).sum(dtype=np.float32) == 0.5
    assert not sure_cells(grid).any()
    assert sure_cells(np.array([0.0, 0.0, -200.0], np.float32).reshape(3, 1, 1)).all()


def test_overflowing_cells_are_not_sure_and_make_no_noise():
    grid = np.zeros((3, 1, 2), np.float32)
    grid[:2, 0, 0] = np.inf
    grid[1, 0, 1] = 9
    np.testing.assert_array_equal(sure_cells(grid), [[False, True]])


def test_ties_go_to_the_first_class():
    assert winning_classes(np.zeros((4, 2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]
