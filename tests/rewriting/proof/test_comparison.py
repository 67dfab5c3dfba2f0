"""A residual is a share of the largest logit, and never hides what is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.rewriting.proof.comparison import residual_of


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
@pytest.mark.parametrize("where", ["logits", "grid"])
def test_residual_of_what_is_not_finite_is_infinite(bad: float, where: str) -> None:
    logits, grid = np.ones((1, 2)), np.ones((1, 2, 2, 2))
    (logits if where == "logits" else grid)[0, 1] = bad
    assert residual_of(logits, grid)[0] == np.inf


@pytest.mark.parametrize("shape", [(2, 2, 3, 3), (1, 3, 3, 3), (1, 1, 3, 3)])
def test_residual_of_other_shapes_is_infinite(shape: tuple[int, ...]) -> None:
    """Even where NumPy would broadcast."""
    assert residual_of(np.ones((1, 2)), np.ones(shape))[0] == np.inf
