"""Products of probabilities: over positions each by its share of what is lacking to 1, over channels by slopes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.support import (
    Head,
    assert_close,
    assert_mean_is_logits,
    chain,
    check_refused,
    dense,
    images,
    lift,
    pooled,
    text_model,
    weights,
)

K, B = weights(5, 6), weights(5)
W = weights(4, 5)
INIT = {"k": K[:, :, None, None], "b": B, "one": np.float32(1), "w": W}
ABSENT = "c = Conv(x, k, b)\n s = Sigmoid(c)\n q = Sub(one, s)\n "
PRODUCTS = {
    "both_axes": "r = ReduceProd<axes=[2, 3], keepdims=0>(q)",
    "one_axis_after_the_other": "t = ReduceProd<axes=[3], keepdims=0>(q)\n r = ReduceProd<axes=[-1], keepdims=0>(t)",
    "axes_kept": "t = ReduceProd<axes=[2], keepdims=1>(q)\n u = Identity(t)\n v = ReduceProd<axes=[3], keepdims=1>(u)\n"
    " r = Flatten(v)",
    "tokens": "t = Reshape(q, tokens)\n r = ReduceProd<axes=[2], keepdims=0>(t)",
}


def absent(x: np.ndarray) -> np.ndarray:
    """1 - sigmoid of the classes of each cell, (N, 5, H, W), float64."""
    return 1 / (1 + np.exp(dense(K, B)(x.astype(np.float64))))


def shared(q: np.ndarray) -> np.ndarray:
    """The lift of a product over cells."""
    log = np.log(q)
    y = np.exp(log.sum(axis=(2, 3), keepdims=True))
    return 1 + q[0, 0].size * log / log.sum(axis=(2, 3), keepdims=True) * (y - 1)


@pytest.mark.parametrize("batch", ["N", "1"])
@pytest.mark.parametrize("spelling", sorted(PRODUCTS))
def test_noisy_or(spelling: str, batch: str) -> None:
    """A class is there if it is at one position at least: a position's share is what it takes away from absence."""
    tokens = np.array([int(batch) if batch.isdigit() else -1, 5, 15])
    model = text_model(
        f"{ABSENT}{PRODUCTS[spelling]}\n y = Sub(one, r)",
        x=f"float[{batch},6,3,5] x",
        y=f"float[{batch},5] y",
        init=INIT | {"tokens": tokens},
    )
    x = images(model, 1 if batch == "1" else 3)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert_close(found.grid, 1 - shared(absent(x)), 2e-5)
    assert (found.grid >= 0).all()
    assert_close(found.logits, 1 - absent(x).prod(axis=(2, 3)), 1e-5)


def test_a_layer_behind_a_product_of_absences() -> None:
    model = text_model(f"{ABSENT}{PRODUCTS['both_axes']}\n y = Gemm<transB=1>(r, w)", y="float[N,4] y", init=INIT)
    found = lift(model, images(model))
    assert_close(found.grid, dense(W)(shared(absent(found.x))), 2e-5)


def test_factors_of_0_and_products_of_1() -> None:
    """A certain position takes all; where nothing is seen anywhere, all are alike."""
    model = text_model(
        "c = Clip(x, zero, one)\n q = Sub(one, c)\n r = ReduceProd<axes=[2, 3], keepdims=0>(q)\n y = Sub(one, r)",
        y="float[N,6] y",
        init={"zero": np.float32(0), "one": np.float32(1)},
    )
    x = np.zeros((2, 6, 3, 5), np.float32)
    x[1, :, 1, 2] = 1
    grid = lift(model, x).grid
    np.testing.assert_array_equal(grid[0], 0)
    expected = np.zeros((6, 3, 5))
    expected[:, 1, 2] = 15
    assert_close(grid[1], expected)


def over_channels(cells: np.ndarray) -> np.ndarray:
    """The lift of a product of the five pooled channels, (N, 1, H, W)."""
    t = pooled(cells)
    y = t.prod(axis=1, keepdims=True)
    slope = np.log(t) / np.log(t).sum(axis=1, keepdims=True) * (y - 1) / (t - 1)
    return 1 + (slope * (cells - 1)).sum(axis=1, keepdims=True)


def test_none_of_the_classes_is_there() -> None:
    """``prod_k (1 - p_k)`` of pooled probabilities, which are between 0 and 1 as well."""
    model = text_model(
        f"{ABSENT} p = GlobalAveragePool(q)\n f = Flatten(p)\n r = ReduceProd<axes=[1], keepdims=1>(f)\n y = Neg(r)",
        y="float[N,1] y",
        init=INIT,
    )
    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    expected: Head = chain(absent, over_channels)
    assert_close(found.grid, -expected(found.x), 2e-5)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("y = ReduceProd<axes=[2, 3], keepdims=0>(x)", id="over_cells"),
        pytest.param(
            "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n y = ReduceProd<axes=[1], keepdims=1>(f)", id="over_channels"
        ),
        pytest.param("e = Exp(x)\n y = ReduceProd<axes=[2, 3], keepdims=0>(e)", id="above_1"),
    ],
)
def test_a_product_of_numbers_that_may_be_anything_is_refused(body: str) -> None:
    check_refused(text_model(body, y="float[N,6] y"), "unknown-operator", "ReduceProd")
