"""Products, activations and fully connected layers in integers: the lift of the real numbers, up to rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import (
    Head,
    Lifted,
    assert_close,
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

W, V, U = weights(5, 6), weights(6, 6) / 3, weights(6, 6, seed=5) / 3
FACTOR = np.abs(weights(6)) + np.float32(0.5)
SCALES = {"s": 0.008, "t": 0.008, "o": 1 / 127}


def to_integers(real: np.ndarray, step: float) -> np.ndarray:
    return np.clip(np.round(real / step), -128, 127).astype(np.int8)


def quantized(body: str, y: str = "float[N,5] y", **init: np.ndarray) -> onnx.ModelProto:
    """Dense layers of the pooled map ``f`` as int8, each by its own scale; ``b`` is a body on them."""
    known = {name: np.float32(step) for name, step in SCALES.items()}
    known |= {"z": np.int8(0), "v": V, "u": U, "w": W}
    return text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n a = Gemm<transB=1>(f, v)\n c = Gemm<transB=1>(f, u)\n"
        f" ai = QuantizeLinear(a, s, z)\n ci = QuantizeLinear(c, t, z)\n {body}",
        y=y,
        domains='"com.microsoft" : 1',
        init=known | init,
    )


def check(model: onnx.ModelProto, expected: Head, tolerance: float = 0.05) -> Lifted:
    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert found.rewrite.heads[0].quantized
    mean = found.grid.astype(np.float64).mean(axis=(2, 3))
    assert_close(mean.astype(np.float32), found.logits.astype(np.float64), tolerance)
    assert_close(found.grid, expected(found.x.astype(np.float64)), tolerance)
    return found


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


BACK = "d = DequantizeLinear(m, t, z)\n y = Gemm<transB=1>(d, w)"


@pytest.mark.parametrize("turned", [False, True])
def test_integers_times_their_own_gate(turned: bool) -> None:
    """A SiLU or HardSwish behind a pool: the tensor is lifted, its gate kept, whatever the order."""
    operands = ", ".join(["gi, o, z", "ai, s, z"][:: -1 if turned else 1])
    model = quantized(
        f"g = Sigmoid(a)\n gi = QuantizeLinear(g, o, z)\n m = com.microsoft.QLinearMul({operands}, t, z)\n {BACK}"
    )
    check(model, chain(dense(V), lambda z: z * sigmoid(pooled(z)), dense(W)))


def test_integers_times_fixed_integers() -> None:
    model = quantized(
        f"m = com.microsoft.QLinearMul(ai, s, z, k8, ks, z, n, z)\n {BACK.replace('t, z', 'n, z')}",
        k8=to_integers(FACTOR.reshape(1, 6), 0.03),
        ks=np.float32(0.03),
        n=np.float32(0.015),
    )
    check(model, chain(dense(V), lambda cells: cells * FACTOR[:, None, None].astype(np.float64), dense(W)))


def test_two_tensors_of_integers_that_are_alike() -> None:
    """Each is kept in turn, half and half."""

    def halves(x: np.ndarray) -> np.ndarray:
        a, c = dense(V)(x), dense(U)(x)
        return dense(W)((a * pooled(c) + c * pooled(a)) / 2)

    body = f"m = com.microsoft.QLinearMul(ai, s, z, ci, t, z, n, z)\n {BACK.replace('t, z', 'n, z')}"
    check(quantized(body, n=np.float32(0.002)), halves)


def test_product_that_its_range_cuts_off() -> None:
    """A range of 127 steps of 0.0005: what lies beyond is cut off every cell in proportion."""
    model = quantized(
        "m = com.microsoft.QLinearMul(ai, s, z, k8, ks, z, n, z)\n d = DequantizeLinear(m, n, z)\n"
        " y = Gemm<transB=1>(d, w)",
        k8=to_integers(FACTOR.reshape(1, 6), 0.03),
        ks=np.float32(0.03),
        n=np.float32(0.0005),
    )

    def cut(cells: np.ndarray) -> np.ndarray:
        t = pooled(cells)
        return cells * np.clip(t, -128 * 0.0005, 127 * 0.0005) / t

    check(model, chain(dense(V), lambda z: z * FACTOR[:, None, None].astype(np.float64), cut, dense(W)))


@pytest.mark.parametrize(
    ("operator", "phi", "scale"),
    [
        ("QLinearLeakyRelu<alpha=0.2>", lambda z: np.where(z > 0, z, 0.2 * z), "t"),
        ("QLinearSigmoid", sigmoid, "h"),
    ],
)
def test_activation_of_integers(operator: str, phi: Head, scale: str) -> None:
    model = quantized(
        f"m = com.microsoft.{operator}(ai, s, z, {scale}, z)\n d = DequantizeLinear(m, {scale}, z)\n"
        " y = Gemm<transB=1>(d, w)",
        h=np.float32(1 / 127),
    )
    check(model, chain(dense(V), frozen(phi), dense(W)))


def test_softmax_of_integers_within_a_head() -> None:
    """By its slopes at the pooled value, as that of real numbers."""
    model = quantized(
        "m = com.microsoft.QLinearSoftmax<axis=1, opset=13>(ai, s, z, h, l)\n d = DequantizeLinear(m, h, l)\n"
        " y = Gemm<transB=1>(d, w)",
        h=np.float32(1 / 256),
        l=np.int8(-128),
    )

    def shares(cells: np.ndarray) -> np.ndarray:
        t = pooled(cells)
        share = np.exp(t) / np.exp(t).sum(axis=1, keepdims=True)
        away = cells - t
        return share + share * (away - (share * away).sum(axis=1, keepdims=True))

    check(model, chain(dense(V), shares, dense(W)))


K = weights(4, 3, 2, 2) / 2
FULL = weights(5, 4 * 12) / 5
BIAS = weights(5)


def flattened(layer: str, *, float_output: bool) -> onnx.ModelProto:
    end = "y = Identity(g)" if float_output else "y = DequantizeLinear(g, t, z)"
    init = {
        "k": K,
        "ms": np.float32(0.03),
        "t": np.float32(0.08),
        "z": np.int8(0),
        "w8": to_integers(FULL, 0.005),
        "wt8": to_integers(FULL.T, 0.005),
        "ws": np.float32(0.005),
        "b32": np.round(BIAS / (0.03 * 0.005)).astype(np.int32),
    }
    return text_model(
        f"m = Conv<strides=[2, 2]>(x, k)\n i = QuantizeLinear(m, ms, z)\n f = Flatten(i)\n g = {layer}\n {end}",
        x="float[N,3,6,8] x",
        domains='"com.microsoft" : 1',
        init=init,
    )


@pytest.mark.parametrize(
    ("layer", "float_output", "bias"),
    [
        ("com.microsoft.QGemm<transB=1>(f, ms, z, w8, ws, z, b32, t, z)", False, BIAS),
        ("com.microsoft.QGemm<transB=0>(f, ms, z, wt8, ws, z)", True, 0.0),
        ("com.microsoft.QGemm<transB=1>(f, ms, z, w8, ws, z, b32)", True, BIAS),
        ("QLinearMatMul(f, ms, z, wt8, ws, z, t, z)", False, 0.0),
    ],
)
def test_fully_connected_layer_of_a_flattened_map(layer: str, float_output: bool, bias: np.ndarray | float) -> None:
    """AlexNet's and VGG's classifier in QLinear operators: each cell by its own slice of the weights."""
    model = flattened(layer, float_output=float_output)
    made = rewrite(model, write=False)
    assert made.proof is not None
    assert made.proof.passed
    found = lift(model, images(model))
    head = found.rewrite.heads[0]
    assert (head.position_dependent, head.quantized) == (True, True)
    assert found.verdict == ("exact" if float_output else "conditional")
    integers = np.clip(np.round(found.features.astype(np.float64) / 0.03), -128, 127) * 0.03
    np.testing.assert_allclose(found.features, integers, atol=1e-6)
    slices = to_integers(FULL, 0.005).astype(np.float64).reshape(5, 4, 3, 4) * 0.005
    expected = 12 * np.einsum("kchw,nchw->nkhw", slices, integers) + np.reshape(bias, (1, -1, 1, 1))
    assert_close(found.grid, expected, 1e-4)


def test_a_window_between_pairs_is_flattened_like_any_map() -> None:
    """Static quantization puts a pair behind the AveragePool of a pyramid's bin, and behind its Flatten."""
    model = text_model(
        "m = Conv<strides=[2, 2]>(x, k)\n q = AveragePool<kernel_shape=[2, 2], strides=[1, 2]>(m)\n"
        " qi = QuantizeLinear(q, ms, z)\n d = DequantizeLinear(qi, ms, z)\n f = Flatten(d)\n y = Gemm<transB=1>(f, w)",
        x="float[N,3,6,8] x",
        init={"k": K, "ms": np.float32(0.03), "z": np.int8(0), "w": weights(5, 16)},
    )
    found = lift(model, images(model))
    assert found.rewrite.heads[0].position_dependent
    assert found.grid.shape[2:] == (2, 2)
    mean = found.grid.astype(np.float64).mean(axis=(2, 3))
    assert_close(mean.astype(np.float32), found.logits.astype(np.float64), 0.02)


@pytest.mark.parametrize(
    "last",
    [
        "y = com.microsoft.QGemm<transB=1>(j, s, z, wi, s, z)",
        "d = DequantizeLinear(j, s, z)\n y = Gemm<transB=1>(d, wide)",
    ],
    ids=["integers", "real numbers"],
)
def test_a_flattened_map_beside_a_pooled_one_in_integers_is_refused_by_name(last: str) -> None:
    """In real numbers it lifts; here the refusal says which operator put the two beside each other."""
    body = (
        "i = QuantizeLinear(x, s, z)\n g = Flatten(i)\n "
        f"j = com.microsoft.QLinearConcat<axis=1>(s, z, g, s, z, ai, s, z)\n {last}"
    )
    init = {"wide": weights(5, 96)} if "wide" in last else {"wi": np.ones((5, 96), np.int8)}
    model = quantized(body, **init)
    refused = check_refused(model, "flatten-head")
    assert "QLinearConcat" in refused.message
    assert "puts beside other numbers" in refused.message
