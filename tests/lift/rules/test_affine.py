"""Affine rules: every cell has the vendor's answer to that cell alone."""

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
        pytest.param("n = Neg(f)\n y = Gemm<transB=1>(n, w)", {"w": W}, id="neg"),
        pytest.param("s = Sub(f, b)\n y = Gemm<transB=1>(s, w)", {"w": W, "b": weights(6)}, id="sub_vector"),
        pytest.param("s = Sub(b, f)\n y = Gemm<transB=1>(s, w)", {"w": W, "b": weights(1, 6)}, id="sub_from_vector"),
        pytest.param("s = Mul(f, b)\n y = Gemm<transB=1>(s, w)", {"w": W, "b": weights(6)}, id="mul_vector"),
        pytest.param("s = Mul(b, f)\n y = Gemm<transB=1>(s, w)", {"w": W, "b": np.float32(0.8)}, id="mul_scalar"),
        pytest.param("s = Div(f, b)\n y = Gemm<transB=1>(s, w)", {"w": W, "b": weights(6)}, id="div_vector"),
        pytest.param(
            "z = Gemm<transB=1>(f, w)\n y = Add(z, b)", {"w": W[:1], "b": B}, id="one_logit_widened_by_a_vector"
        ),
        pytest.param(
            "z = Gemm<transB=1>(f, w)\n y = Mul(z, b)", {"w": W[:1], "b": B}, id="one_logit_widened_by_a_factor"
        ),
        pytest.param(
            "a = Gemm<transB=1>(f, w, b)\n c = Gemm<transB=1>(f, v, b)\n s = Add(a, c)\n y = Div(s, two)",
            {"w": W, "v": weights(5, 6, seed=3), "b": B, "two": np.float32(2)},
            id="averaged_twins",
        ),
        pytest.param(
            "a = Gemm<transB=1>(f, w)\n c = Gemm<transB=1>(f, v)\n y = Mean(a, c, a)",
            {"w": W, "v": weights(5, 6, seed=3)},
            id="mean_of_three",
        ),
        pytest.param(
            "a = Gemm<transB=1>(f, w)\n c = Gemm<transB=1>(f, v)\n y = Sum(a, c)",
            {"w": W, "v": weights(5, 6, seed=3)},
            id="sum_of_two",
        ),
        pytest.param(
            "base = Gemm<transB=1>(f, w, b)\n d = MatMul(f, down)\n u = MatMul(d, up)\n"
            " s = Mul(u, k)\n y = Add(base, s)",
            {"w": W, "b": B, "down": weights(6, 2), "up": weights(2, 5), "k": np.float32(0.3)},
            id="lora_branch",
        ),
        pytest.param(
            "h = Gemm<transB=1>(f, v)\n y = Gemm<transB=1, beta=2.0>(f, w, h)",
            {"w": W, "v": weights(5, 6, seed=3)},
            id="gemm_with_a_residual_fused_as_its_bias",
        ),
        pytest.param(
            "a, c = Split<axis=1>(f, s)\n j = Concat<axis=-1>(c, a)\n y = Gemm<transB=1>(j, w)",
            {"w": W, "s": ints(2, 4)},
            id="split_and_concat_swapped",
        ),
        pytest.param(
            "r = Reshape(f, s)\n m = ReduceMean<axes=[1], keepdims=0>(r)\n y = Gemm<transB=1>(m, w)",
            {"w": weights(5, 3), "s": ints(0, 2, 3)},
            id="mean_over_channel_groups",
        ),
        pytest.param(
            "z = Gemm<transB=1>(f, w)\n r = Reshape(z, s)\n y = ReduceSum<keepdims=0>(r, a)",
            {"w": weights(15, 6), "s": ints(0, 5, 3), "a": ints(2)},
            id="sum_over_sub_centres",
        ),
        pytest.param(
            "d = Cast<to=11>(f)\n e = Cast<to=1>(d)\n y = Gemm<transB=1>(e, w)", {"w": W}, id="cast_to_double_and_back"
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


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization_is_a_fixed_scale_and_shift(opset: int) -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n n = BatchNormalization<epsilon=0.01>(p, s, t, m, v)\n f = Flatten(n)\n"
        " y = Gemm<transB=1>(f, w, b)",
        opset=opset,
        init={"w": W, "b": B, "s": weights(6), "t": weights(6, seed=1), "m": weights(6, seed=2), "v": weights(6) ** 2},
    )
    check_exact(model)


def test_batch_normalization_of_the_pooled_vector() -> None:
    body = "n = BatchNormalization(f, s, t, m, v)\n y = Gemm<transB=1>(n, w, b)"
    check_exact(
        after_pool(body, opset=9, w=W, b=B, s=weights(6), t=weights(6, seed=1), m=weights(6, seed=2), v=weights(6) ** 2)
    )


def test_batch_normalization_in_training_mode_is_refused() -> None:
    body = "n, a, c = BatchNormalization<training_mode=1>(f, s, t, m, v)\n y = Gemm<transB=1>(n, w)"
    model = after_pool(body, opset=15, w=W, s=weights(6), t=weights(6), m=weights(6), v=weights(6) ** 2)
    check_refused(model, "random-head", "BatchNormalization")


@pytest.mark.parametrize("kind", ["float16", "double"])
@pytest.mark.parametrize("layer", ["gemm", "matmul"])
def test_other_float_types_stay_in_their_type(kind: str, layer: str) -> None:
    dtype = {"float16": np.float16, "double": np.float64}[kind]
    body = "y = Gemm<transB=1, alpha=0.5>(f, w, b)" if layer == "gemm" else "m = MatMul(f, wt)\n y = Add(m, b)"
    model = text_model(
        f"{POOL}\n {body}",
        x=f"{kind}[N,6,3,5] x",
        y=f"{kind}[N,5] y",
        init={"b": B.astype(dtype)} | ({"w": W.astype(dtype)} if layer == "gemm" else {"wt": W.T.astype(dtype)}),
    )
    found = check_exact(model, tolerance=5e-3 if kind == "float16" else 1e-12)
    assert found.grid.dtype == dtype


def test_initializers_listed_as_inputs_are_weights_still() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)",
        x="float[N,6,3,5] x, float[5,6] w, float[5] b",
        ir=3,
        opset=8,
        init={"w": W, "b": B},
    )
    check_exact(model)


def test_logits_before_softmax_are_lifted() -> None:
    model = after_pool("z = Gemm<transB=1>(f, w, b)\n y = Softmax<axis=1>(z)", w=W, b=B)
    found = check_exact(model, logits="z")
    assert found.rewrite.heads[0].activation == "softmax"


def test_cast_to_integers_is_refused() -> None:
    model = after_pool("i = Cast<to=6>(f)\n g = Cast<to=1>(i)\n y = Gemm<transB=1>(g, w)", w=W)
    check_refused(model, "unknown-operator", "'i'")


def test_sum_of_a_vector_and_its_transpose_is_refused() -> None:
    """Six images of six channels: the shapes fit, the meaning does not."""
    model = text_model(f"{POOL}\n t = Transpose(f)\n y = Add(f, t)", x="float[6,6,3,5] x", y="float[6,6] y")
    check_refused(model, "spatial-mixing-after-pool", "'y'")


def test_outer_sum_of_two_pooled_tensors_is_refused() -> None:
    model = after_pool(
        "a = Unsqueeze(f, one)\n c = Unsqueeze(f, two)\n o = Add(a, c)\n g = Flatten(o)\n y = Gemm<transB=1>(g, w)",
        w=weights(5, 36),
        one=ints(1),
        two=ints(2),
    )
    check_refused(model, "spatial-mixing-after-pool")


def test_centring_over_the_batch_is_refused() -> None:
    model = after_pool("m = ReduceMean<axes=[0]>(f)\n c = Sub(f, m)\n y = Gemm<transB=1>(c, w)", w=W)
    check_refused(model, "spatial-mixing-after-pool", "'m'")


def test_product_of_two_pooled_matrices_is_refused() -> None:
    body = (
        "a = Unsqueeze(f, one)\n c = Unsqueeze(f, two)\n o = MatMul(c, a)\n g = Flatten(o)\n y = Gemm<transB=1>(g, w)"
    )
    model = after_pool(body, w=weights(5, 36), one=ints(1), two=ints(2))
    refusal = check_refused(model, "no-spatial-pool")
    assert "Flatten" in refusal.walked[1] or "MatMul" in refusal.node
