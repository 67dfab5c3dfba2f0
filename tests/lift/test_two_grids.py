"""Heads that join pools of several maps: grids of different size, parts of a map, a map turned over."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil import UnsupportedHeadError, rewrite
from onnx_gapmil.images.places import AxisPlaces
from onnx_gapmil.lift.joining import overlap
from tests.helpers.support import (
    Lifted,
    assert_close,
    assert_mean_is_logits,
    check_refused,
    dense,
    images,
    lift,
    rng,
    run,
    text_model,
    weights,
)

CONV = weights(6, 6, 1, 1)
W, W2 = weights(5, 6), weights(5, 12)
POOLS = "pa = GlobalAveragePool(a)\n pb = GlobalAveragePool(b)\n fa = Flatten(pa)\n fb = Flatten(pb)\n"
CONCAT = "j = Concat<axis=1>(fa, fb)\n y = Gemm<transB=1>(j, w2)"
ADD = "j = Add(fa, fb)\n y = Gemm<transB=1>(j, w)"
SIZE = (4, 6)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


AXES = {"rows": ints(2), "columns": ints(3), "zero": ints(0), "two": ints(2), "three": ints(3), "end": ints(99)}
BACK = {"last": ints(-1), "start": ints(-99)}


def model_of(body: str, *, size: tuple[int, int] | None = SIZE, **init: Any) -> onnx.ModelProto:
    height, width = size or ("H", "W")
    init = {"c": CONV, "w": W, "w2": W2} | AXES | BACK | init
    return text_model(f"k = Conv(x, c)\n {body}", x=f"float[N,6,{height},{width}] x", init=init)


def trunk(x: np.ndarray) -> np.ndarray:
    return dense(CONV[:, :, 0, 0])(x.astype(np.float64))


def block_max(cells: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """MaxPool without padding, from its definition."""
    rows = range(0, cells.shape[2] - kernel[0] + 1, stride[0])
    columns = range(0, cells.shape[3] - kernel[1] + 1, stride[1])
    return np.stack(
        [
            np.stack([cells[:, :, i : i + kernel[0], j : j + kernel[1]].max(axis=(2, 3)) for j in columns], axis=-1)
            for i in rows
        ],
        axis=-2,
    )


def share(old: int, new: int) -> np.ndarray:
    """How much of each new cell lies in each old one, by counting on a raster as fine as both."""
    raster = np.zeros((new, old))
    for place in range(old * new):
        raster[place // old, place // new] += 1 / old
    return raster


def resampled(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.einsum("ih,nkhw,jw->nkij", share(cells.shape[2], size[0]), cells, share(cells.shape[3], size[1]))


def moved_cells(found: Lifted, x: np.ndarray, row: int, column: int) -> set[tuple[int, int]]:
    """The cells of the prediction grid that one position of the image decides."""
    other = x.copy()
    other[:, :, row, column] += 1
    (grid,) = run(found.rewrite.model, other, [found.rewrite.heads[0].grid])
    differ = np.abs(grid.astype(np.float64) - found.grid).max(axis=(0, 1)) > 1e-5
    return {(int(i), int(j)) for i, j in np.argwhere(differ)}


# --- overlap -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40))
def test_overlap_shares_by_area(old: int, new: int) -> None:
    table = overlap(old, new)
    assert table.shape == (new, old)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(table.sum(axis=0), new / old, atol=1e-12)
    np.testing.assert_allclose(table, share(old, new), atol=1e-12)


# --- two sizes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [
        pytest.param((2, 2), (2, 2), id="half"),
        pytest.param((2, 2), (1, 1), id="3x5_into_4x6"),
        pytest.param((2, 1), (2, 1), id="half_the_rows"),
        pytest.param((3, 4), (1, 1), id="2x3_into_4x6"),
    ],
)
@pytest.mark.parametrize("join", [CONCAT, ADD], ids=["concat", "add"])
def test_coarser_grid_is_brought_to_the_finer_by_area(
    kernel: tuple[int, int], stride: tuple[int, int], join: str
) -> None:
    window = f"kernel_shape={list(kernel)}, strides={list(stride)}"
    model = model_of(f"a = MaxPool<{window}>(k)\n b = Relu(k)\n {POOLS} {join}")
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    first = resampled(block_max(trunk(x), kernel, stride), SIZE)
    second = np.maximum(trunk(x), 0)
    weight = (W2[:, :6], W2[:, 6:]) if join == CONCAT else (W, W)
    assert_close(found.grid, dense(weight[0])(first) + dense(weight[1])(second))
    assert_close(found.features, np.concatenate([first, second], axis=1))


def test_grids_of_which_neither_is_finer_both_ways() -> None:
    body = "a = MaxPool<kernel_shape=[2, 1], strides=[2, 1]>(k)\n b = MaxPool<kernel_shape=[1, 4], strides=[1, 2]>(k)\n"
    model = model_of(f"{body} {POOLS} {CONCAT}")
    x = images(model)
    found = lift(model, x)
    first = resampled(block_max(trunk(x), (2, 1), (2, 1)), SIZE)
    second = resampled(block_max(trunk(x), (1, 4), (1, 2)), SIZE)
    assert found.grid.shape == (3, 5, 4, 6)
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W2[:, :6])(first) + dense(W2[:, 6:])(second))


def test_three_sizes() -> None:
    body = (
        "a = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(k)\n b = MaxPool<kernel_shape=[2, 2]>(k)\n"
        f" {POOLS} pc = GlobalAveragePool(k)\n fc = Flatten(pc)\n s = Sum(fa, fb, fc)\n y = Gemm<transB=1>(s, w)"
    )
    model = model_of(body)
    x = images(model)
    parts = [resampled(block_max(trunk(x), (2, 2), (2, 2)), SIZE), resampled(block_max(trunk(x), (2, 2), (1, 1)), SIZE)]
    found = lift(model, x)
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W)(sum(parts) + trunk(x)))


def test_flattened_map_and_pool_of_a_coarser_one() -> None:
    full = weights(5, 6 * 24)
    model = model_of(
        "g = Flatten(k)\n h = Gemm<transB=1>(g, full)\n b = MaxPool<kernel_shape=[2, 2]>(k)\n"
        " pb = GlobalAveragePool(b)\n fb = Flatten(pb)\n o = Gemm<transB=1>(fb, w)\n y = Add(h, o)",
        full=full,
    )
    x = images(model)
    found = lift(model, x)
    assert found.rewrite.heads[0].position_dependent
    assert_mean_is_logits(found)
    own = 24 * np.einsum("kchw,nchw->nkhw", full.reshape(5, 6, 4, 6).astype(np.float64), trunk(x))
    assert_close(found.grid, own + dense(W)(resampled(block_max(trunk(x), (2, 2), (1, 1)), SIZE)))


def test_half_precision_keeps_the_mean() -> None:
    model = text_model(
        f"a = MaxPool<kernel_shape=[2, 2]>(x)\n b = Relu(x)\n {POOLS} {CONCAT}",
        x="float16[N,6,4,6] x",
        y="float16[N,5] y",
        init={"w2": W2.astype(np.float16)},
    )
    found = lift(model, images(model))
    assert found.grid.dtype == np.float16
    assert_mean_is_logits(found)


def test_open_size_is_refused() -> None:
    body = "a = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(k)\n b = Identity(k)\n"
    check_refused(model_of(f"{body} {POOLS} {CONCAT}", size=None), "different-grids", "'j'")


def test_row_of_unarranged_tokens_and_a_map_are_refused() -> None:
    model = text_model(
        "fa = ReduceMean<axes=[1], keepdims=0>(t)\n pb = GlobalAveragePool(x)\n fb = Flatten(pb)\n " + CONCAT,
        x="float[N,6,4,6] x, float[N,7,6] t",
        init={"w2": W2},
    )
    check_refused(model, "different-grids", "'j'")


# --- parts of one map ----------------------------------------------------------------------------------------------

TOP_AND_BOTTOM = [
    pytest.param("a = Slice(k, zero, two, rows)\n b = Slice(k, two, end, rows)\n", {}, id="slice"),
    pytest.param("a, b = Split<axis=2>(k, halves)\n", {"halves": ints(2, 2)}, id="split"),
    pytest.param("a = Gather<axis=2>(k, i)\n"
                 " b = Gather<axis=2>(k, j2)\n", {"i": ints(0, 1), "j2": ints(2, 3)}, id="gather"),
    pytest.param("a = Gather<axis=2>(k, i)\n"
                 " b = Gather<axis=2>(k, j2)\n", {"i": ints(1, 0), "j2": ints(3, 2)}, id="gather_reversed"),
    pytest.param("a = Slice(k, zero, two, rows)\n"
                 " b = Slice(k, last, far, rows, last)\n", {"far": ints(-3)}, id="slice_backwards"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "init"), TOP_AND_BOTTOM)
def test_halves_keep_their_places(body: str, init: dict[str, np.ndarray]) -> None:
    model = model_of(f"{body} {POOLS} {CONCAT}", **init)
    x = images(model)
    found = lift(model, x)
    assert_mean_is_logits(found)
    top, bottom = trunk(x), trunk(x)
    top[:, :, 2:], bottom[:, :, :2] = 0, 0
    assert_close(found.grid, dense(W2[:, :6])(2 * top) + dense(W2[:, 6:])(2 * bottom))
    assert moved_cells(found, x, 3, 5) == {(3, 5)}


def test_quarter_cut_in_two_steps_keeps_its_place() -> None:
    model = model_of(
        "r = Slice(k, two, end, rows)\n a = Slice(r, zero, three, columns)\n p = GlobalAveragePool(a)\n"
        " f = Flatten(p)\n"
        " y = Gemm<transB=1>(f, w)"
    )
    x = images(model)
    found = lift(model, x)
    assert_mean_is_logits(found)
    quarter = np.zeros_like(trunk(x))
    quarter[:, :, 2:, :3] = trunk(x)[:, :, 2:, :3] * 4
    assert_close(found.grid, dense(W)(quarter))
    assert moved_cells(found, x, 0, 0) == set()


def test_cut_in_nhwc_and_its_sum() -> None:
    model = model_of(
        "m = Transpose<perm=[0, 2, 3, 1]>(k)\n a = Slice(m, three, end, two)\n"
        " f = ReduceSum<keepdims=0>(a, space)\n y = Gemm<transB=1>(f, w)",
        space=ints(1, 2),
    )
    x = images(model)
    found = lift(model, x)
    right = trunk(x) * 24
    right[:, :, :, :3] = 0
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W)(right))


def test_part_and_whole() -> None:
    model = model_of(f"a = Slice(k, zero, two, rows)\n b = Identity(k)\n {POOLS} {CONCAT}")
    x = images(model)
    top = trunk(x) * 2
    top[:, :, 2:] = 0
    found = lift(model, x)
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W2[:, :6])(top) + dense(W2[:, 6:])(trunk(x)))


def test_map_and_its_mirror_image_share_their_places() -> None:
    """Averaging over a flip: the mirrored cell is the same place."""
    model = model_of(f"b = Slice(k, last, start, columns, last)\n a = Identity(k)\n {POOLS} {CONCAT}")
    x = images(model)
    found = lift(model, x)
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(W2[:, :6] + W2[:, 6:])(trunk(x)))


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("a0 = Slice(k, zero, two, rows)\n b0 = Slice(k, two, end, rows)\n a = Relu(a0)\n"
                     " b = Relu(b0)\n", {}, id="slice"),
        pytest.param("a0, b0 = Split<axis=2>(k, halves)\n a = Relu(a0)\n b = Relu(b0)\n", {"halves": ints(2, 2)},
                     id="split"),
    ],
)  # fmt: skip
def test_halves_behind_an_activation_lie_side_by_side(body: str, init: dict[str, np.ndarray]) -> None:
    model = model_of(f"{body} {POOLS} {CONCAT}", **init)
    x = images(model)
    found = lift(model, x)
    assert_mean_is_logits(found)
    top, bottom = np.maximum(trunk(x), 0), np.maximum(trunk(x), 0)
    top[:, :, 2:], bottom[:, :, :2] = 0, 0
    assert_close(found.grid, dense(W2[:, :6])(2 * top) + dense(W2[:, 6:])(2 * bottom))
    assert moved_cells(found, x, 3, 5) <= {(3, 5)}


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("a = Slice(k, z2, e2, cr)\n b = Slice(k, s2, e9, cr)\n",
                     {"cr": ints(1, 2), "z2": ints(0, 0), "e2": ints(6, 2), "s2": ints(0, 2), "e9": ints(5, 9),
                                  "w2": weights(5, 11)},
                     id="rows_and_channels_at_once"),
        pytest.param("b0 = Slice(k, last, start, columns, last)\n b = Relu(b0)\n"
                     " a = Relu(k)\n", {}, id="mirror_image_and_an_activation"),
    ],
)  # fmt: skip
def test_parts_whose_places_do_not_correspond_are_refused(body: str, init: dict[str, np.ndarray]) -> None:
    """Their grids are as large as each other: laid over one another the mean would hold, and every place be wrong."""
    with pytest.raises(UnsupportedHeadError) as refused:
        rewrite(model_of(f"{body} {POOLS} {CONCAT}", **init), write=False)
    assert refused.value.refusal.code == "different-views"


def test_the_largest_of_one_half_is_joined_with_the_mean_of_the_other() -> None:
    """A part whose largest position counts is the whole map with the others left out, so that both are one map."""
    model = model_of(
        "a = Slice(k, zero, two, rows)\n b = Slice(k, two, end, rows)\n pa = GlobalMaxPool(a)\n fa = Flatten(pa)\n"
        f" pb = GlobalAveragePool(b)\n fb = Flatten(pb)\n {CONCAT}"
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    top, bottom = trunk(x), trunk(x) * 2
    top[:, :, 2:], bottom[:, :, :2] = 0, 0
    top *= 24 * (trunk(x) == trunk(x)[:, :, :2].max(axis=(2, 3), keepdims=True))
    assert_close(found.grid, dense(W2[:, :6])(top) + dense(W2[:, 6:])(bottom))


def test_two_pools_of_the_same_part_lie_where_it_was_cut_out() -> None:
    model = model_of(
        "a0 = Slice(k, zero, two, rows)\n a = Relu(a0)\n pa = GlobalMaxPool(a)\n fa = Flatten(pa)\n"
        f" pb = GlobalAveragePool(a)\n fb = Flatten(pb)\n {CONCAT}"
    )
    (head,) = rewrite(model, write=False).heads
    assert head.grid_shape == ("N", 5, 2, 6)
    assert (head.places.rows, head.places.columns) == (AxisPlaces(0.5, 1.0), AxisPlaces(0.5, 1.0))


# --- at random -----------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    cut=st.integers(1, 6),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_random_part_and_coarser_map(seed: int, size: tuple[int, int], cut: int, kernel: tuple[int, int]) -> None:
    cut = min(cut, size[0] - 1)
    kernel = (min(kernel[0], size[0] - 1), min(kernel[1], size[1] - 1))
    model = model_of(
        f"a = Slice(k, zero, cut, rows)\n b = MaxPool<kernel_shape={list(kernel)}>(k)\n {POOLS} {CONCAT}",
        size=size,
        cut=ints(cut),
    )
    x = rng(seed).standard_normal((2, 6, *size)).astype(np.float32)
    found = lift(model, x, check=False)
    top = trunk(x) * size[0] / cut
    top[:, :, cut:] = 0
    coarse = resampled(block_max(trunk(x), kernel, (1, 1)), size)
    assert_close(found.grid, dense(W2[:, :6])(top) + dense(W2[:, 6:])(coarse))
    assert_close(found.grid.astype(np.float64).mean(axis=(2, 3)).astype(np.float32), found.logits.astype(np.float64))
