"""Operators that ONNX Runtime fuses behind a pool lift as what they were fused of."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from tests.helpers.support import (
    Head,
    assert_close,
    assert_mean_is_logits,
    chain,
    check_refused,
    dense,
    frozen,
    images,
    lift,
    pooled,
    text_model,
    weights,
)

V, W, B = weights(6, 6, seed=4), weights(5, 6), weights(6)
SCALE, SHIFT = np.abs(weights(6, seed=1)) + np.float32(0.5), weights(6, seed=2)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n "
INIT = {"v": V.T.copy(), "w": W, "b": B, "scale": SCALE, "shift": SHIFT, "one": np.array([1])}
erf = np.vectorize(math.erf)


def gelu(z: np.ndarray) -> np.ndarray:
    return 0.5 * z * (1 + erf(z / math.sqrt(2)))


def fast_gelu(z: np.ndarray) -> np.ndarray:
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def quick_gelu(z: np.ndarray) -> np.ndarray:
    return z / (1 + np.exp(-1.702 * z))


def fused(body: str, **init: np.ndarray) -> onnx.ModelProto:
    return text_model(f"{POOL}{body}\n y = Gemm<transB=1>(h, w)", domains='"com.microsoft" : 1', init=INIT | init)


@pytest.mark.parametrize(
    ("operator", "bias", "phi"),
    [
        pytest.param("BiasGelu(z, b)", B, gelu, id="BiasGelu"),
        pytest.param("FastGelu(z, b)", B, fast_gelu, id="FastGelu_with_its_bias"),
        pytest.param("FastGelu(z)", 0.0, fast_gelu, id="FastGelu"),
        pytest.param("QuickGelu<alpha=1.702>(z)", 0.0, quick_gelu, id="QuickGelu"),
        pytest.param("Gelu(z)", 0.0, gelu, id="Gelu"),
    ],
)
def test_activation_behind_its_bias(operator: str, bias: np.ndarray | float, phi: Head) -> None:
    """The slope is of what the activation sees, as where the bias is an Add of its own."""
    found = lift(model := fused(f"z = MatMul(f, v)\n h = com.microsoft.{operator}"), images(model))
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert_close(found.grid, chain(dense(V, bias), frozen(phi), dense(W))(found.x.astype(np.float64)), 3e-5)


def norm(cells: np.ndarray, *, centred: bool) -> np.ndarray:
    """Each cell centred by itself and divided by the size of the pooled vector."""
    t = pooled(cells)
    if centred:
        cells, t = cells - cells.mean(axis=1, keepdims=True), t - t.mean(axis=1, keepdims=True)
    made = cells / np.sqrt((t**2).mean(axis=1, keepdims=True) + 1e-3) * SCALE[:, None, None]
    return made + SHIFT[:, None, None] if centred else made


NORMS = {
    "SkipLayerNormalization": ("(z, u, scale, shift, b)", True, B),
    "SkipLayerNormalization_without_bias": ("(z, u, scale, shift)", True, 0.0),
    "SkipSimplifiedLayerNormalization": ("(z, u, scale, b)", False, B),
    "SkipSimplifiedLayerNormalization_without_bias": ("(z, u, scale)", False, 0.0),
}


@pytest.mark.parametrize("also", [False, True])
@pytest.mark.parametrize("name", sorted(NORMS))
def test_norm_of_a_sum(name: str, also: bool) -> None:
    """As the transformers' optimizer leaves a residual layer behind a pooled token; the sum itself may be read too."""
    operands, centred, bias = NORMS[name]
    operator = name.split("_")[0]
    made = "q, , , t" if also else "q"
    model = fused(
        f"u = Unsqueeze(f, one)\n z = MatMul(u, v)\n {made} = com.microsoft.{operator}<epsilon=0.001>{operands}\n"
        f" r = {'Add(q, t)' if also else 'Identity(q)'}\n h = Squeeze(r, one)"
    )

    def expected(cells: np.ndarray) -> np.ndarray:
        total = dense(V, bias)(cells) + cells
        return dense(W)(norm(total, centred=centred) + (total if also else 0))

    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert_close(found.grid, expected(found.x.astype(np.float64)), 3e-5)


def test_a_fixed_skip_is_a_bias() -> None:
    """A position embedding of one token."""
    model = fused(
        "u = Unsqueeze(f, one)\n q = com.microsoft.SkipLayerNormalization<epsilon=0.001>(u, e, scale, shift)\n"
        " h = Squeeze(q, one)",
        e=B.reshape(1, 1, 6),
    )
    found = lift(model, images(model, 1))
    expected = dense(W)(norm(found.x.astype(np.float64) + B[:, None, None], centred=True))
    assert_close(found.grid, expected, 3e-5)


def test_the_deviation_that_a_norm_divides_by_is_no_vector_of_features() -> None:
    model = fused(
        "u = Unsqueeze(f, one)\n q, m, d, t = com.microsoft.SkipLayerNormalization(u, u, scale, shift)\n"
        " e = Mul(u, d)\n h = Squeeze(e, one)"
    )
    assert lift(model, images(model)).verdict == "conditional"  # as a factor it is a function of what is pooled
    model = text_model(
        f"{POOL}u = Unsqueeze(f, one)\n q, m, d, t = com.microsoft.SkipLayerNormalization(u, u, scale, shift)\n"
        " h = Squeeze(d, one)\n y = Neg(h)",
        y="float[N,1] y",
        domains='"com.microsoft" : 1',
        init=INIT,
    )
    check_refused(model, "unknown-operator", "SkipLayerNormalization")


def test_a_bias_of_the_image_is_refused() -> None:
    model = fused("z = MatMul(f, v)\n g = Squeeze(z, zero)\n h = com.microsoft.BiasGelu(z, g)", zero=np.array([0]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    check_refused(model, "unknown-operator", "BiasGelu")
