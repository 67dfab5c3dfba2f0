"""Average pools with windows whose outputs are pooled again: the walk goes on to the map behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_gapmil.images.places import AxisPlaces
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    dense,
    images,
    lift,
    rng,
    text_model,
    weights,
)

W, B = weights(5, 6), weights(5)
INIT = {
    "w": W,
    "b": B,
    "c": weights(6, 6, 1, 1),
    "cb": weights(6),
    "scale": weights(6, 1, 1),
    "space": np.array([2, 3]),
}
HEAD = "f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"


def windows(size: int, kernel: int, stride: int, pads: tuple[int, int] = (0, 0)) -> np.ndarray:
    """(windows, positions) along one axis, padding not counted, by the definition of the pool."""
    starts = range(-pads[0], size + pads[1] - kernel + 1, stride)
    inside = [[p for p in range(start, start + kernel) if 0 <= p < size] for start in starts]
    return np.array([[1 / len(own) if p in own else 0.0 for p in range(size)] for own in inside])


def share_of(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What the mean of all windows gives each position, in units of a plain mean's."""
    return np.outer(rows.mean(axis=0) * rows.shape[1], columns.mean(axis=0) * columns.shape[1])


def test_windows_of_stride_1_are_walked_through() -> None:
    body = f"a = AveragePool<kernel_shape=[7, 7]>(x)\n p = GlobalAveragePool(a)\n {HEAD}"
    model = text_model(body, x="float[N,6,10,12] x", init=INIT)
    x = images(model)
    found = lift(model, x)
    (head,) = found.rewrite.heads
    assert (found.verdict, head.position_dependent) == ("exact", True)
    assert (head.places.rows, head.places.columns) == (AxisPlaces(0.5, 1.0), AxisPlaces(0.5, 1.0))
    np.testing.assert_array_equal(found.features, x)
    assert_mean_is_logits(found)
    share = share_of(windows(10, 7, 1), windows(12, 7, 1))
    assert_close(found.grid, dense(W, B)(x.astype(np.float64) * share))


def test_windows_that_do_not_overlap_are_cells_like_any_others() -> None:
    body = f"a = AveragePool<kernel_shape=[2, 3], strides=[2, 3]>(x)\n p = ReduceMean<axes=[2, 3]>(a)\n {HEAD}"
    model = text_model(body, x="float[N,6,4,6] x", init=INIT)
    x = images(model)
    found = lift(model, x)
    assert not found.rewrite.heads[0].position_dependent
    blocks = x.astype(np.float64).reshape(3, 6, 2, 2, 2, 3).mean(axis=(3, 5))
    assert_close(found.grid, dense(W, B)(blocks))


def test_windows_apart_over_windows_that_overlap_are_walked_through_and_not_the_other_way_round() -> None:
    together, apart = "kernel_shape=[3, 3]", "kernel_shape=[2, 2], strides=[2, 2]"
    for first, second, cells in ((together, apart, (6, 6)), (apart, together, (3, 3))):
        body = f"a0 = AveragePool<{first}>(x)\n a = AveragePool<{second}>(a0)\n p = GlobalAveragePool(a)\n {HEAD}"
        model = text_model(body, x="float[N,6,6,6] x", init=INIT)
        if first == apart:
            body = body.replace("kernel_shape=[3, 3]", "kernel_shape=[2, 2]")
            model = text_model(body, x="float[N,6,6,6] x", init=INIT)
        found = lift(model, images(model))
        assert found.grid.shape[2:] == cells
        assert_mean_is_logits(found)


BETWEEN: dict[str, tuple[str, Any]] = {
    "convolution": ("m = Conv(a, c, cb)", lambda z: dense(INIT["c"][:, :, 0, 0], INIT["cb"])(z)),
    "factor_and_offset": (
        "s = Mul(a, scale)\n m = Sub(cbc, s)",
        lambda z: INIT["cb"].reshape(6, 1, 1) - INIT["scale"] * z,
    ),
    "batch_norm": (
        "m = BatchNormalization(a, cb, cb, cb, var)",
        lambda z: (
            (z - INIT["cb"].reshape(6, 1, 1)) / np.sqrt(2 + 1e-5) * INIT["cb"].reshape(6, 1, 1)
            + INIT["cb"].reshape(6, 1, 1)
        ),
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_what_stands_between_is_done_to_the_map(name: str) -> None:
    line, formula = BETWEEN[name]
    body = f"a = AveragePool<kernel_shape=[3, 3]>(x)\n {line}\n p = GlobalAveragePool(m)\n {HEAD}"
    init = INIT | {"cbc": INIT["cb"].reshape(6, 1, 1), "var": np.full(6, 2, np.float32)}
    model = text_model(body, x="float[N,6,5,6] x", init=init)
    x = images(model)
    found = lift(model, x)
    share = share_of(windows(5, 3, 1), windows(6, 3, 1))
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W, B)(formula(x.astype(np.float64) * share)))


@pytest.mark.parametrize(
    "line",
    ["m = Relu(a)", "m = Mul(a, mask)", "m = Conv<pads=[1, 1, 1, 1]>(a, c3)"],
    ids=["activation", "other_factors_elsewhere", "neighbours"],
)
def test_what_is_not_done_everywhere_alike_keeps_the_windows(line: str) -> None:
    body = f"a = AveragePool<kernel_shape=[3, 3]>(x)\n {line}\n p = GlobalAveragePool(m)\n {HEAD}"
    init = INIT | {"mask": weights(3, 4), "c3": weights(6, 6, 3, 3)}
    model = text_model(body, x="float[N,6,5,6] x", init=init)
    found = lift(model, images(model))
    assert found.grid.shape[2:] == (3, 4)
    assert_mean_is_logits(found)


def test_sum_of_windows_with_an_offset_keeps_the_windows() -> None:
    """The offset counts once for each window, however many positions there are."""
    body = f"a = AveragePool<kernel_shape=[3, 3]>(x)\n m = Add(a, cbc)\n p = ReduceSum<keepdims=1>(m, space)\n {HEAD}"
    model = text_model(body, x="float[N,6,5,6] x", init=INIT | {"cbc": INIT["cb"].reshape(6, 1, 1)})
    found = lift(model, images(model))
    assert found.grid.shape[2:] == (3, 4)
    assert_mean_is_logits(found)


def test_sum_of_windows_alone_is_walked_through() -> None:
    body = f"a = AveragePool<kernel_shape=[3, 3]>(x)\n p = ReduceSum<keepdims=1>(a, space)\n {HEAD}"
    model = text_model(body, x="float[N,6,5,6] x", init=INIT)
    x = images(model)
    found = lift(model, x)
    share = share_of(windows(5, 3, 1), windows(6, 3, 1)) * 12
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W, B)(x.astype(np.float64) * share))


def test_largest_of_windows_is_what_its_window_averages() -> None:
    """timm's test-time pool: mean and largest of windows behind a convolution."""
    body = (
        "a = AveragePool<kernel_shape=[3, 3]>(x)\n m = Conv(a, c, cb)\n q = GlobalAveragePool(m)\n"
        f" r = GlobalMaxPool(m)\n s = Add(q, r)\n p = Mul(s, half)\n {HEAD}"
    )
    model = text_model(body, x="float[N,6,5,6] x", init=INIT | {"half": np.float32(0.5)})
    x = images(model)
    found = lift(model, x)
    assert (found.verdict, found.grid.shape[2:]) == ("conditional", (5, 6))
    assert_mean_is_logits(found)
    taken = np.einsum("ih,jw->ijhw", windows(5, 3, 1), windows(6, 3, 1))  # of each window
    own = dense(INIT["c"][:, :, 0, 0], INIT["cb"])
    values = own(np.einsum("ijhw,nchw->ncij", taken, x.astype(np.float64)))
    hot = values == values.max(axis=(2, 3), keepdims=True)
    largest = own(x.astype(np.float64)) * np.einsum("ijhw,ncij->nchw", taken, hot) * 30
    mean = own(x.astype(np.float64) * share_of(windows(5, 3, 1), windows(6, 3, 1)))
    assert_close(found.grid, dense(W, B)((mean + largest) / 2))


def test_windows_of_windows() -> None:
    body = (
        "a0 = AveragePool<kernel_shape=[2, 2]>(x)\n a = AveragePool<kernel_shape=[3, 3]>(a0)\n"
        f" p = GlobalAveragePool(a)\n {HEAD}"
    )
    model = text_model(body, x="float[N,6,6,7] x", init=INIT)
    x = images(model)
    found = lift(model, x)
    rows, columns = windows(5, 3, 1) @ windows(6, 2, 1), windows(6, 3, 1) @ windows(7, 2, 1)
    assert_close(found.grid, dense(W, B)(x.astype(np.float64) * share_of(rows, columns)))


def test_windows_along_a_signal() -> None:
    body = "a = AveragePool<kernel_shape=[4]>(x)\n p = GlobalAveragePool(a)\n" + HEAD
    model = text_model(body, x="float[N,6,15] x", init=INIT)
    x = images(model)
    found = lift(model, x)
    share = (windows(15, 4, 1).mean(axis=0) * 15)[None]
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W, B)(x.astype(np.float64)[:, :, None] * share))


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    seed=st.integers(0, 2**16),
)
def test_random_windows(
    size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...], seed: int
) -> None:
    assume(all(pad < side for pad, side in zip(pads, kernel * 2, strict=True)))
    assume(all(size[axis] + pads[axis] + pads[axis + 2] >= kernel[axis] for axis in (0, 1)))
    rows = windows(size[0], kernel[0], strides[0], (pads[0], pads[2]))
    columns = windows(size[1], kernel[1], strides[1], (pads[1], pads[3]))
    assume(len(rows) * len(columns) > 1)
    assume(max(np.count_nonzero(rows, axis=0)) > 1 or max(np.count_nonzero(columns, axis=0)) > 1)
    body = (
        f"a = AveragePool<kernel_shape={list(kernel)}, strides={list(strides)}, pads={list(pads)}>(x)\n"
        f" p = GlobalAveragePool(a)\n {HEAD}"
    )
    model = text_model(body, x=f"float[N,6,{size[0]},{size[1]}] x", init=INIT)
    x = rng(seed).standard_normal((2, 6, *size)).astype(np.float32)
    found = lift(model, x, check=False)
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W, B)(x.astype(np.float64) * share_of(rows, columns)))


def test_largest_of_windows_that_count_their_padding_with_a_bias_behind() -> None:
    """At the edges a window's shares add up to less than 1, and the bias is whole all the same."""
    body = (
        "a = AveragePool<kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=1>(x)\n"
        " k = Conv(a, c, cb)\n p = GlobalMaxPool(k)\n " + HEAD
    )
    model = text_model(body, x="float[N,6,6,7] x", init=INIT)
    assert_mean_is_logits(lift(model, images(model)))
