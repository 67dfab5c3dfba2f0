"""Pools, where the recursion ends; and what looks like one and is none."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil import UnsupportedHeadError, rewrite
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    check_conditional,
    check_exact,
    check_refused,
    dense,
    frozen,
    images,
    lift,
    pooled,
    rng,
    text_model,
    weights,
)

W, B = weights(5, 6), weights(5)
INIT = {"w": W, "b": B}
HEAD = "y = Gemm<transB=1>(f, w, b)"
LINEAR = dense(W, B)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("opset", "body", "init"),
    [
        pytest.param(7, "p = GlobalAveragePool(x)\n f = Flatten(p)", {}, id="global_average_pool"),
        pytest.param(11, "f = ReduceMean<axes=[2, 3], keepdims=0>(x)", {}, id="reduce_mean_axes_attribute"),
        pytest.param(13, "f = ReduceMean<axes=[-1, -2], keepdims=0>(x)", {}, id="reduce_mean_negative_axes"),
        pytest.param(18, "f = ReduceMean<keepdims=0>(x, a)", {"a": ints(3, 2)}, id="reduce_mean_axes_input_descending"),
        pytest.param(23, "m = ReduceMean(x, a)\n f = Flatten(m)", {"a": ints(-1, -2)}, id="reduce_mean_opset_23"),
        pytest.param(
            18,
            "c = Constant<value_ints=[2, 3]>()\n a = Identity(c)\n f = ReduceMean<keepdims=0>(x, a)",
            {},
            id="reduce_mean_computed_axes",
        ),
        pytest.param(
            17,
            "m = ReduceMean<axes=[3]>(x)\n n = ReduceMean<axes=[2]>(m)\n f = Flatten(n)",
            {},
            id="mean_in_two_steps_columns_first",
        ),
        pytest.param(
            17,
            "m = ReduceMean<axes=[2], keepdims=0>(x)\n f = ReduceMean<axes=[2], keepdims=0>(m)",
            {},
            id="mean_in_two_steps_rows_first",
        ),
        pytest.param(
            18,
            "m = ReduceMean<keepdims=0>(x, last)\n f = ReduceMean<keepdims=0>(m, last)",
            {"last": ints(-1)},
            id="mean_in_two_steps_opset_18",
        ),
        pytest.param(
            17,
            "p = AveragePool<kernel_shape=[3, 1]>(x)\n q = GlobalAveragePool(p)\n f = Flatten(q)",
            {},
            id="average_pool_of_columns_then_global",
        ),
        pytest.param(
            17, "r = Reshape(x, s)\n f = ReduceMean<axes=[2], keepdims=0>(r)", {"s": ints(0, 6, -1)}, id="flattened_map"
        ),
        pytest.param(
            17,
            "r = Reshape(x, s)\n p = GlobalAveragePool(r)\n f = Flatten(p)",
            {"s": ints(0, 6, -1)},
            id="global_pool_1d",
        ),
        pytest.param(
            17, "p = AveragePool<kernel_shape=[3, 5]>(x)\n f = Flatten(p)", {}, id="average_pool_whole_kernel"
        ),
        pytest.param(
            17, 'e = Einsum<equation="bchw->bc">(x)\n f = Div(e, n)', {"n": np.float32(15)}, id="einsum_sum_divided"
        ),
        pytest.param(
            11,
            "e = ReduceSum<axes=[2, 3], keepdims=0>(x)\n f = Div(e, n)",
            {"n": np.float32(15)},
            id="reduce_sum_divided",
        ),
        pytest.param(
            13,
            "e = ReduceSum<keepdims=0>(x, a)\n f = Mul(e, n)",
            {"n": np.float32(1 / 15), "a": ints(2, 3)},
            id="reduce_sum_scaled",
        ),
        pytest.param(13, "f = ReduceSum<keepdims=0>(x, a)", {"a": ints(2, 3)}, id="plain_sum"),
        pytest.param(
            17,
            "r = Reshape(x, s)\n c = CumSum(r, two)\n e = Gather<axis=2>(c, end)\n f = Div(e, n)",
            {"s": ints(0, 6, -1), "two": np.int64(2), "end": np.int64(-1), "n": np.float32(15)},
            id="last_of_a_running_sum",
        ),
        pytest.param(
            17,
            "r = Reshape(x, s)\n c = CumSum<reverse=1>(r, two)\n e = Slice(c, zero, one, two)\n f = Flatten(e)",
            {"s": ints(0, 6, -1), "two": ints(2), "zero": ints(0), "one": ints(1)},
            id="first_of_a_running_sum_backwards",
        ),
        pytest.param(17, 'e = Einsum<equation="nchw -> nc">(x)\n f = Identity(e)', {}, id="einsum_plain_sum"),
        pytest.param(
            17,
            "p = GlobalAveragePool(x)\n q = GlobalAveragePool(p)\n f = Flatten(q)",
            {},
            id="second_pool_of_one_position",
        ),
        pytest.param(
            17,
            "p = GlobalAveragePool(x)\n q = AveragePool<kernel_shape=[1, 1]>(p)\n r = MaxPool<kernel_shape=[1, 1]>(q)\n"
            " s = GlobalMaxPool(r)\n f = Flatten(s)",
            {},
            id="all_pools_of_one_position",
        ),
    ],
)
@pytest.mark.parametrize("batch", ["N", "1"])
def test_mean_pool_ends_at_the_map(opset: int, body: str, init: dict[str, np.ndarray], batch: str) -> None:
    model = text_model(
        f"{body}\n {HEAD}", x=f"float[{batch},6,3,5] x", y=f"float[{batch},5] y", opset=opset, init=INIT | init
    )
    check_exact(model)


@pytest.mark.parametrize("opset", [11, 18])
def test_nhwc_map_comes_out_as_nchw(opset: int) -> None:
    pool = "f = ReduceMean<axes=[1, 2], keepdims=0>(x)" if opset < 18 else "f = ReduceMean<keepdims=0>(x, a)"
    init = {} if opset < 18 else {"a": ints(1, 2)}
    model = text_model(f"{pool}\n {HEAD}", x="float[N,3,5,6] x", opset=opset, init=INIT | init)
    check_exact(model, layout="NHWC")


def test_image_in_nhwc_keeps_its_rows_and_columns() -> None:
    """A trunk in NCHW on an NHWC image: row i of the image is row i of the grid."""
    model = text_model(
        f"t = Transpose<perm=[0, 3, 1, 2]>(x)\n k = Conv<strides=[2, 2]>(t, c)\n p = GlobalAveragePool(k)\n"
        f" f = Flatten(p)\n {HEAD}",
        x="float[N,6,10,3] x",
        init=INIT | {"c": weights(6, 3, 2, 2)},
    )
    x = np.zeros((1, 6, 10, 3), np.float32)
    x[0, 4:6, 2:4] = 1
    found = lift(model, x)
    assert found.grid.shape == (1, 5, 3, 5)
    lit = np.abs(found.grid[0] - found.grid[0][:, :1, :1]).max(axis=0) > 1e-6
    assert lit[2, 1]
    assert lit.sum() == 1


def test_tokens_are_arranged_like_the_map_they_come_from() -> None:
    """(N, T, C) with the class token sliced off: 15 tokens are the 3x5 patches, in row-major order."""
    model = text_model(
        f"""k = Conv<strides=[2, 2]>(x, c)
        r = Reshape(k, s)
        t = Transpose<perm=[0, 2, 1]>(r)
        n = Shape<start=0, end=1>(x)
        ns = Concat<axis=0>(n, one, six)
        cls = Expand(token, ns)
        all = Concat<axis=1>(cls, t)
        norm = LayerNormalization(all, scale)
        rest = Slice(norm, first, end, first)
        f = ReduceMean<axes=[1], keepdims=0>(rest)
        {HEAD}""",
        x="float[N,3,6,10] x",
        init=INIT
        | {
            "c": weights(6, 3, 2, 2),
            "s": ints(0, 6, -1),
            "token": weights(1, 1, 6),
            "one": ints(1),
            "six": ints(6),
            "scale": weights(6),
            "first": ints(1),
            "end": ints(2**40),
        },
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    patches = np.einsum("nchawb,kcab->nkhw", x.reshape(3, 3, 3, 2, 5, 2).astype(np.float64), weights(6, 3, 2, 2))
    centred = patches - patches.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * weights(6)[:, None, None]
    assert_close(found.features, normed)
    assert_close(found.grid, LINEAR(normed))


@pytest.mark.parametrize("layout", ["NTC", "NCT"])
def test_tokens_without_a_map_are_one_row(layout: str) -> None:
    shape, axis = ("15,6", 1) if layout == "NTC" else ("6,15", 2)
    model = text_model(f"f = ReduceMean<axes=[{axis}], keepdims=0>(x)\n {HEAD}", x=f"float[N,{shape}] x", init=INIT)
    found = check_exact(model, layout=layout, size=(1, 15))
    head = found.rewrite.heads[0]
    assert (head.places.rows, head.arranged) == (None, False)


def window_weights(size: int, kernel: int, low: int, high: int, *, count_pad: bool) -> np.ndarray:
    """What a single window at the corner of a padded axis gives each place, by ONNX's text."""
    inside = [place for place in range(-low, kernel - low) if 0 <= place < size]
    counted = kernel if count_pad else len(inside)
    return np.array([1 / counted if place in inside else 0.0 for place in range(size)]) + 0 * high


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "count_pad"),
    [
        pytest.param((8, 8), (7, 7), 7, (0, 0, 0, 0), 0, id="kernel_7_over_8x8_drops_a_row_and_a_column"),
        pytest.param((6, 6), (7, 7), 1, (0, 0, 1, 1), 0, id="kernel_7_over_6x6_padded_not_counted_is_a_mean"),
        pytest.param((6, 6), (7, 7), 1, (0, 0, 1, 1), 1, id="kernel_7_over_6x6_padded_counted_is_scaled"),
        pytest.param((3, 5), (4, 5), 4, (1, 0, 0, 0), 1, id="padding_above_counted"),
        pytest.param((3, 5), (3, 4), 5, (0, 0, 0, 0), 0, id="last_column_dropped"),
    ],
)
def test_average_pool_window_weights_each_cell(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, pads: tuple[int, ...], count_pad: int
) -> None:
    height, width = size
    model = text_model(
        f"p = AveragePool<kernel_shape={list(kernel)}, strides=[{stride}, {stride}], pads={list(pads)}, "
        f"count_include_pad={count_pad}>(x)\n f = Flatten(p)\n {HEAD}",
        x=f"float[N,6,{height},{width}] x",
        init=INIT,
    )
    x = images(model)
    rows = window_weights(height, kernel[0], pads[0], pads[2], count_pad=bool(count_pad))
    columns = window_weights(width, kernel[1], pads[1], pads[3], count_pad=bool(count_pad))
    share = np.outer(rows, columns) * height * width
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    assert_close(found.grid, LINEAR(x.astype(np.float64) * share))


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("p = GlobalMaxPool(x)", {}, id="global_max_pool"),
        pytest.param("p = MaxPool<kernel_shape=[3, 5]>(x)", {}, id="max_pool_whole_kernel"),
        pytest.param("p = MaxPool<kernel_shape=[5, 5], pads=[2, 0, 0, 0]>(x)", {}, id="max_pool_padded_kernel"),
        pytest.param("p = ReduceMax<axes=[2, 3]>(x)", {}, id="reduce_max"),
    ],
)
def test_max_pool_goes_to_the_largest_cell(body: str, init: dict[str, np.ndarray]) -> None:
    def formula(cells: np.ndarray) -> np.ndarray:
        hot = cells == cells.max(axis=(2, 3), keepdims=True)
        return LINEAR(cells * hot * 15 / hot.sum(axis=(2, 3), keepdims=True))

    check_conditional(text_model(f"{body}\n f = Flatten(p)\n {HEAD}", init=INIT | init), formula)


@pytest.mark.parametrize(
    "attributes",
    ["kernel_shape=[2, 3], dilations=[2, 2]", "kernel_shape=[3, 5], pads=[1, 0, 0, 0], strides=[2, 1]"],
)
def test_max_pool_that_misses_positions_takes_the_largest_that_its_window_reads(attributes: str) -> None:
    """By what the runtime's window sees: a cell outside of it has a share of nothing."""
    model = text_model(f"p = MaxPool<{attributes}>(x)\n f = Flatten(p)\n {HEAD}", opset=11, init=INIT)
    seen = np.zeros((3, 5))
    seen[(slice(None, None, 2), slice(0, 5, 2)) if "dilations" in attributes else slice(0, 2)] = 1

    def formula(cells: np.ndarray) -> np.ndarray:
        inside = np.where(seen, cells, -np.inf)
        return LINEAR(np.where(inside == inside.max(axis=(2, 3), keepdims=True), cells, 0) * 15)

    found = check_conditional(model, formula, instance=False)
    assert found.rewrite.heads[0].position_dependent


#: A pool over the columns of the rows' mean, or over the rows of the columns' mean: how it is spelled, and its formula.
STEPS = {
    "sum": ("f = ReduceSum<keepdims=0>(m, own)", {"own": ints(2)}),
    "max": ("f = ReduceMax<axes=[2], keepdims=0>(m)", {}),
    "lse": ("f = ReduceLogSumExp<axes=[2], keepdims=0>(m)", {}),
}


@pytest.mark.parametrize("first", [2, 3], ids=["rows", "columns"])
@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("size", ["3,5", "4,4"])
def test_another_pool_over_one_axis_of_the_mean_over_the_other(first: int, kind: str, size: str) -> None:
    """Not the mean over both: a line counts as its mean does, with all of its cells."""
    body, init = STEPS[kind]
    model = text_model(
        f"m = ReduceMean<axes=[{first}], keepdims=0>(x)\n {body}\n {HEAD}", x=f"float[N,6,{size}] x", init=INIT | init
    )
    other = 5 - first

    def contributions(cells: np.ndarray) -> np.ndarray:
        line = cells.mean(axis=first, keepdims=True)
        count = cells.shape[other]
        if kind == "sum":
            parts = cells * count
        elif kind == "max":
            parts = cells * (line == line.max(axis=other, keepdims=True)) * count
        else:
            top = np.log(np.exp(line).sum(axis=other, keepdims=True))
            parts = count * np.exp(line - top) * (top + cells - line)
        return LINEAR(parts)

    x = images(model)
    found = lift(model, x)
    assert found.verdict == ("exact" if kind == "sum" else "conditional")
    assert_mean_is_logits(found)
    assert_close(found.grid, contributions(x.astype(np.float64)))
    assert_close(found.features, x)
    report = rewrite(model, write=False).proof
    assert report is not None
    assert report.passed


def test_open_columns_of_a_mean_over_rows_are_counted_at_run_time() -> None:
    model = text_model(
        f"m = ReduceMean<axes=[2], keepdims=1>(x)\n f = ReduceSum<keepdims=0>(m, own)\n {HEAD}",
        x="float[N,6,H,W] x",
        init=INIT | {"own": ints(2, 3)},
    )
    x = weights(2, 6, 3, 7)
    assert_close(lift(model, x).grid, LINEAR(x.astype(np.float64) * 7))


@pytest.mark.parametrize(
    ("running", "element"),
    [("", -2), ("", 0), ("<exclusive=1>", -1), ("<reverse=1>", -1)],
    ids=["last_but_one", "first", "without_the_last", "last_backwards"],
)
def test_what_is_not_the_whole_of_a_running_sum_is_refused_as_what_it_is(running: str, element: int) -> None:
    model = text_model(
        f"r = Reshape(x, s)\n c = CumSum{running}(r, two)\n f = Gather<axis=2>(c, end)\n {HEAD}",
        init=INIT | {"s": ints(0, 6, -1), "two": np.int64(2), "end": np.int64(element)},
    )
    assert "not their whole sum" in check_refused(model, "unknown-operator", "'c'").message


def test_the_norm_of_means_is_partial() -> None:
    model = text_model(
        f"m = ReduceMean<axes=[2], keepdims=1>(x)\n p = GlobalLpPool(m)\n f = Flatten(p)\n {HEAD}", init=INIT
    )
    assert "the norm of means" in check_refused(model, "partial-pool", "'p'").message


def test_max_pool_shares_ties() -> None:
    model = text_model("p = GlobalMaxPool(x)\n y = Flatten(p)", y="float[N,6] y")
    x = images(model, batch=1)
    x[0, 0] = 2.0
    x[0, 1, 0, :2] = 9.0
    grid = lift(model, x).grid
    assert_close(grid[0, 0], np.full((3, 5), 2.0))
    expected = np.zeros((3, 5))
    expected[0, :2] = 9 * 15 / 2
    assert_close(grid[0, 1], expected)


@pytest.mark.parametrize("joined", ["sum", "concat"])
def test_average_and_max_pool_in_one_head(joined: str) -> None:
    join = "s = Add(a, m)" if joined == "sum" else "s = Concat<axis=1>(a, m)"
    weight = W if joined == "sum" else weights(5, 12)
    model = text_model(
        f"a = GlobalAveragePool(x)\n m = GlobalMaxPool(x)\n {join}\n f = Flatten(s)\n {HEAD}",
        init={"w": weight, "b": B},
    )

    def formula(cells: np.ndarray) -> np.ndarray:
        largest = cells * (cells == cells.max(axis=(2, 3), keepdims=True)) * 15
        both = cells + largest if joined == "sum" else np.concatenate([cells, largest], axis=1)
        return dense(weight, B)(both)

    check_conditional(model, formula)


@pytest.mark.parametrize("pool", ["GlobalLpPool<p=3>", "LpPool<p=3, kernel_shape=[3, 5]>"])
def test_lp_pool_shares_by_size(pool: str) -> None:
    model = text_model(f"p = {pool}(x)\n f = Flatten(p)\n {HEAD}", init=INIT)

    def formula(cells: np.ndarray) -> np.ndarray:
        size = np.abs(cells) ** 3
        total = size.sum(axis=(2, 3), keepdims=True)
        return LINEAR(size / total * total ** (1 / 3) * 15)

    check_conditional(model, formula)


@pytest.mark.parametrize("window", ["kernel_shape=[3, 4]", "kernel_shape=[2, 3], dilations=[2, 2]"])
def test_lp_pool_that_leaves_positions_out_is_refused(window: str) -> None:
    shape = "float[N,6,3,4] x" if "4]" not in window else "float[N,6,3,5] x"
    model = text_model(
        f"p = LpPool<{window}, strides=[9, 9]>(x)\n f = Flatten(p)\n {HEAD}", x=shape, init=INIT, opset=18
    )
    check_refused(model, "partial-pool")


def test_generalized_mean_pool_spelled_out() -> None:
    model = text_model(
        f"c = Clip(x, eps)\n q = Pow(c, three)\n m = GlobalAveragePool(q)\n"
        f" r = Pow(m, third)\n f = Flatten(r)\n {HEAD}",
        init=INIT | {"eps": np.float32(1e-6), "three": np.float32(3), "third": np.float32(1 / 3)},
    )
    x = images(model, low=0.5)
    found = lift(model, x)
    cubes = x.astype(np.float64) ** 3
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert_close(found.grid, LINEAR(cubes * pooled(cubes) ** (1 / 3 - 1)))


def test_log_sum_exp_pool_spelled_out() -> None:
    model = text_model(
        "k = Conv(x, kernel)\n r = Mul(k, rate)\n e = Exp(r)\n m = ReduceMean<axes=[2, 3], keepdims=0>(e)\n"
        " l = Log(m)\n y = Div(l, rate)",
        init={"kernel": W.reshape(5, 6, 1, 1), "rate": np.float32(2)},
    )
    x = images(model)
    found = lift(model, x)
    powers = np.exp(2 * dense(W)(x.astype(np.float64)))
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert_close(found.grid, frozen(np.log, anchor=1.0)(powers) / 2)


def test_mean_and_deviation_pool() -> None:
    """Deviation as sqrt(mean(x^2) - mean(x)^2): the head joins two maps of one size."""
    model = text_model(
        """m = ReduceMean<axes=[2, 3], keepdims=0>(x)
        xx = Mul(x, x)
        q = ReduceMean<axes=[2, 3], keepdims=0>(xx)
        mm = Mul(m, m)
        v = Sub(q, mm)
        d = Sqrt(v)
        j = Concat<axis=1>(m, d)
        y = Gemm<transB=1>(j, w, b)""",
        init={"w": weights(5, 12), "b": B},
    )
    x = images(model)
    found = lift(model, x)
    cells = x.astype(np.float64)
    spread = cells**2 - cells * pooled(cells)
    deviation = spread / np.sqrt(pooled(spread))
    assert found.verdict == "conditional"
    assert_close(found.grid, dense(weights(5, 12), B)(np.concatenate([cells, deviation], axis=1)))
    assert found.features.shape[1] == 12


def test_weighted_average_pools_the_weighted_map() -> None:
    """MIL attention: softmax weights over positions, then a sum; the summed map is already weighted."""
    model = text_model(
        f"""s = Conv(x, a)
        r = Reshape(s, flat)
        q = Softmax<axis=-1>(r)
        t = Reshape(x, tokens)
        m = Mul(t, q)
        f = ReduceSum<keepdims=0>(m, last)
        {HEAD}""",
        init=INIT | {"a": weights(1, 6, 1, 1), "flat": ints(0, 1, -1), "tokens": ints(0, 6, -1), "last": ints(-1)},
    )
    x = images(model)
    found = lift(model, x)
    cells = x.astype(np.float64)
    score = np.exp(dense(weights(1, 6, 1, 1)[:, :, 0, 0])(cells))
    attention = score / score.sum(axis=(2, 3), keepdims=True)
    assert_mean_is_logits(found)
    expected = LINEAR(cells * attention * 15)
    assert_close(found.grid.reshape(3, 5, -1), expected.reshape(3, 5, -1))


def test_open_height_and_width_are_read_at_run_time() -> None:
    model = text_model(f"f = ReduceSum<keepdims=0>(x, a)\n {HEAD}", x="float[N,6,H,W] x", init=INIT | {"a": ints(2, 3)})
    for size in ((3, 5), (7, 4)):
        x = weights(2, 6, *size)
        found = lift(model, x)
        assert_mean_is_logits(found)
        assert_close(found.grid, LINEAR(x.astype(np.float64) * size[0] * size[1]))


def test_grids_of_two_sizes_meet_on_the_finer_one_by_area() -> None:
    """A 4x6 and a 2x3 map: each coarse cell covers 2x2 fine ones."""
    model = text_model(
        """a = ReduceMean<axes=[2, 3], keepdims=0>(x)
        k = Conv<strides=[2, 2]>(x, c)
        g = ReduceMean<axes=[2, 3], keepdims=0>(k)
        j = Concat<axis=1>(a, g)
        y = Gemm<transB=1>(j, w, b)""",
        x="float[N,6,4,6] x",
        init={"w": weights(5, 12), "b": B, "c": weights(6, 6, 1, 1)},
    )
    x = images(model)
    found = lift(model, x)
    cells = x.astype(np.float64)
    coarse = dense(weights(6, 6, 1, 1)[:, :, 0, 0])(cells[:, :, ::2, ::2])
    fine = coarse.repeat(2, axis=2).repeat(2, axis=3)
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(weights(5, 12), B)(np.concatenate([cells, fine], axis=1)))


# --- what is no pool ------------------------------------------------------------------------------------------------


def test_the_pool_inside_a_squeeze_excite_block_is_not_the_heads() -> None:
    model = text_model(
        f"s = GlobalAveragePool(x)\n g = Sigmoid(s)\n m = Mul(x, g)\n"
        f" p = GlobalAveragePool(m)\n f = Flatten(p)\n {HEAD}",
        init=INIT,
    )
    x = images(model)
    found = lift(model, x)
    cells = x.astype(np.float64)
    gated = cells / (1 + np.exp(-pooled(cells)))
    assert found.verdict == "exact"
    assert found.rewrite.heads[0].feature_grids[0].source == "m"
    assert_close(found.features, gated)
    assert_close(found.grid, LINEAR(gated))


def test_pool_of_a_map_of_one_position_has_no_grid() -> None:
    model = text_model(
        f"d = Conv(x, c)\n p = GlobalAveragePool(d)\n f = Flatten(p)\n {HEAD}",
        x="float[N,6,1,1] x",
        init=INIT | {"c": weights(6, 6, 1, 1)},
    )
    check_refused(model, "no-spatial-pool")


@pytest.mark.parametrize("stride", [1, 2])
def test_window_that_leaves_positions_belongs_to_the_trunk_of_a_flattened_head(stride: int) -> None:
    """AlexNet and VGG: an adaptive pool before the flattening. Its positions are the cells, each with its own slice."""
    left = {1: (3, 3), 2: (2, 2)}[stride]
    model = text_model(
        f"p = AveragePool<kernel_shape=[2, 2], strides=[{stride}, {stride}]>(x)\n f = Flatten(p)\n {HEAD}",
        x="float[N,6,4,4] x",
        init={"w": weights(5, 6 * left[0] * left[1]), "b": B},
    )
    result = rewrite(model, write=False)
    assert result.heads[0].position_dependent
    assert result.heads[0].grid_shape[2:] == left


def test_mean_over_rows_alone_is_partial() -> None:
    model = text_model(
        f"k = Conv(x, c)\n m = ReduceMean<axes=[2], keepdims=0>(k)\n f = Flatten(m)\n {HEAD}",
        init={"w": weights(5, 30), "b": B, "c": weights(6, 6, 1, 1)},
    )
    check_refused(model, "partial-pool", "'m'")


def test_mean_over_rows_of_gathered_tokens_is_partial() -> None:
    """Only the channels' axis is known here; that must not make the columns channels."""
    model = text_model(
        f"""k = Conv(x, c)
        t = Transpose<perm=[0, 2, 3, 1]>(k)
        g = Gather<axis=1>(t, i)
        n = LayerNormalization(g, s)
        m = ReduceMean<axes=[1], keepdims=0>(n)
        f = Flatten(m)
        {HEAD}""",
        init={"w": weights(5, 30), "b": B, "c": weights(6, 6, 1, 1), "i": ints(0, 1, 2), "s": weights(6)},
    )
    check_refused(model, "partial-pool", "'m'")


@pytest.mark.parametrize(
    "between",
    ["n = Identity(t)", "n = LayerNormalization(t, s)", "n = Softmax<axis=-1>(t)", "n = Gather<axis=1>(t, i)"],
)
def test_mean_over_channels_is_not_taken_for_a_mean_over_tokens(between: str) -> None:
    model = text_model(
        f"k = Conv(x, c)\n r = Reshape(k, shape)\n t = Transpose<perm=[0, 2, 1]>(r)\n {between}\n e = Exp(n)\n"
        f" f = ReduceMean<axes=[2], keepdims=0>(e)\n {HEAD}",
        init={
            "w": weights(5, 15),
            "b": B,
            "c": weights(6, 6, 1, 1),
            "shape": ints(0, 6, -1),
            "s": weights(6),
            "i": np.arange(15),
        },
    )
    check_refused(model, "no-spatial-pool", "'f'")


def test_mean_over_channels_and_space_together_is_refused() -> None:
    model = text_model(
        "k = Conv(x, c)\n y = ReduceMean<axes=[1, 2, 3], keepdims=0>(k)",
        y="float[N] y",
        init={"c": weights(6, 6, 1, 1)},
    )
    check_refused(model, "no-spatial-pool", "'y'")


def test_mean_over_channels_of_a_pooled_map_is_affine() -> None:
    """``axes=[1]`` of (N, C, 1, 1) averages channels, after the pool."""
    model = text_model(
        "p = GlobalAveragePool(x)\n m = ReduceMean<axes=[1], keepdims=0>(p)\n y = Flatten(m)", y="float[N,1] y"
    )
    check_exact(model)


@pytest.mark.parametrize("pool", ["GlobalAveragePool", "GlobalMaxPool"])
def test_vector_in_the_shape_of_a_map_is_pooled_over_channels(pool: str) -> None:
    """Sub-centres of each class, of which the mean or the nearest counts."""
    v = weights(20, 6)
    model = text_model(
        f"p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, v)\n r = Reshape(z, s)\n q = {pool}(r)\n"
        " y = Flatten(q)",
        init={"v": v, "s": ints(0, 5, 2, 2)},
    )
    if pool == "GlobalAveragePool":
        check_exact(model)
        return

    def nearest(cells: np.ndarray) -> np.ndarray:
        z = np.einsum("kc,nchw->nkhw", v.astype(np.float64), cells).reshape(-1, 5, 4, 3, 5)
        best = z.mean(axis=(3, 4), keepdims=True)
        return (z * (best == best.max(axis=2, keepdims=True))).sum(axis=2)

    check_conditional(model, nearest)


def test_pooled_vector_spread_over_a_map_and_pooled_again() -> None:
    body = "p = GlobalAveragePool(x)\n e = Expand(p, s)\n q = GlobalAveragePool(e)\n f = Flatten(q)"
    check_exact(text_model(f"{body}\n {HEAD}", init=INIT | {"s": ints(1, 1, 4, 4)}))


SIZES = {
    "ReduceL1": lambda a: np.sign(a),
    "ReduceL2": lambda a: a / np.sqrt((a**2).sum(axis=(2, 3), keepdims=True)),
    "ReduceSumSquare": lambda a: a,
    "ReduceMin": lambda a: (a == a.min(axis=(2, 3), keepdims=True)).astype(float),
    "ReduceLogSum": lambda a: np.log(a.sum(axis=(2, 3), keepdims=True)) / a.sum(axis=(2, 3), keepdims=True),
}


@pytest.mark.parametrize("size", ["3,5", "H,W"])
@pytest.mark.parametrize("operator", sorted(SIZES))
def test_sizes_over_positions_go_to_them_by_their_part(operator: str, size: str) -> None:
    model = text_model(
        f"p = {operator}<axes=[2, 3], keepdims=0>(x)\n y = Gemm<transB=1>(p, w, b)",
        x=f"float[N,6,{size}] x",
        init=INIT,
    )
    x = weights(3, 6, 3, 5) if operator != "ReduceLogSum" else np.abs(weights(3, 6, 3, 5)) + 0.1
    found = lift(model, x)
    assert found.verdict == "conditional"
    cells = x.astype(np.float64)
    assert_close(found.grid, LINEAR(cells * SIZES[operator](cells) * 15), 2e-5)
    assert_mean_is_logits(found)


@pytest.mark.parametrize("operator", ["ReduceL2", "ReduceMin", "ReduceSumSquare", "ReduceL1"])
def test_sizes_over_columns_of_the_mean_over_rows(operator: str) -> None:
    model = text_model(
        f"m = ReduceMean<axes=[2], keepdims=0>(x)\n p = {operator}<axes=[2], keepdims=0>(m)\n {HEAD}".replace(
            "(f,", "(p,"
        ),
        init=INIT,
    )
    found = lift(model, images(model))
    cells = found.x.astype(np.float64)
    lines = cells.mean(axis=2, keepdims=True)
    assert found.verdict == "conditional"
    assert_close(found.grid, LINEAR(cells * SIZES[operator](lines) * 5), 2e-5)


@pytest.mark.parametrize("largest", [0, 1])
def test_median_over_positions(largest: int) -> None:
    """The last of half of the sorted positions."""
    model = text_model(
        f"r = Reshape(x, flat)\n v, i = TopK<largest={largest}>(r, half)\n s = Slice(v, seven, eight, two)\n"
        " p = Squeeze(s, two)\n y = Gemm<transB=1>(p, w, b)",
        init=INIT | {"flat": ints(0, 6, 15), "half": ints(8), "seven": ints(7), "eight": ints(8), "two": ints(2)},
    )
    found = lift(model, images(model))
    cells = found.x.astype(np.float64).reshape(3, 6, 15)
    hot = cells == np.median(cells, axis=2, keepdims=True)
    assert found.verdict == "conditional"
    assert_close(found.grid.reshape(3, 5, 15), LINEAR((cells * hot * 15)[..., None])[..., 0])


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum"])
def test_positions_and_channels_at_once(operator: str) -> None:
    axes = "<axes=[2, 3], keepdims=0>(r)" if operator == "ReduceMean" else "<keepdims=0>(r, two_three)"
    model = text_model(
        f"c = Conv(x, m)\n k = Reshape(c, flat)\n t = Transpose<perm=[0, 2, 1]>(k)\n u = MatMul(t, v)\n"
        f" r = Unsqueeze(u, one)\n p0 = {operator}{axes}\n y = MatMul(p0, last)",
        init={
            "m": weights(6, 6, 1, 1), "flat": ints(0, 6, 15), "v": weights(6, 4), "one": ints(1),
            "two_three": ints(2, 3), "last": weights(1, 5),
        },
    )  # fmt: skip
    found = lift(model, images(model))
    cells = np.einsum("dc,nchw->ndhw", weights(6, 6, 1, 1)[:, :, 0, 0].astype(np.float64), found.x)
    one = np.einsum("cd,nchw->nhw", weights(6, 4).astype(np.float64), cells) / (
        4 if operator == "ReduceMean" else 1 / 15
    )
    assert found.verdict == "exact"
    assert_close(found.grid, one[:, None] * weights(1, 5)[0][:, None, None])


# --- tokens -----------------------------------------------------------------------------------------------------------

TOKENS = "c = Conv(x, m)\n k = Reshape(c, flat)\n t = Transpose<perm=[0, 2, 1]>(k)\n"
CONV = {"m": weights(6, 6, 1, 1), "flat": ints(0, 6, -1)}


def convolved(x: np.ndarray) -> np.ndarray:
    return np.einsum("dc,nchw->ndhw", CONV["m"][:, :, 0, 0].astype(np.float64), x)


@pytest.mark.parametrize("tokens", [1, 3])
def test_mean_over_class_tokens_and_patches_spreads_what_has_no_place(tokens: int) -> None:
    model = text_model(
        f"{TOKENS} q = Concat<axis=1>(cls, t)\n u = Relu(q)\n f = ReduceMean<axes=[1], keepdims=0>(u)\n {HEAD}",
        x="float[1,6,3,5] x",
        y="float[1,5] y",
        init=INIT | CONV | {"cls": weights(1, tokens, 6)},
    )
    x = images(model)
    found = lift(model, x)
    cells = np.maximum(convolved(x), 0)
    rest = np.maximum(weights(1, tokens, 6), 0).sum(axis=1)[:, :, None, None]
    assert found.verdict == "conditional"
    assert_close(found.features, cells)
    assert_close(found.grid, LINEAR((rest + 15 * cells) / (15 + tokens)))
    assert_mean_is_logits(found)
    assert f"{100 * tokens / (15 + tokens):.1f} % of the mean" in found.rewrite.heads[0].chain[0].detail


def test_mean_over_a_class_token_and_all_patches_but_one_is_refused() -> None:
    """As many tokens as there are patches, of which the first is none of them."""
    model = text_model(
        f"{TOKENS} q = Concat<axis=1>(cls, t)\n u = Slice(q, zero, last, one)\n"
        f" f = ReduceMean<axes=[1], keepdims=0>(u)\n {HEAD}",
        x="float[1,6,3,5] x",
        y="float[1,5] y",
        init=INIT | CONV | {"cls": weights(1, 1, 6), "zero": ints(0), "last": ints(15), "one": ints(1)},
    )
    check_refused(model, "class-token")


@pytest.mark.parametrize("size", ["H,W", "3,W", "H,5"])
@pytest.mark.parametrize(
    "pool",
    [
        pytest.param("t = Transpose<perm=[0, 2, 1]>(k)\n f = ReduceMean<axes=[1], keepdims=0>(t)", id="tokens"),
        pytest.param("f = ReduceMean<axes=[2], keepdims=0>(k)", id="flattened"),
        pytest.param("f = ReduceMax<axes=[2], keepdims=0>(k)", id="largest"),
        pytest.param("g = GlobalAveragePool(k)\n f = Flatten(g)", id="one_axis"),
    ],
)
def test_tokens_of_an_open_size_keep_their_rows(pool: str, size: str) -> None:
    model = text_model(
        f"c = Conv(x, m)\n k = Reshape(c, flat)\n {pool}\n {HEAD}", x=f"float[N,6,{size}] x", init=INIT | CONV
    )
    for height, width in ((3, 5), (3 if size[0] == "3" else 4, 5 if size[-1] == "5" else 2)):
        x = weights(2, 6, height, width)
        found = lift(model, x)
        assert_close(found.features, convolved(x))
        assert found.grid.shape == (2, 5, height, width)
        assert_mean_is_logits(found)


def test_mean_over_positions_that_a_layer_mixed() -> None:
    """A spatial MLP without a skip: the sum holds, and what has no place is not said to have one."""
    model = text_model(
        "c = Conv(x, m)\n k = Reshape(c, flat)\n u = MatMul(k, mix)\n f = ReduceMean<axes=[2], keepdims=0>(u)\n"
        f" {HEAD}",
        init=INIT | CONV | {"mix": weights(15, 15)},
    )
    found = lift(model, images(model))
    assert found.verdict == "exact"
    assert not found.rewrite.heads[0].places.known
    assert_mean_is_logits(found)


@pytest.mark.parametrize(
    "pool",
    [
        "r = ReduceMean<axes=[2], keepdims=0>(q)\n f = ReduceMean<axes=[2], keepdims=0>(r)",
        "r = ReduceMean<axes=[3], keepdims=0>(q)\n f = ReduceMean<axes=[2], keepdims=0>(r)",
        "r = Reshape(q, row)\n m = MatMul(r, even)\n f = Flatten(m)",
    ],
)
def test_mean_in_two_steps_or_by_a_product_over_positions_that_a_layer_mixed(pool: str) -> None:
    """Its cells are those of the map, and not its columns with the channels of all their rows."""
    tokens = "t = Transpose<perm=[0, 2, 3, 1]>(c)\n k = Reshape(t, flat)\n u = MatMul(mix, k)\n v = Reshape(u, whole)"
    model = text_model(
        f"c = Conv(x, m0)\n {tokens}\n q = Transpose<perm=[0, 3, 1, 2]>(v)\n {pool}\n {HEAD}",
        init=INIT
        | {"m0": CONV["m"], "mix": weights(15, 15), "flat": ints(0, 15, 6), "whole": ints(0, 3, 5, 6)}
        | {"row": ints(0, 6, 15), "even": np.full((15, 1), 1 / 15, np.float32)},
    )
    found = lift(model, images(model))
    assert found.verdict == "exact"
    assert found.features.shape[1:] == (6, 3, 5)
    assert not found.rewrite.heads[0].places.known
    assert_mean_is_logits(found)


def test_mean_over_channels_that_a_layer_mixed_is_refused() -> None:
    model = text_model(
        f"{TOKENS} u = MatMul(t, mix)\n f = ReduceMean<axes=[2], keepdims=0>(u)\n y = Gemm<transB=1>(f, w)",
        init=CONV | {"mix": weights(6, 6), "w": weights(5, 15)},
    )
    assert "places lie along axis 1" in check_refused(model, "no-spatial-pool", "'f'").message


VIT = """
    c = Conv<kernel_shape=[4, 4], strides=[4, 4]>(x, k)
    shape = Shape(c)
    n = Gather(shape, zero)
    flat_shape = Concat<axis=0>(n, rest)
    flat = Reshape(c, flat_shape)
    tokens = Transpose<perm=[0, 2, 1]>(flat)
    own_shape = Concat<axis=0>(n, own)
    own_token = Expand(learned, own_shape)
    all = Concat<axis=1>(own_token, tokens)
    f = ReduceMean<axes=[1], keepdims=0>(all)
    y = Gemm<transB=1>(f, w)
"""


@pytest.mark.parametrize("size", [(64, 96), (32, 20), (224, 224)])
def test_class_token_of_images_of_any_size_is_spread_by_their_own_number(size: tuple[int, int]) -> None:
    init = {
        "k": weights(6, 3, 4, 4), "zero": np.array([0]), "rest": np.array([6, -1]), "own": np.array([1, 6]),
        "learned": 9 * weights(1, 1, 6), "w": weights(5, 6),
    }  # fmt: skip
    model = text_model(VIT, x="float[N,3,H,V] x", init=init)
    found = lift(model, rng(8).standard_normal((2, 3, *size)).astype(np.float32))
    assert found.grid.shape == (2, 5, size[0] // 4, size[1] // 4)
    assert_mean_is_logits(found)


def test_mask_that_has_the_batch_of_the_image() -> None:
    """TensorFlow broadcasts a mask to the shape of the map, batch and all."""
    body = (
        "s = Shape(x)\n n = Gather(s, zero)\n t = Concat<axis=0>(n, rest)\n m = Expand(v, t)\n q = Mul(x, m)\n"
        " f = ReduceMean<axes=[2, 3], keepdims=0>(q)\n y = Gemm<transB=1>(f, w)"
    )
    init = {"w": weights(5, 6), "v": weights(1, 1, 3, 5), "zero": np.array([0]), "rest": np.array([6, 3, 5])}
    model = text_model(body, x="float[N,6,3,5] x", init=init)
    assert_mean_is_logits(lift(model, images(model)))


def test_unequal_window_of_a_volume_whose_depth_was_averaged_is_refused() -> None:
    body = (
        "d = ReduceMean<axes=[2], keepdims=1>(x)\n p = AveragePool<kernel_shape=[1, 4, 4], strides=[1, 4, 4],"
        " pads=[0, 1, 1, 0, 0, 0], count_include_pad=1>(d)\n f = Flatten<axis=1>(p)\n y = Gemm<transB=1>(f, w)"
    )
    check_refused(text_model(body, x="float[N,6,4,3,3] x", init={"w": weights(5, 6)}), "partial-pool")


def test_chosen_positions_in_an_open_order_have_no_rank() -> None:
    body = (
        "r = Reshape(x, rows)\n v, i = TopK<axis=2, sorted=0>(r, k)\n l = {}\n f = Reshape(l, flat)\n"
        " y = Gemm<transB=1>(f, w)"
    )
    init = {
        "rows": np.array([0, 6, 15]), "k": np.array([6]), "first": np.array([0]), "flat": np.array([0, 6]),
        "w": weights(5, 6),
    }  # fmt: skip
    ranked = text_model(body.format("Gather<axis=2>(v, first)"), x="float[N,6,3,5] x", init=init)
    with pytest.raises(UnsupportedHeadError):
        rewrite_model(ranked)
    mean = text_model(body.format("ReduceMean<axes=[2], keepdims=0>(v)"), x="float[N,6,3,5] x", init=init)
    assert_mean_is_logits(lift(mean, images(mean)))


def test_a_pool_of_nothing_is_refused() -> None:
    """A Slice to the end of a map from its end, as a wrong conversion leaves it; the mean of no numbers is none."""
    body = "s = Slice<axes=[3], starts=[5], ends=[5]>(x)\n f = ReduceMean<axes=[2, 3], keepdims=0>(s)\n a = Add(f, g)\n"
    body = f"g = ReduceMean<axes=[2, 3], keepdims=0>(x)\n {body} y = Gemm<transB=1>(a, w, b)"
    init = {"w": weights(5, 6), "b": weights(5)}
    refusal = check_refused(text_model(body, init=init, opset=9), "no-spatial-pool")
    assert "without a position" in refusal.message


#: What divides by a size, or by what a product lacks; ONNX's own Max does not broadcast before operator set 8.
OLD = {
    "length": "n = ReduceL2<axes=[2, 3], keepdims=0>(x)",
    "sizes": "n = ReduceL1<axes=[2, 3], keepdims=0>(x)",
    "norm": "q = GlobalLpPool<p=3>(x)\n n = Flatten(q)",
    "of channels": "m = ReduceMean<axes=[2, 3], keepdims=0>(x)\n l = ReduceL2<axes=[1], keepdims=1>(m)\n n = Mul(m, l)",
}


@pytest.mark.parametrize("name", OLD)
def test_sizes_in_the_oldest_operator_set(name: str) -> None:
    model = text_model(
        f"{OLD[name]}\n y = Gemm<transB=1>(n, w, b)", init={"w": weights(5, 6), "b": weights(5)}, opset=7
    )
    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
