"""Windows of an image that are folded into the batch, pooled each by itself and brought together again."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.images.places import AxisPlaces
from tests.helpers.support import (
    Lifted,
    assert_close,
    assert_mean_is_logits,
    check_refused,
    dense,
    images,
    lift,
    text_model,
    weights,
)

W = weights(5, 6)
#: (N, 6, 4, 8) to (N * 4, 6, 2, 4): windows in reading order.
FOLD = "r = Reshape(x, apart)\n t = Transpose<perm=[0, 2, 4, 1, 3, 5]>(r)\n m = Reshape(t, folded)\n"
POOL = "p = ReduceMean<axes=[2, 3], keepdims=0>(m)\n"
HALVES = "a = Slice(x, zero, four, last)\n b = Slice(x, four, end, last)\n"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


INIT = {
    "apart": ints(-1, 6, 2, 2, 2, 4), "folded": ints(-1, 6, 2, 4), "classes": ints(-1, 4, 5), "maps": ints(-1, 4, 6),
    "flat": ints(-1, 24), "zero": ints(0), "two": ints(2), "four": ints(4), "six": ints(6), "end": ints(99),
    "last": ints(3), "one": ints(1), "back": ints(-1), "start": ints(-99),
}  # fmt: skip


def model_of(body: str, *, x: str = "float[N,6,4,8] x", **init: np.ndarray) -> onnx.ModelProto:
    return text_model(body, x=x, init={"w": W} | INIT | init)


def check(model: onnx.ModelProto, expected: np.ndarray, *, dependent: bool = False) -> Lifted:
    found = lift(model, images(model))
    record = found.rewrite.heads[0]
    assert (found.verdict, record.position_dependent) == ("exact", dependent)
    assert (record.places.rows, record.places.columns) == (AxisPlaces(0.5, 1.0), AxisPlaces(0.5, 1.0))
    assert_mean_is_logits(found)
    assert_close(found.grid, expected)
    return found


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param("z = Gemm<transB=1>(p, w)\n s = Reshape(z, classes)\n y = ReduceMean<axes=[1], keepdims=0>(s)",
                     id="layer_first"),
        pytest.param("s = Reshape(p, maps)\n q = ReduceMean<axes=[1], keepdims=0>(s)\n y = Gemm<transB=1>(q, w)",
                     id="mean_first"),
    ],
)  # fmt: skip
def test_a_mean_over_windows_has_the_cells_of_the_image(behind: str) -> None:
    model = model_of(f"{FOLD} {POOL} {behind}")
    x = images(model).astype(np.float64)
    found = check(model, dense(W)(x))
    np.testing.assert_array_equal(found.features, found.x)


def test_windows_as_tokens_have_the_rows_and_columns_of_the_image() -> None:
    """Of Swin's windows, which are normalized and averaged and not put back: (N * 4, 8, C) from (N, 4, 8, C)."""
    model = model_of(
        "c = Conv(x, e)\n h = Transpose<perm=[0, 2, 3, 1]>(c)\n r = Reshape(h, apart)\n"
        " t = Transpose<perm=[0, 1, 3, 2, 4, 5]>(r)\n m = Reshape(t, folded)\n"
        " p = ReduceMean<axes=[1], keepdims=0>(m)\n s = Reshape(p, maps)\n"
        " u = Transpose<perm=[0, 2, 1]>(s)\n q = ReduceMean<axes=[2], keepdims=0>(u)\n"
        " y = Gemm<transB=1>(q, w)",
        e=np.eye(6, dtype=np.float32)[:, :, None, None],
        apart=ints(-1, 2, 2, 2, 4, 6),
        folded=ints(-1, 8, 6),
    )
    check(model, dense(W)(images(model).astype(np.float64)))


def test_windows_one_behind_the_other_in_the_batch() -> None:
    model = model_of(
        f"{HALVES} m = Concat<axis=0>(a, b)\n {POOL} z = Gemm<transB=1>(p, w)\n s = Reshape(z, first)\n"
        " y = ReduceMean<axes=[0], keepdims=0>(s)",
        first=ints(2, -1, 5),
    )
    check(model, dense(W)(images(model).astype(np.float64)))


def test_a_layer_over_all_windows_has_weights_of_its_own_for_each() -> None:
    w = weights(5, 24)
    model = model_of(f"{FOLD} {POOL} s = Reshape(p, flat)\n y = Gemm<transB=1>(s, w4)", w4=w)
    x = images(model).astype(np.float64)
    expected = np.zeros((3, 5, 4, 8))
    for window in range(4):
        rows, columns = slice(window // 2 * 2, window // 2 * 2 + 2), slice(window % 2 * 4, window % 2 * 4 + 4)
        own = dense(w[:, window * 6 : window * 6 + 6])(x[:, :, rows, columns])
        expected[:, :, rows, columns] = 4 * own
    check(model, expected, dependent=True)


def test_crops_that_overlap_add_up_where_they_do() -> None:
    """Columns 0 to 6 and 2 to 8, one behind the other in the batch."""
    model = model_of(
        "a = Slice(x, zero, six, last)\n b = Slice(x, two, end, last)\n m = Concat<axis=0>(a, b)\n"
        f" {POOL} z = Gemm<transB=1>(p, w)\n za, zb = Split<axis=0>(z)\n y = Mean(za, zb)"
    )
    cells = dense(W)(images(model).astype(np.float64))
    shares = np.array([1, 1, 2, 2, 2, 2, 1, 1]) * 8 / 12
    check(model, cells * shares, dependent=True)


def test_windows_of_one_image_are_the_batch() -> None:
    model = model_of(
        f"{FOLD} {POOL} z = Gemm<transB=1>(p, w)\n y = ReduceMean<axes=[0], keepdims=1>(z)",
        x="float[1,6,4,8] x",
        apart=ints(1, 6, 2, 2, 2, 4),
        folded=ints(4, 6, 2, 4),
    )
    check(model, dense(W)(images(model).astype(np.float64)))


@pytest.mark.parametrize(
    "views",
    [
        pytest.param("a = Identity(x)\n b = Slice(x, back, start, last, back)\n", id="mirrored"),
        pytest.param("a0 = Slice(x, zero, four, last)\n a = Resize<mode=\"linear\">(a0, , , whole)\n b = Identity(x)\n",
                     id="a_part_and_the_whole"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stacked", [False, True])
def test_views_that_do_not_lie_side_by_side_are_refused(views: str, stacked: bool) -> None:
    if stacked:
        views += "ua = Unsqueeze(a, one)\n ub = Unsqueeze(b, one)\n u = Concat<axis=1>(ua, ub)\n m = Reshape(u, many)\n"
        tail = "s = Reshape(z, pairs)\n y = ReduceMean<axes=[1], keepdims=0>(s)"
    else:
        views += "m = Concat<axis=0>(a, b)\n"
        tail = "za, zb = Split<axis=0>(z)\n y = Mean(za, zb)"
    init = {"many": ints(-1, 6, 4, 8), "pairs": ints(-1, 2, 5), "whole": ints(2, 6, 4, 8)}
    fixed = "float[2,6,4,8] x" if "whole" in views else "float[N,6,4,8] x"
    model = model_of(f"{views} {POOL} z = Gemm<transB=1>(p, w)\n {tail}", x=fixed, **init)
    refusal = check_refused(model, "different-views")
    assert "2 views of each image in one batch" in refusal.message


def test_windows_whose_pooled_vectors_are_rounded() -> None:
    """Q and DQ around a window's pooled vector move it by half of a step; so they do the mean of all windows."""
    model = model_of(
        f"{FOLD} {POOL} i = QuantizeLinear(p, step, none)\n d = DequantizeLinear(i, step, none)\n"
        " z = Gemm<transB=1>(d, w)\n s = Reshape(z, classes)\n y = ReduceMean<axes=[1], keepdims=0>(s)",
        step=np.float32(0.05),
        none=np.int8(0),
    )
    found = lift(model, images(model))
    bound = np.abs(W.astype(np.float64)).sum(axis=1).max() * 0.025
    assert np.abs(found.grid.astype(np.float64).mean(axis=(2, 3)) - found.logits).max() <= bound
    assert_close(found.grid, dense(W)(found.x.astype(np.float64)))
