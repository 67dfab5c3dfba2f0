"""Affine rules: every cell has the vendor's answer to that cell alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.support import check_exact, check_refused, text_model, weights

W, B = weights(5, 6), weights(5)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def after_pool(body: str, *, opset: int = 17, batch: str = "N", pool: str = POOL, **init: np.ndarray) -> object:
    return text_model(f"{pool}\n {body}", x=f"float[{batch},6,3,5] x", y=f"float[{batch},5] y", opset=opset, init=init)


@pytest.mark.parametrize(
    ("body", "init"),
    [
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
            "a, c = Split<axis=1>(f, s)\n j = Concat<axis=-1>(c, a)\n y = Gemm<transB=1>(j, w)",
            {"w": W, "s": ints(2, 4)},
            id="split_and_concat_swapped",
        ),
        pytest.param(
            "n = Shape<start=0, end=1>(f)\n s = Concat<axis=0>(n, two)\n k = Expand(own, s)\n"
            " j = Concat<axis=1>(k, f)\n y = Gemm<transB=1>(j, w)",
            {"w": weights(5, 8), "two": ints(2), "own": weights(1, 2, seed=5)},
            id="fixed_numbers_beside",
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
    ],
)
@pytest.mark.parametrize("batch", ["N", "1", "2"])
def test_affine_step_is_applied_to_each_cell(body: str, init: dict[str, np.ndarray], batch: str) -> None:
    check_exact(after_pool(body, batch=batch, **init))


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


def test_outer_sum_of_two_pooled_tensors() -> None:
    model = after_pool(
        "a = Unsqueeze(f, one)\n c = Unsqueeze(f, two)\n o = Add(a, c)\n g = Flatten(o)\n y = Gemm<transB=1>(g, w)",
        w=weights(5, 36),
        one=ints(1),
        two=ints(2),
    )
    check_exact(model)


@pytest.mark.parametrize("batch", ["N", "1"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("u = Unsqueeze(f, one)\n d = Sub(u, k)\n r = Reshape(d, s)", id="distances_to_prototypes"),
        pytest.param("u = Unsqueeze(f, one)\n d = Mul(k, u)\n r = Reshape(d, s)", id="a_factor_for_each_class"),
    ],
)
def test_channels_that_broadcast_are_repeated_in_every_cell(body: str, batch: str) -> None:
    model = after_pool(
        f"{body}\n y = Gemm<transB=1>(r, w)", batch=batch, w=weights(5, 24), k=weights(4, 6), one=ints(1), s=ints(0, 24)
    )
    check_exact(model)


def test_centring_over_the_batch_is_refused() -> None:
    model = after_pool("m = ReduceMean<axes=[0]>(f)\n c = Sub(f, m)\n y = Gemm<transB=1>(c, w)", w=W)
    check_refused(model, "spatial-mixing-after-pool", "'m'")
