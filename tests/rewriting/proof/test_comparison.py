"""What a proof compares, number by number."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.rewriting.proof.comparison import difference, residual_of

# --- residual_of ----------------------------------------------------------------------------------------------------


def test_residual_is_relative_to_the_largest_logit() -> None:
    logits = np.array([[4.0, -8.0]])
    grid = np.broadcast_to(logits[:, :, None, None], (1, 2, 3, 5)).copy()
    assert residual_of(logits, grid) == (0.0, 8.0)
    grid[0, 0] += 0.4
    residual, scale = residual_of(logits, grid)
    assert residual == pytest.approx(0.05)
    assert scale == 8


def test_residual_of_zero_logits_is_absolute() -> None:
    residual, scale = residual_of(np.zeros((1, 2)), np.full((1, 2, 2, 2), 0.25))
    assert (residual, scale) == (0.25, 0.0)
    assert residual_of(np.zeros((1, 2)), np.zeros((1, 2, 2, 2))) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_residual_of_a_cell_that_is_not_finite_is_infinite(bad: float) -> None:
    logits, grid = np.ones((1, 2)), np.ones((1, 2, 2, 2))
    grid[0, 1] = bad
    assert residual_of(logits, grid)[0] == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_leaves_the_residual_to_the_others(bad: float) -> None:
    """Its class is judged by itself; see `class_errors`."""
    logits, grid = np.ones((1, 2)), np.ones((1, 2, 2, 2))
    logits[0, 1] = grid[0, 1] = bad
    assert residual_of(logits, grid) == (0.0, 1.0)
    grid[0, 0] = 1.25
    assert residual_of(logits, grid) == (0.25, 1.0)
    logits[0, 0] = bad
    assert residual_of(logits, grid)[0] == np.inf, "nothing is left to be compared"


@pytest.mark.parametrize("shape", [(2, 2, 3, 3), (1, 3, 3, 3), (1, 1, 3, 3)])
def test_residual_of_other_shapes_is_infinite(shape: tuple[int, ...]) -> None:
    """Even where NumPy would broadcast."""
    assert residual_of(np.ones((1, 2)), np.ones(shape))[0] == np.inf


# --- difference -----------------------------------------------------------------------------------------------------


def test_difference_is_relative_to_the_largest_value() -> None:
    before = np.array([4.0, -8.0], np.float32)
    assert difference(before, before) == 0.0
    assert difference(before, np.array([4.0, -8.4], np.float32)) == pytest.approx(0.4 / 8)
    assert difference(np.zeros(2), np.array([0.0, 0.25])) == np.inf  # what was 0 may not move at all
    assert difference(np.array([1, 2]), np.array([1, 5])) == 1.5


def test_not_a_number_equals_itself_in_its_place_only() -> None:
    nan = np.array([np.nan, 1.0])
    assert difference(nan, nan.copy()) == 0.0
    assert not difference(nan, np.array([1.0, np.nan])) <= 1e9


def test_an_infinity_hides_no_difference_of_the_others() -> None:
    off = np.array([-np.inf, 4.0])
    assert difference(off, off.copy()) == 0.0
    assert difference(off, np.array([-np.inf, 4.5])) == 0.125
    assert difference(off, np.array([np.inf, 4.0])) == np.inf
    assert difference(off, np.array([1.0, 4.0])) == np.inf


def test_other_shapes_and_other_labels_cannot_be_compared() -> None:
    assert difference(np.ones((1, 2)), np.ones(2)) == np.inf
    assert difference(np.array(["cat"]), np.array(["dog"])) == np.inf
    assert difference(np.array(["cat"]), np.array(["cat"])) == 0.0
    assert difference([{0: 0.5}], [{0: 0.5}]) == 0.0
    assert difference([{0: 0.5}], [{0: 0.6}]) == np.inf
