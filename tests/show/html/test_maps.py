"""Grids made small, and what can be worked out from them again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from onnx_gapmil.show.drawing.palette import sequential
from onnx_gapmil.show.html.maps import colour_scale, encode_maps
from tests.helpers.report_pages import decode


@pytest.mark.parametrize(("depth", "tolerance"), [(8, 0.06), (16, 3e-4)])
@given(seed=st.integers(0, 2**32), scale=st.floats(0.1, 5))
def test_probabilities_come_back(depth: int, tolerance: float, seed: int, scale: float) -> None:
    grid = np.random.default_rng(seed).normal(0, scale, (11, 3, 4))
    made = encode_maps(grid, [7, 0, 3], depth=depth)
    logits, lse = decode(made)
    assert made.grid == (3, 4)
    np.testing.assert_allclose(
        np.exp(logits - lse), softmax(grid, axis=0).reshape(11, -1)[[7, 0, 3]], rtol=tolerance * max(1, scale)
    )


def test_logits_of_any_size_do_not_overflow() -> None:
    grid = np.array([[[1e4]], [[-1e4]], [[0.0]]])
    logits, lse = decode(encode_maps(grid, [0, 1, 2]))
    np.testing.assert_allclose(np.exp(logits - lse)[:, 0], [1, 0, 0], atol=1e-3)


def test_one_logit_has_its_sigmoid_as_share() -> None:
    grid = np.array([[[-2.0, 0.0], [1.0, 3.0]]], np.float32)
    logits, lse = decode(encode_maps(grid, [0]))
    np.testing.assert_allclose(np.exp(logits - lse)[0], expit([-2, 0, 1, 3]), rtol=1e-4)


def test_a_flat_grid_keeps_its_value() -> None:
    logits, _lse = decode(encode_maps(np.full((2, 2, 2), 1.5), [1]))
    np.testing.assert_array_equal(logits, 1.5)


def test_what_is_no_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="three axes"):
        encode_maps(np.zeros((3, 3)), [0])
    with pytest.raises(ValueError, match="8 and 16 bits"):
        encode_maps(np.zeros((1, 3, 3)), [0], depth=12)


def test_the_scale_of_colours_is_that_of_the_pictures() -> None:
    scale = bytes.fromhex(colour_scale())
    assert len(scale) == 3 * 256
    for level in (0, 100, 255):
        assert tuple(scale[3 * level : 3 * level + 3]) == tuple(sequential(np.array([level / 255]))[0])
