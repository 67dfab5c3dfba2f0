"""Einsum as a general contraction, and operators that add up channels by fixed numbers: the same in every cell."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    check_exact,
    check_refused,
    images,
    lift,
    text_model,
    weights,
)

W, B = weights(5, 6), weights(5)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def einsum(equation: str, *operands: str) -> str:
    return f'Einsum<equation="{equation}">({", ".join(operands)})'


@pytest.mark.parametrize("batch", ["N", "1", "2"])
@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param(f"y = {einsum('nc,kc->nk', 'f', 'w')}", {"w": W}, id="torch"),
        pytest.param(f"y = {einsum('kc,nc->nk', 'w', 'f')}", {"w": W}, id="weights_first"),
        pytest.param(f"y = {einsum('bc,ck', 'f', 'w')}", {"w": W.T}, id="understood_output"),
        pytest.param(f"y = {einsum('...c,kc->...k', 'f', 'w')}", {"w": W}, id="ellipsis"),
        pytest.param(f"y = {einsum('...c, c k -> ...k', 'f', 'w')}", {"w": W.T}, id="ellipsis_and_blanks"),
        pytest.param(f"y = {einsum('nc,kc,k->nk', 'f', 'w', 'b')}", {"w": W, "b": B}, id="three_operands"),
        pytest.param(
            f"r = Reshape(f, s)\n z = {einsum('ngc,gck->nk', 'r', 'w')}\n y = Add(z, b)",
            {"w": weights(2, 3, 5), "b": B, "s": ints(0, 2, 3)},
            id="two_groups_summed",
        ),
        pytest.param(
            f"r = Reshape(f, s)\n z = {einsum('ngc,gcj->njg', 'r', 'v')}\n t = Reshape(z, t6)\n"
            " y = Gemm<transB=1>(t, w)",
            {"v": weights(2, 3, 3), "w": W, "s": ints(0, 2, 3), "t6": ints(0, 6)},
            id="groups_behind_their_channels",
        ),
        pytest.param(
            "r = Reshape(f, s)\n m = MatMul(r, v)\n t = Reshape(m, t6)\n y = Gemm<transB=1>(t, w)",
            {"v": weights(2, 3, 3), "w": W, "s": ints(0, 2, 1, 3), "t6": ints(0, 6)},
            id="a_matrix_for_each_group",
        ),
        pytest.param(
            "r = Reshape(f, s)\n m = MatMul(v, r)\n t = Reshape(m, t6)\n y = Gemm<transB=1>(t, w)",
            {"v": weights(3, 3), "w": W, "s": ints(0, 3, 2), "t6": ints(0, 6)},
            id="one_matrix_for_all_groups_from_the_left",
        ),
        pytest.param(
            "z = Gemm<transB=1>(f, w, b)\n y = CumSum(z, one)", {"w": W, "b": B, "one": np.int64(1)}, id="running_sum"
        ),
        pytest.param(
            "z = Gemm<transB=1>(f, w, b)\n y = CumSum<reverse=1, exclusive=1>(z, one)",
            {"w": W, "b": B, "one": np.int64(-1)},
            id="running_sum_from_behind",
        ),
        pytest.param(
            "z = Gemm<transB=1>(f, w)\n y = Pad(z, p, c)",
            {"w": W[:3], "p": ints(0, 1, 0, 1), "c": np.float32(-3)},
            id="classes_padded",
        ),
    ],
)
def test_contraction_is_done_in_every_cell(body: str, init: dict[str, np.ndarray], batch: str) -> None:
    check_exact(text_model(f"{POOL}\n {body}", x=f"float[{batch},6,3,5] x", y=f"float[{batch},5] y", init=init))


@pytest.mark.parametrize("transposed", [0, 1])
def test_weights_as_the_first_matrix_of_a_gemm(transposed: int) -> None:
    body = f"g = Transpose<perm=[1, 0]>(f)\n z = Gemm<transA={transposed}>(w, g, b)\n y = Transpose<perm=[1, 0]>(z)"
    init = {"w": W.T if transposed else W, "b": B[:, None]}
    check_exact(text_model(f"{POOL}\n {body}", init=init))


def test_gemm_that_reads_its_channels_in_rows_of_the_second_matrix() -> None:
    check_exact(text_model(f"{POOL}\n z = Gemm<transA=1, transB=1>(w, f)\n y = Transpose(z)", init={"w": W.T}))


def test_output_that_has_the_batch_last() -> None:
    """``nc,ck`` without an arrow gives the letters by the alphabet: k before n."""
    model = text_model(f"{POOL}\n y = {einsum('nc,ck', 'f', 'w')}", y="float[5,N] y", init={"w": W.T})
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    np.testing.assert_array_equal(found.logits, found.vendor[0].T)
    assert_close(found.grid, np.einsum("kc,nchw->nkhw", W.astype(np.float64), x))


@pytest.mark.parametrize("size", ["3,5", "H,W"])
@pytest.mark.parametrize(
    ("equation", "weight", "scale"),
    [
        pytest.param("nchw,kc->nk", W, 1, id="pool_and_layer"),
        pytest.param("nchw,kc->kn", W, 1, id="pool_and_layer_classes_first"),
        pytest.param("...chw,kc->...k", W, 1, id="pool_and_layer_ellipsis"),
    ],
)
def test_pool_and_layer_in_one(equation: str, weight: np.ndarray, scale: float, size: str) -> None:
    batch_last = equation.endswith("kn")
    model = text_model(
        f"p = Relu(x)\n z = {einsum(equation, 'p', 'w')}\n y = Mul(z, k)",
        x=f"float[N,6,{size}] x",
        y="float[5,N] y" if batch_last else "float[N,5] y",
        init={"w": weight, "k": np.float32(1 / 15)},
    )
    x = np.abs(weights(3, 6, 3, 5))
    found = lift(model, x)
    assert found.verdict == "exact"
    matrix = weight if weight.shape == (5, 6) else weight.T
    assert_close(found.grid, np.einsum("kc,nchw->nkhw", matrix.astype(np.float64), x))
    assert_mean_is_logits(found)


def test_pool_of_groups_and_a_layer_for_each() -> None:
    model = text_model(
        f"c = Conv(x, m)\n r = Reshape(c, s)\n z = {einsum('ngct,gkc->ngk', 'r', 'w')}\n q = Reshape(z, t)\n"
        " y = Mul(q, k)",
        x="float[N,6,3,5] x",
        y="float[N,8] y",
        init={
            "w": weights(2, 4, 3),
            "k": np.float32(1 / 15),
            "s": ints(0, 2, 3, 15),
            "t": ints(0, 8),
            "m": weights(6, 6, 1, 1),
        },
    )
    x = weights(3, 6, 3, 5)
    found = lift(model, x)
    cells = np.einsum("dc,nchw->ndhw", weights(6, 6, 1, 1)[:, :, 0, 0].astype(np.float64), x).reshape(3, 2, 3, 15)
    expected = np.einsum("gkc,ngct->ngkt", weights(2, 4, 3).astype(np.float64), cells)
    assert found.verdict == "exact"
    assert_close(found.grid.reshape(3, 8, 15), expected.reshape(3, 8, 15))


@pytest.mark.parametrize(
    ("body", "init", "code"),
    [
        pytest.param(f"y = {einsum('nc,mc->nm', 'f', 'f')}", {}, "unknown-operator", id="images_by_images"),
        pytest.param(
            f"g = {einsum('nc->c', 'f')}\n d = Sub(f, g)\n y = Gemm<transB=1>(d, w)",
            {"w": W},
            "spatial-mixing-after-pool",
            id="batch",
        ),
        pytest.param("y = CumSum(f, zero)", {"zero": np.int64(0)}, "spatial-mixing-after-pool", id="sum_over_images"),
    ],
)
def test_contraction_of_the_batch_is_refused(body: str, init: dict[str, np.ndarray], code: str) -> None:
    check_refused(text_model(f"{POOL}\n {body}", y="float[N,M] y", init=init), code)


@pytest.mark.parametrize("kernel", [(3, 3), (1, 3), (5, 5)])
def test_padded_kernel_on_a_map_of_one_position(kernel: tuple[int, int]) -> None:
    """Only the tap in the middle meets the map."""
    pads = [(size - 1) // 2 for size in kernel] * 2
    weight = weights(5, 6, *kernel)
    model = text_model(
        f"p = GlobalAveragePool(x)\n c = Conv<pads={pads}>(p, w, b)\n y = Flatten(c)", init={"w": weight, "b": B}
    )
    found = check_exact(model)
    middle = weight[:, :, kernel[0] // 2, kernel[1] // 2]
    assert_close(found.grid, np.einsum("kc,nchw->nkhw", middle.astype(np.float64), found.x) + B[:, None, None])


def test_padded_kernel_that_is_not_in_the_middle() -> None:
    weight = weights(5, 6, 2, 3)
    model = text_model(
        "p = GlobalAveragePool(x)\n c = Conv<pads=[1, 2, 0, 0]>(p, w)\n y = Flatten(c)", init={"w": weight}
    )
    found = check_exact(model)
    assert_close(found.grid, np.einsum("kc,nchw->nkhw", weight[:, :, 1, 2].astype(np.float64), found.x))


# --- weights of positions ---------------------------------------------------------------------------------------------

MAP = "c = Conv(x, m)\n k = Relu(c)\n"
CONV = {"m": weights(6, 6, 1, 1)}


def mapped(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.einsum("dc,nchw->ndhw", CONV["m"][:, :, 0, 0].astype(np.float64), x), 0)


@pytest.mark.parametrize(
    ("equation", "shape", "formula"),
    [
        pytest.param("nchw,hw->nc", (3, 5), lambda a, w: a * w, id="a_weight_for_each_position"),
        pytest.param("nchw,chw->nc", (6, 3, 5), lambda a, w: a * w, id="and_channel"),
        pytest.param("nchw,wh->nc", (5, 3), lambda a, w: a * w.T, id="columns_first"),
        pytest.param(
            "nchw,whkc->nk", (5, 3, 2, 6), lambda a, w: np.einsum("nchw,whkc->nkhw", a, w), id="a_layer_at_each"
        ),
    ],
)
def test_fixed_weights_of_positions_are_a_weighted_pool(equation: str, shape: tuple[int, ...], formula: object) -> None:
    weight, last = weights(*shape), weights(5, 2 if "k" in equation else 6)
    model = text_model(
        f"{MAP} f = {einsum(equation, 'k', 'p')}\n y = Gemm<transB=1>(f, w)", init=CONV | {"p": weight, "w": last}
    )
    found = lift(model, images(model))
    cells = 15 * formula(mapped(found.x), weight.astype(np.float64))  # type: ignore[operator]
    assert (found.verdict, found.rewrite.heads[0].position_dependent) == ("exact", True)
    assert_close(found.grid, np.einsum("kc,nchw->nkhw", last.astype(np.float64), cells), 2e-5)
    assert_mean_is_logits(found)


def test_weights_that_are_alike_are_a_mean() -> None:
    model = text_model(
        f"{MAP} f = {einsum('nchw,hw->nc', 'k', 'p')}\n y = Gemm<transB=1>(f, w)",
        init=CONV | {"p": np.full((3, 5), 1 / 15, np.float32), "w": W},
    )
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].position_dependent) == ("exact", False)
    assert_close(found.grid, np.einsum("kc,nchw->nkhw", W.astype(np.float64), mapped(found.x)))


@pytest.mark.parametrize(
    ("equation", "body"),
    [
        pytest.param("nt,nct->nc", "a0 = MatMul(v1, r)\n s0 = Squeeze(a0, one)\n s = Softmax<axis=-1>(s0)", id="one"),
        pytest.param("nqt,nct->nqc", "a0 = MatMul(v2, r)\n s = Softmax<axis=-1>(a0)", id="two_queries"),
    ],
)
def test_attention_spelled_as_an_einsum(equation: str, body: str) -> None:
    queries = 2 if "q" in equation else 1
    last = weights(5, 6 * queries)
    model = text_model(
        f"{MAP} r = Reshape(k, flat)\n {body}\n o = {einsum(equation, 's', 'r')}\n f = Flatten(o)\n"
        " y = Gemm<transB=1>(f, w)",
        init=CONV | {"flat": ints(0, 6, 15), "one": ints(1), "w": last, f"v{queries}": weights(1, queries, 6)},
    )
    found = lift(model, images(model))
    cells = mapped(found.x).reshape(3, 6, 15)
    scores = np.einsum("qc,nct->nqt", weights(1, queries, 6)[0].astype(np.float64), cells)
    shares = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    joined = 15 * np.einsum("nqt,nct->nqct", shares, cells).reshape(3, 6 * queries, 15)
    assert found.verdict == "conditional"
    assert_close(found.grid.reshape(3, 5, 15), np.einsum("kc,nct->nkt", last.astype(np.float64), joined), 3e-5)


@pytest.mark.parametrize(
    "part", ["m = Slice(x, two, six, axes)", "m = AveragePool<kernel_shape=[5, 5], strides=[1, 1]>(x)"]
)
def test_weights_of_a_part_or_of_windows_are_not_laid_onto_the_map(part: str) -> None:
    body = f"{part}\n f = {einsum('nchw,hw->nc', 'm', 'v')}\n y = Gemm<transB=1>(f, w)"
    init = {"w": W, "v": weights(4, 4), "two": ints(2, 2), "six": ints(6, 6), "axes": ints(2, 3)}
    check_refused(text_model(body, x="float[N,6,8,8] x", init=init), "partial-pool")
