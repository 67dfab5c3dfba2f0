"""One logit as two classes: every figure of the two is the one that the sigmoid gives."""

from __future__ import annotations

import numpy as np
from scipy import special

from onnx_gapmil.aggregate.two_classes import with_two_classes

LOGITS = np.array([[-800.0], [-1.5], [0.0], [2.0], [800.0]])


def test_softmax_of_the_two_is_the_sigmoid() -> None:
    both = with_two_classes(LOGITS, axis=1)
    assert both.shape == (5, 2)
    share = special.softmax(both, axis=1)
    np.testing.assert_allclose(share[:, 1], special.expit(LOGITS[:, 0]), rtol=1e-12)


def test_mean_over_cells_of_the_two_is_the_two_of_the_mean() -> None:
    grid = np.random.default_rng(0).standard_normal((1, 3, 4)).astype(np.float32)
    both = with_two_classes(grid)
    assert both.dtype == np.float64
    logits = grid.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(both.mean(axis=(1, 2)), with_two_classes(logits), rtol=1e-12)


def test_several_classes_stay_what_they_are() -> None:
    grid = np.arange(12.0).reshape(3, 2, 2)
    np.testing.assert_array_equal(with_two_classes(grid), grid)
    np.testing.assert_array_equal(with_two_classes(grid[:1], axis=2), grid[:1])
