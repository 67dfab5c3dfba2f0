"""Products and quotients of pooled tensors."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from onnx_gapmil import rewrite
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    chain,
    check_conditional,
    check_refused,
    dense,
    images,
    lift,
    pooled,
    text_model,
    weights,
)

W, V = weights(5, 6), weights(6, 6, seed=4)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("order", ["f, g", "g, f"])
def test_silu_lifts_x_and_keeps_the_gate(order: str) -> None:
    model = text_model(f"{POOL}\n g = Sigmoid(f)\n h = Mul({order})\n y = Gemm<transB=1>(h, w)", init={"w": W})
    check_conditional(model, chain(lambda cells: cells * sigmoid(pooled(cells)), dense(W)))


def test_squeeze_excite_after_the_pool() -> None:
    model = text_model(
        f"{POOL}\n a = Gemm<transB=1>(f, v)\n r = Relu(a)\n c = Gemm<transB=1>(r, v)\n g = Sigmoid(c)\n h = Mul(f, g)\n"
        " y = Gemm<transB=1>(h, w)",
        init={"v": V, "w": W},
    )

    def formula(cells: np.ndarray) -> np.ndarray:
        gate = sigmoid(dense(V)(np.maximum(dense(V)(pooled(cells)), 0)))
        return dense(W)(cells * gate)

    check_conditional(model, formula)


def test_square_keeps_one_factor_at_its_pooled_value() -> None:
    model = text_model(f"{POOL}\n h = Mul(f, f)\n y = Gemm<transB=1>(h, w)", init={"w": W})
    check_conditional(model, chain(lambda cells: cells * pooled(cells), dense(W)))


def test_gate_of_one_number_for_all_channels() -> None:
    model = text_model(
        f"{POOL}\n s = Gemm<transB=1>(f, one)\n g = Sigmoid(s)\n h = Mul(g, f)\n y = Gemm<transB=1>(h, w)",
        init={"one": weights(1, 6), "w": W},
    )
    check_conditional(model, chain(lambda cells: cells * sigmoid(dense(weights(1, 6))(pooled(cells))), dense(W)))


def test_l2_norm_of_a_cosine_head() -> None:
    """``W (t / ||t||)`` spelled with ReduceL2, Clip and Div, then a scale."""
    model = text_model(
        f"""{POOL}
        n = ReduceL2<axes=[1], keepdims=1>(f)
        c = Clip(n, eps)
        e = Expand(c, like)
        u = Div(f, e)
        z = Gemm<transB=1>(u, w)
        y = Mul(z, s)""",
        init={"w": W, "eps": np.float32(1e-12), "like": np.array([1, 6], np.int64), "s": np.float32(16)},
    )
    check_conditional(
        model,
        chain(lambda cells: cells / np.sqrt((pooled(cells) ** 2).sum(axis=1, keepdims=True)), dense(16 * W)),
        instance=False,
    )


def test_quotient_of_two_dense_layers_keeps_the_divisor() -> None:
    model = text_model(
        f"{POOL}\n a = Gemm<transB=1>(f, w)\n c = Gemm<transB=1>(f, v)\n q = Exp(c)\n y = Div(a, q)",
        init={"w": W, "v": weights(5, 6, seed=4)},
    )
    check_conditional(model, lambda cells: dense(W)(cells) / np.exp(dense(weights(5, 6, seed=4))(pooled(cells))))


@pytest.mark.parametrize("operator", ["Mul", "Div"])
@pytest.mark.parametrize("order", ["f, meta", "meta, f"])
def test_gate_from_a_second_input_is_refused(operator: str, order: str) -> None:
    model = text_model(
        f"{POOL}\n h = {operator}({order})\n y = Gemm<transB=1>(h, w)",
        x="float[N,6,3,5] x, float[N,6] meta",
        init={"w": W},
    )
    check_refused(model, "side-input")


def test_gate_computed_from_a_second_input_is_refused() -> None:
    model = text_model(
        f"{POOL}\n a = Add(f, meta)\n g = Sigmoid(a)\n h = Mul(f, g)\n y = Gemm<transB=1>(h, w)",
        x="float[N,6,3,5] x, float[N,6] meta",
        init={"w": W},
    )
    check_refused(model, "side-input", "'h'")


def test_random_gate_is_refused() -> None:
    model = text_model(f"{POOL}\n r = RandomUniformLike(f)\n h = Mul(f, r)\n y = Gemm<transB=1>(h, w)", init={"w": W})
    check_refused(model, "random-head", "'h'")


def test_gate_does_not_make_an_unpooled_map_look_pooled() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n g = Mul(p, x)\n f = Flatten(g)\n y = MatMul(f, w)", init={"w": weights(90, 5)}
    )
    check_refused(model, "flatten-head")


def test_quotient_does_not_make_an_unpooled_map_look_pooled() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n e = Exp(x)\n g = Div(p, e)\n f = Flatten(g)\n y = MatMul(f, w)",
        x="float[1,6,3,5] x",
        y="float[1,5] y",
        init={"w": weights(90, 5)},
    )
    check_refused(model, "flatten-head")


def test_outer_product_of_channels_goes_half_and_half() -> None:
    """Bilinear features of the pooled vector: each factor is kept in turn."""
    model = text_model(
        f"{POOL}\n a = Unsqueeze(f, one)\n c = Unsqueeze(f, two)\n o = Mul(a, c)\n"
        " g = Flatten(o)\n y = Gemm<transB=1>(g, w)",
        init={"w": weights(5, 36), "one": np.array([1], np.int64), "two": np.array([2], np.int64)},
    )
    matrix = weights(5, 36).reshape(5, 6, 6).astype(np.float64)

    def expected(cells: np.ndarray) -> np.ndarray:
        t = pooled(cells)[:, :, 0, 0]
        halves = np.einsum("kab,nahw,nb->nkhw", matrix, cells, t), np.einsum("kab,na,nbhw->nkhw", matrix, t, cells)
        return (halves[0] + halves[1]) / 2

    check_conditional(model, expected, instance=False)


def test_softmax_spelled_out_within_a_head_keeps_the_mean() -> None:
    """An expectation over classes: behind the logits there is another layer."""
    model = text_model(
        f"{POOL}\n z = Gemm<transB=1>(f, w)\n e = Exp(z)\n s = ReduceSum<keepdims=1>(e, one)\n p = Div(e, s)\n"
        " y = MatMul(p, v)",
        y="float[N,3] y",
        init={"w": W, "v": weights(5, 3), "one": np.array([1], np.int64)},
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    z = dense(W)(x.astype(np.float64))
    t = pooled(z)
    exp = 1 + z * np.expm1(t) / t
    assert_close(found.grid, dense(weights(5, 3).T)(exp / np.exp(t).sum(axis=1, keepdims=True)), 3e-5)


def test_where_chooses_in_every_cell_by_the_pooled_condition() -> None:
    """equinox's LayerNorm: ``Where(all equal, 0, t - mean)``."""
    model = text_model(
        "p = ReduceMean<axes=[2, 3], keepdims=0>(x)\n m = ReduceMean<axes=[1], keepdims=1>(p)\n c = Sub(p, m)\n"
        " big = Greater(p, half)\n q = Where(big, c, low)\n y = Gemm<transB=1>(q, w)",
        init={"w": weights(5, 6), "half": np.float32(0.1), "low": np.float32(-0.25)},
    )
    result = rewrite(model, write=False)
    assert result.verdict == "conditional"
    x = np.random.default_rng(3).standard_normal((2, 6, 3, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(result.model.SerializeToString())
    (grid,) = session.run(["gapmil_grid"], {"x": x})
    pooled = x.astype(np.float64).mean((2, 3))
    centred = x - x.mean(1, keepdims=True)
    chosen = np.where((pooled > 0.1)[:, :, None, None], centred, -0.25)
    np.testing.assert_allclose(grid, np.einsum("kc,nchw->nkhw", weights(5, 6), chosen), atol=1e-5)
    assert (pooled > 0.1).any()
    assert (pooled < 0.1).any()
