"""Dense layers in every spelling: every cell has the vendor's answer to that cell alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.support import assert_close, check_exact, check_refused, images, lift, text_model, weights

W, B = weights(5, 6), weights(5)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def after_pool(body: str, *, opset: int = 17, batch: str = "N", pool: str = POOL, **init: np.ndarray) -> object:
    return text_model(f"{pool}\n {body}", x=f"float[{batch},6,3,5] x", y=f"float[{batch},5] y", opset=opset, init=init)


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("y = Gemm<transB=1>(f, w, b)", {"w": W, "b": B}, id="gemm_transposed"),
        pytest.param("y = Gemm(f, w, b)", {"w": W.T.copy(), "b": B}, id="gemm_plain"),
        pytest.param("y = Gemm<transB=1>(f, w)", {"w": W}, id="gemm_without_bias"),
        pytest.param("y = Gemm<transB=1, alpha=0.5, beta=3.0>(f, w, b)", {"w": W, "b": B}, id="gemm_alpha_beta"),
        pytest.param("y = Gemm<transB=1, beta=0.5>(f, w, b)", {"w": W, "b": np.float32(2)}, id="gemm_scalar_bias"),
        pytest.param("y = Gemm<transB=1>(f, w, b)", {"w": W, "b": B[:1]}, id="gemm_bias_of_one"),
        pytest.param("y = Gemm<transB=1, beta=-2.0>(f, w, b)", {"w": W, "b": B[None]}, id="gemm_row_bias"),
        pytest.param(
            "t = Transpose(f)\n y = Gemm<transA=1, transB=1, alpha=0.5>(t, w, b)", {"w": W, "b": B}, id="gemm_transA"
        ),
        pytest.param("y = MatMul(f, w)", {"w": W.T.copy()}, id="matmul"),
        pytest.param("m = MatMul(f, w)\n y = Add(m, b)", {"w": W.T.copy(), "b": B}, id="matmul_add"),
        pytest.param("m = MatMul(f, w)\n y = Add(b, m)", {"w": W.T.copy(), "b": B[None]}, id="matmul_add_swapped"),
        pytest.param("t = Transpose(f)\n m = MatMul(w, t)\n y = Transpose(m)", {"w": W}, id="matmul_weight_first"),
        pytest.param(
            "u = Unsqueeze(f, two)\n m = MatMul(w, u)\n y = Squeeze(m, two)",
            {"w": W, "two": ints(2)},
            id="matmul_weight_first_batched",
        ),
        pytest.param(
            "u = Unsqueeze(f, one)\n m = MatMul(u, w)\n y = Squeeze(m, one)",
            {"w": W.T.copy(), "one": ints(1)},
            id="matmul_of_one_token",
        ),
        pytest.param('y = Einsum<equation="nc,kc->nk">(f, w)', {"w": W}, id="einsum_dense"),
        pytest.param('y = Einsum<equation="nc, ck -> nk">(f, w)', {"w": W.T.copy()}, id="einsum_spaces"),
        pytest.param('y = Einsum<equation="kc,nc->nk">(w, f)', {"w": W}, id="einsum_weight_first"),
        pytest.param(
            "h = Gemm<transB=1>(f, v)\n y = Gemm<transB=1, beta=2.0>(f, w, h)",
            {"w": W, "v": weights(5, 6, seed=3)},
            id="gemm_with_a_residual_fused_as_its_bias",
        ),
        pytest.param("wt = Transpose<perm=[1, 0]>(w)\n y = Gemm(f, wt)", {"w": W}, id="weight_through_transpose"),
        pytest.param(
            "wc = Cast<to=1>(w)\n y = Gemm<transB=1>(f, wc)", {"w": W.astype(np.float64)}, id="weight_through_cast"
        ),
        pytest.param(
            "wq = DequantizeLinear(w, s, z)\n y = Gemm<transB=1>(f, wq)",
            {"w": (W * 20).astype(np.int8), "s": np.float32(0.05), "z": np.int8(3)},
            id="weight_through_dequantize",
        ),
        pytest.param(
            "wc = ConstantOfShape<value = float[1] {0.25}>(s)\n y = MatMul(f, wc)",
            {"s": ints(6, 5)},
            id="constant_of_shape",
        ),
    ],
)
@pytest.mark.parametrize("batch", ["N", "1", "2"])
def test_dense_layer_is_applied_to_each_cell(body: str, init: dict[str, np.ndarray], batch: str) -> None:
    check_exact(after_pool(body, batch=batch, **init))


@pytest.mark.parametrize("shape", [(2, 5), (2, 1), (1, 5)])
def test_gemm_bias_may_have_a_row_for_each_image(shape: tuple[int, int]) -> None:
    model = after_pool("y = Gemm<transB=1, beta=0.5>(f, w, b)", batch="2", w=W, b=weights(*shape))
    x = images(model)
    expected = np.einsum("kc,nchw->nkhw", W.astype(np.float64), x) + 0.5 * weights(*shape).reshape(shape[0], -1, 1, 1)
    assert_close(lift(model, x).grid, expected)


def test_gemm_bias_column_is_not_taken_for_class_biases() -> None:
    """Five images, five classes, one bias for each *image*."""
    model = after_pool("y = Gemm<transB=1>(f, w, b)", batch="5", w=W, b=weights(5, 1))
    x = images(model)
    expected = np.einsum("kc,nchw->nkhw", W.astype(np.float64), x) + weights(5, 1).reshape(5, 1, 1, 1)
    assert_close(lift(model, x).grid, expected)


def test_gemm_bias_from_a_second_input_is_refused() -> None:
    model = text_model(f"{POOL}\n y = Gemm<transB=1>(f, w, meta)", x="float[N,6,3,5] x, float[N,5] meta", init={"w": W})
    check_refused(model, "side-input", "'y'")


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
@pytest.mark.parametrize("groups", [1, 2])
def test_pointwise_convolution_of_the_pooled_map(opset: int, groups: int) -> None:
    kernel = weights(4, 6 // groups, 1, 1)
    model = text_model(
        f"p = GlobalAveragePool(x)\n k = Conv<group={groups}, kernel_shape=[1, 1]>(p, w, b)\n y = Flatten(k)",
        y="float[N,4] y",
        opset=opset,
        init={"w": kernel, "b": weights(4)},
    )
    check_exact(model)


def test_one_dimensional_convolution_of_pooled_tokens() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n k = Conv(p, w, b)\n y = Squeeze(k, two)",
        x="float[N,6,15] x",
        init={"w": W[:, :, None], "b": B, "two": ints(2)},
    )
    check_exact(model, layout="NCT", size=(1, 15))


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param(
            "u = Unsqueeze(f, i)\n k = Conv<pads=[1, 1]>(u, e, d)\n g = Squeeze(k, i)\n y = Gemm<transB=1>(g, w, b)",
            {"i": ints(1), "w": W, "b": B, "e": weights(1, 1, 3), "d": weights(1)},
            id="over_neighbouring_channels",
        ),
        pytest.param(
            "u = Reshape(f, s)\n k = Conv(u, e, d)\n y = Flatten(k)",
            {"s": ints(0, 2, 3), "e": weights(5, 2, 3), "d": B},
            id="over_two_vectors",
        ),
        pytest.param(
            "g = Gemm(f, q)\n r = Reshape(g, s)\n v = Conv(r, e)\n y = Flatten(v)",
            {"q": weights(6, 32), "s": ints(0, 8, 2, 2), "e": weights(5, 8, 2, 2)},
            id="over_a_vector_that_was_given_a_shape",
        ),
    ],
)
def test_convolution_over_channels_is_done_in_every_cell(body: str, init: dict[str, np.ndarray]) -> None:
    check_exact(after_pool(body, **init))


def test_convolution_over_class_tokens_is_refused_as_what_it_reads() -> None:
    """CoaT: the first tokens of several scales, side by side, weighed by a convolution."""
    model = text_model(
        "a = Slice(x, zero, one, one)\n b = Slice(z, zero, one, one)\n c = Concat<axis=1>(a, b)\n k = Conv(c, e)\n"
        " f = Squeeze(k, one)\n y = Gemm<transB=1>(f, w)",
        x="float[N,17,6] x, float[N,5,6] z",
        init={"w": W, "e": weights(1, 2, 1), "zero": ints(0), "one": ints(1)},
    )
    assert "it takes one of 17 tokens" in check_refused(model, "class-token").message


def test_product_of_two_pooled_matrices_is_refused() -> None:
    body = (
        "a = Unsqueeze(f, one)\n c = Unsqueeze(f, two)\n o = MatMul(c, a)\n g = Flatten(o)\n y = Gemm<transB=1>(g, w)"
    )
    model = after_pool(body, w=weights(5, 36), one=ints(1), two=ints(2))
    refusal = check_refused(model, "no-spatial-pool")
    assert "Flatten" in refusal.walked[1] or "MatMul" in refusal.node


FUSED_MATMUL = {
    "factor": ("z = com.microsoft.FusedMatMul<alpha=0.5>(f, w)", W.T * 0.5, W.T),
    "transposed": ("z = com.microsoft.FusedMatMul<transB=1, alpha=-2.0>(f, w)", W.T * -2, W),
    "weights_first": (
        "t = Transpose(f)\n m = com.microsoft.FusedMatMul<transA=1>(w, t)\n z = Transpose(m)",
        W.T,
        W.T,
    ),
    "both": ("m = com.microsoft.FusedMatMul<transB=1>(w, f)\n z = Transpose(m)", W.T, W),
}


@pytest.mark.parametrize("batch", ["N", "1"])
@pytest.mark.parametrize("spelling", FUSED_MATMUL)
def test_fused_matmul_is_the_layer_that_it_was_made_of(spelling: str, batch: str) -> None:
    """A LoRA branch and a scaled product as ONNX Runtime saves them with ORT_ENABLE_EXTENDED."""
    body, matrix, weight = FUSED_MATMUL[spelling]
    model = text_model(
        f"{POOL}\n {body}\n y = Add(z, b)",
        x=f"float[{batch},6,3,5] x",
        y=f"float[{batch},5] y",
        domains='"com.microsoft" : 1',
        init={"w": np.ascontiguousarray(weight), "b": B},
    )
    found = lift(model, images(model), check=False)
    assert found.verdict == "exact"
    cells = found.x.astype(np.float64)
    expected = np.einsum("nchw,ck->nkhw", cells, matrix.astype(np.float64)) + B[:, None, None]
    assert_close(found.grid, expected)


def test_fused_matmul_over_groups_that_lie_before_the_batch() -> None:
    g = weights(2, 3, 3)
    model = text_model(
        f"{POOL}\n r = Reshape(f, s)\n u = com.microsoft.FusedMatMul<transBatchA=1>(r, g)\n"
        " v = Transpose<perm=[1, 0, 2]>(u)\n y = Reshape(v, t)",
        y="float[N,6] y",
        domains='"com.microsoft" : 1',
        init={"g": g, "s": ints(-1, 2, 3), "t": ints(-1, 6)},
    )
    found = lift(model, images(model), check=False)
    cells = found.x.astype(np.float64).reshape(3, 2, 3, 3, 5)
    assert_close(found.grid, np.einsum("ngchw,gck->ngkhw", cells, g.astype(np.float64)).reshape(3, 6, 3, 5))


def test_groups_of_a_batch_of_one_are_told_apart() -> None:
    """Turned to the front, the groups leave the batch of one image in another axis."""
    g = weights(2, 3, 3)
    model = text_model(
        f"{POOL}\n r = Reshape(f, s)\n q = Transpose<perm=[1, 0, 2]>(r)\n u = MatMul(q, g)\n"
        " v = Transpose<perm=[1, 0, 2]>(u)\n y = Reshape(v, t)",
        x="float[1,6,3,5] x",
        y="float[1,6] y",
        init={"g": g, "s": ints(1, 2, 3), "t": ints(1, 6)},
    )
    found = lift(model, images(model))
    cells = found.x.astype(np.float64).reshape(1, 2, 3, 3, 5)
    assert_close(found.grid, np.einsum("ngchw,gck->ngkhw", cells, g.astype(np.float64)).reshape(1, 6, 3, 5))
