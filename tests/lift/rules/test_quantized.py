"""Quantized heads: integers stand for real numbers, and a range that may clip is a gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil.rewriting.proof.whole_model import prove
from onnx_gapmil.rewriting.record import HeadRecord
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import (
    Head,
    assert_close,
    chain,
    check_refused,
    dense,
    images,
    lift,
    pooled,
    rng,
    run,
    text_model,
    weights,
)

CONTRIB = '"com.microsoft" : 1'
POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)"
GEMM = "y = Gemm<transB=1>(d, w, b)"
W, B = weights(5, 6), weights(5)
STEP = 0.01
F32 = np.float32


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def to_integers(real: np.ndarray, step: Any, zero: Any, dtype: type) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.clip(np.round(real / step) + zero, limits.min, limits.max).astype(dtype)


def to_reals(integers: np.ndarray, step: Any, zero: Any = 0) -> np.ndarray:
    return (integers.astype(np.float64) - zero) * np.float64(step)


def rounded(step: float, zero: int, dtype: type) -> Head:
    """What comes back of a pooled value that was quantized."""
    return lambda values: to_reals(to_integers(values, step, zero, dtype), step, zero)


def clipped(low: float, high: float) -> Head:
    """``lift(z) * clip(z) / z`` at the pooled value."""

    def apply(cells: np.ndarray) -> np.ndarray:
        z = pooled(cells)
        return cells * np.clip(z, low, high) / z

    return apply


def qdq(data: str, result: str, scale: str = "s", zero: str = "z", suffix: str = "") -> str:
    return (
        f"{result}_i = QuantizeLinear{suffix}({data}, {scale}, {zero})\n"
        f" {result} = DequantizeLinear{suffix}({result}_i, {scale}, {zero})"
    )


def params(dtype: type = np.uint8, zero: int = 128, step: float = STEP, **more: Any) -> dict[str, np.ndarray]:
    return {"s": F32(step), "z": np.asarray(zero, dtype), "w": W, "b": B} | more


def gap(model: onnx.ModelProto, x: np.ndarray) -> tuple[HeadRecord, float]:
    """The head, and the largest |mean over cells - logits|."""
    rewritten = rewrite_model(model)
    head = rewritten.heads[0]
    logits, grid = (array.astype(np.float64) for array in run(rewritten.model, x, [head.logits, head.grid]))
    return head, float(np.abs(grid.mean(axis=(2, 3)) - logits).max())


def assert_holds_up_to_rounding(model: onnx.ModelProto, x: np.ndarray) -> HeadRecord:
    head, residual = gap(model, x)
    assert head.quantized
    assert head.rounding_bound is not None
    assert residual <= head.rounding_bound * (1 + 1e-5) + 1e-5
    return head


# --- quantize, dequantize ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "zero", "step"),
    [(np.uint8, 128, 0.01), (np.int8, 0, 0.01), (np.int8, -9, 0.02), (np.uint16, 32768, 1e-4), (np.int16, 5, 1e-4)],
)
def test_range_that_holds_the_image_changes_no_cell(dtype: type, zero: int, step: float) -> None:
    model = text_model(f"{POOL}\n {qdq('f', 'd')}\n {GEMM}", opset=21, ir=10, init=params(dtype, zero, step))
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"  # nothing proves that another image stays inside
    assert_close(found.grid, dense(W, B)(x.astype(np.float64)))
    assert_holds_up_to_rounding(model, x)


def test_range_from_zero_is_a_relu() -> None:
    """The trap: looked through, the grid would belong to a classifier that the model is not."""
    model = text_model(f"{POOL}\n {qdq('f', 'd')}\n {GEMM}", init=params(np.uint8, 0))
    x = images(model)
    negative = pooled(x) < -0.1
    assert 0 < negative.sum() < negative.size
    found = lift(model, x)
    assert found.verdict == "conditional"
    expected = chain(clipped(0, 2.55), dense(W, B))(x.astype(np.float64))
    assert_close(found.grid, expected)
    assert np.abs(expected - dense(W, B)(x.astype(np.float64))).max() > 1, "the Relu makes no difference here"
    assert_holds_up_to_rounding(model, x)


def test_values_above_the_range_saturate() -> None:
    model = text_model(f"{POOL}\n {qdq('f', 'd')}\n {GEMM}", init=params(np.uint8, 0))
    x = images(model) + F32(2.5)
    assert (pooled(x) > 2.55).any()
    found = lift(model, x)
    assert_close(found.grid, chain(clipped(0, 2.55), dense(W, B))(x.astype(np.float64)))
    assert_holds_up_to_rounding(model, x)


def test_pooled_value_of_exactly_zero_is_no_division_by_zero() -> None:
    model = text_model(f"{POOL}\n {qdq('f', 'd')}\n {GEMM}", init=params())
    x = np.zeros((2, 6, 3, 5), F32)
    x[:, :, 0, 0], x[:, :, 0, 1] = 1, -1
    assert_close(lift(model, x).grid, dense(W, B)(x.astype(np.float64)))


@pytest.mark.parametrize(
    ("before", "step", "dtype", "zero", "verdict"),
    [
        pytest.param("m = Clip(x, lo, six)", 6 / 255, np.uint8, 0, "exact", id="relu6"),
        pytest.param("m = Clip(x, lo, six)", 5 / 255, np.uint8, 0, "conditional", id="relu6_and_a_shorter_range"),
        pytest.param("m = Clip(x, lo, six)", 6 / 255, np.int8, -128, "exact", id="relu6_signed"),
        pytest.param("m = Clip(x, lo, six)", 6 / 255, np.int8, -127, "conditional", id="relu6_one_step_short"),
        pytest.param("m = Clip(x, lo)", 6 / 255, np.uint8, 0, "conditional", id="clip_without_an_upper_end"),
        pytest.param("m = Relu(x)", 6 / 255, np.uint8, 0, "conditional", id="relu"),
        pytest.param("m = Sigmoid(x)", 1 / 255, np.uint8, 0, "exact", id="sigmoid"),
        pytest.param("m = Tanh(x)", 1 / 255, np.uint8, 0, "conditional", id="tanh_is_not_positive"),
        pytest.param(qdq("x", "m", "s2", "z2"), 2.55 / 255, np.uint8, 0, "exact", id="dequantized"),
        pytest.param(qdq("x", "m", "s3", "z3"), 2.55 / 255, np.uint8, 0, "conditional", id="dequantized_signed"),
        pytest.param(
            qdq("x", "k", "s2", "z2") + "\n m = MaxPool<kernel_shape=[2, 2]>(k)",
            2.55 / 255,
            np.uint8,
            0,
            "exact",
            id="max_pool_of_dequantized",
        ),
        pytest.param("k = Relu(x)\n m = Neg(k)", 6 / 255, np.uint8, 0, "conditional", id="negated_relu"),
        pytest.param("k = Relu(x)\n m = Conv(k, c)", 6 / 255, np.uint8, 0, "conditional", id="convolution_since"),
    ],
)
def test_range_is_looked_through_only_where_it_provably_clips_nothing(
    before: str, step: float, dtype: type, zero: int, verdict: str
) -> None:
    more = {
        "lo": F32(0), "six": F32(6), "c": weights(6, 6, 1, 1),
        "s2": F32(0.01), "z2": np.uint8(0), "s3": F32(0.01), "z3": np.int8(0),
    }  # fmt: skip
    body = f"{before}\n p = GlobalAveragePool(m)\n f = Flatten(p)\n {qdq('f', 'd')}\n {GEMM}"
    model = text_model(body, init=params(dtype, zero, step, **more))
    x = images(model) * F32(2)
    found = lift(model, x)
    assert found.verdict == verdict
    low, high = (end * step for end in (np.iinfo(dtype).min - zero, np.iinfo(dtype).max - zero))
    expected = dense(W, B) if verdict == "exact" else chain(clipped(low, high), dense(W, B))
    assert_close(found.grid, expected(found.features.astype(np.float64)))
    assert_holds_up_to_rounding(model, x)


def test_dequantizing_by_another_scale_is_affine() -> None:
    model = text_model(
        f"{POOL}\n q = QuantizeLinear(f, s, z)\n d = DequantizeLinear(q, s2, z2)\n {GEMM}",
        init=params(s2=F32(0.05), z2=np.uint8(120)),
    )
    x = images(model)
    found = lift(model, x)
    expected = dense(W, B)(x.astype(np.float64) * 5 + 0.05 * 8)
    assert_close(found.grid, expected)
    head = assert_holds_up_to_rounding(model, x)
    assert head.rounding_bound == pytest.approx(np.abs(W).sum(axis=1).max() * 0.05 / 2)


@pytest.mark.parametrize("missing", ["both", "quantize", "dequantize"])
def test_missing_zero_point_is_zero(missing: str) -> None:
    first = "f, s" if missing in ("both", "quantize") else "f, s, z"
    second = "q, s" if missing in ("both", "dequantize") else "q, s, z"
    model = text_model(
        f"r = Clip(x, lo, six)\n p = GlobalAveragePool(r)\n f = Flatten(p)\n q = QuantizeLinear({first})\n"
        f" d = DequantizeLinear({second})\n {GEMM}",
        init=params(np.uint8, 0, 6 / 255, lo=F32(0), six=F32(6)),
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_close(found.grid, dense(W, B)(np.clip(x, 0, 6).astype(np.float64)))


def test_map_with_a_scale_for_each_channel_is_a_map_like_any_other() -> None:
    body = f"{qdq('x', 'm', 'sc', 'zc', '<axis=1>')}\n p = GlobalAveragePool(m)\n f = Flatten(p)"
    scales = np.linspace(0.02, 0.04, 6, dtype=F32)
    model = text_model(f"{body}\n {qdq('f', 'd')}\n {GEMM}", init=params(sc=scales, zc=np.arange(6, dtype=np.int8)))
    x = images(model)
    shape = (1, 6, 1, 1)
    real = to_reals(
        to_integers(x, scales.reshape(shape), np.arange(6).reshape(shape), np.int8),
        scales.reshape(shape),
        np.arange(6).reshape(shape),
    )
    assert_close(lift(model, x).grid, dense(W, B)(real))


def test_half_precision_around_the_integers() -> None:
    model = text_model(
        f"{POOL}\n {qdq('f', 'd')}\n {GEMM}",
        x="float16[N,6,3,5] x",
        y="float16[N,5] y",
        opset=19,
        ir=9,
        init={"s": np.float16(STEP), "z": np.uint8(0), "w": W.astype(np.float16), "b": B.astype(np.float16)},
    )
    x = images(model)
    found = lift(model, x)
    assert found.grid.dtype == np.float16
    assert_close(found.grid, chain(clipped(0, 2.55), dense(W, B))(x.astype(np.float64)), 5e-3)


def test_half_precision_and_a_range_beyond_it() -> None:
    model = text_model(
        f"{POOL}\n {qdq('f', 'd')}\n {GEMM}",
        x="float16[N,6,3,5] x",
        y="float16[N,5] y",
        opset=21,
        ir=10,
        init={"s": np.float16(10), "z": np.uint16(0), "w": W.astype(np.float16), "b": B.astype(np.float16)},
    )
    x = images(model, low=100)
    assert_close(lift(model, x).grid, dense(W, B)(x.astype(np.float64)), 5e-3)


W8 = to_integers(W, 0.02, 0, np.int8)
CHANNEL_STEPS = np.linspace(0.01, 0.03, 5, dtype=F32)
W8C = to_integers(W, CHANNEL_STEPS[:, None], 0, np.int8)
B32 = np.arange(-200, 300, 100, dtype=np.int32)
BOUT = {"s2": F32(0.1), "z2": np.uint8(100)}


@pytest.mark.parametrize(
    ("body", "init", "weight"),
    [
        pytest.param(
            "v = DequantizeLinear<axis=0>(w8, ws, wz)\n a = DequantizeLinear(b8, bs)\n g = Gemm<transB=1>(d, v, a)",
            {"w8": W8C, "ws": CHANNEL_STEPS, "wz": np.zeros(5, np.int8)},
            to_reals(W8C, CHANNEL_STEPS[:, None]),
            id="gemm_per_channel",
        ),
        pytest.param(
            "v = DequantizeLinear<axis=1>(w8, ws, wz)\n m = MatMul(d, v)\n"
            " a = DequantizeLinear(b8, bs)\n g = Add(m, a)",
            {"w8": W8C.T.copy(), "ws": CHANNEL_STEPS, "wz": np.zeros(5, np.int8)},
            to_reals(W8C, CHANNEL_STEPS[:, None]),
            id="matmul_add_per_channel",
        ),
        pytest.param(
            "v = DequantizeLinear(w8, ws, wz)\n a = DequantizeLinear(b8, bs)\n m = Reshape(d, map)\n"
            " c = Conv(m, v, a)\n g = Flatten(c)",
            {"w8": np.clip(W8.astype(int) + 100, 0, 255).astype(np.uint8).reshape(5, 6, 1, 1), "ws": F32(0.02),
             "wz": np.uint8(100), "map": ints(0, 6, 1, 1)},
            to_reals(np.clip(W8.astype(int) + 100, 0, 255), 0.02, 100),
            id="convolution_with_unsigned_weights",
        ),
    ],
)  # fmt: skip
def test_whole_head_between_pairs(body: str, init: dict[str, np.ndarray], weight: np.ndarray) -> None:
    model = text_model(
        f"{POOL}\n {qdq('f', 'd')}\n {body}\n {qdq('g', 'y', 's2', 'z2')}",
        init=params(b8=B32, bs=F32(0.001)) | BOUT | init,
    )
    x = images(model)
    found = lift(model, x)
    bias = to_reals(B32, 0.001)
    expected = chain(dense(weight, bias), clipped(-10, 15.5))(x.astype(np.float64))
    assert_close(found.grid, expected)
    head = assert_holds_up_to_rounding(model, x)
    assert head.rounding_bound == pytest.approx(np.abs(weight).sum(axis=1).max() * STEP / 2 + 0.05, rel=1e-5)


# --- integer operators ---------------------------------------------------------------------------------------------

MAP = "xi = QuantizeLinear(x, s, z)\n"
QGAP = f"{MAP} pi = com.microsoft.QLinearGlobalAveragePool(xi, s, z, ps, pz)\n fi = Flatten(pi)\n"
#: Scales: of the map, of the pooled tensor, of the weights, of the result.
SCALES = {"ps": F32(0.012), "pz": np.uint8(125), "ws": F32(0.02), "wz": np.int8(0), "b8": B32} | BOUT


@pytest.mark.parametrize(
    ("body", "init", "weight", "bias"),
    [
        pytest.param(
            "gi = com.microsoft.QGemm<transB=1>(fi, ps, pz, w8, ws, wz, b8, s2, z2)\n y = DequantizeLinear(gi, s2, z2)",
            {"w8": W8}, to_reals(W8, 0.02), to_reals(B32, 0.012 * 0.02), id="qgemm",
        ),
        pytest.param(
            "y = com.microsoft.QGemm<transB=1>(fi, ps, pz, w8, ws, wz, b8)",
            {"w8": W8}, to_reals(W8, 0.02), to_reals(B32, 0.012 * 0.02), id="qgemm_to_float",
        ),
        pytest.param(
            "y = com.microsoft.QGemm<transB=0>(fi, ps, pz, w8, ws, wz)",
            {"w8": W8.T.copy()}, to_reals(W8, 0.02), 0.0, id="qgemm_untransposed_without_bias",
        ),
        pytest.param(
            "y = com.microsoft.QGemm<transB=1>(fi, ps, pz, w8, ws, wz, b8)",
            {"w8": W8C, "ws": CHANNEL_STEPS, "wz": np.zeros(5, np.int8)},
            to_reals(W8C, CHANNEL_STEPS[:, None]), to_reals(B32, 0.012 * CHANNEL_STEPS.astype(float)),
            id="qgemm_per_channel",
        ),
        pytest.param(
            "gi = QLinearMatMul(fi, ps, pz, w8, ws, wz, s2, z2)\n y = DequantizeLinear(gi, s2, z2)",
            {"w8": W8.T.copy()}, to_reals(W8, 0.02), 0.0, id="qlinear_matmul",
        ),
        pytest.param(
            "ci = QLinearConv(pi, ps, pz, w8, ws, wz, s2, z2, b8)\n gi = Flatten(ci)\n"
            " y = DequantizeLinear(gi, s2, z2)",
            {"w8": W8.reshape(5, 6, 1, 1)}, to_reals(W8, 0.02), to_reals(B32, 0.012 * 0.02), id="qlinear_convolution",
        ),
        pytest.param(
            "gi = QLinearMatMul(fi, ps, pz, w8, ws, wz, s2, z2)\n"
            " ai = com.microsoft.QLinearAdd(gi, s2, z2, c8, s2, cz, s2, z2)\n y = DequantizeLinear(ai, s2, z2)",
            {"w8": W8.T.copy(), "c8": np.arange(5, dtype=np.uint8) + 10, "cz": np.uint8(9)},
            to_reals(W8, 0.02), to_reals(np.arange(5) + 10, 0.1, 9), id="qlinear_add_of_a_constant",
        ),
        pytest.param(
            "gi = QLinearMatMul(fi, ps, pz, w8, ws, wz, s2, z2)\n"
            " ai = com.microsoft.QLinearAdd(gi, s2, z2, gi, s4, z4, s5, z4)\n y = DequantizeLinear(ai, s5, z4)",
            {"w8": W8.T.copy(), "s4": F32(0.05), "z4": np.uint8(90), "s5": F32(0.2)},
            to_reals(W8, 0.02) * 1.5, 0.05 * (100 - 90), id="qlinear_add_of_one_tensor_read_by_two_scales",
        ),
        pytest.param(
            "y = com.microsoft.QGemm<transB=1>(fi, ws, z2, w8, ws, wz)",
            {"w8": W8}, to_reals(W8, 0.02) * 0.02 / 0.012,
            to_reals(W8, 0.02).sum(axis=1) * 0.02 * (125 - 100), id="qgemm_that_reads_by_another_scale",
        ),
    ],
)  # fmt: skip
def test_integer_operators(
    body: str, init: dict[str, np.ndarray], weight: np.ndarray, bias: np.ndarray | float
) -> None:
    model = text_model(f"{QGAP} {body}", domains=CONTRIB, init=params() | SCALES | init)
    x = images(model)
    found = lift(model, x)
    real = to_reals(to_integers(x, F32(STEP), 128, np.uint8), F32(STEP), 128)
    assert_close(found.features, real)
    assert_close(found.grid, dense(weight, bias)(real), 2e-5)
    assert_holds_up_to_rounding(model, x)


def test_qlinear_convolution_in_groups() -> None:
    w8 = to_integers(weights(4, 3), 0.02, 0, np.int8)
    model = text_model(
        f"{QGAP} ci = QLinearConv<group=2>(pi, ps, pz, w8, ws, wz, s2, z2)\n gi = Flatten(ci)\n"
        " y = DequantizeLinear(gi, s2, z2)",
        y="float[N,4] y",
        domains=CONTRIB,
        init=params() | SCALES | {"w8": w8.reshape(4, 3, 1, 1)},
    )
    x = images(model)
    found = lift(model, x)
    real = to_reals(to_integers(x, F32(STEP), 128, np.uint8), F32(STEP), 128)
    weight = np.zeros((4, 6))
    weight[:2, :3], weight[2:, 3:] = to_reals(w8[:2], 0.02), to_reals(w8[2:], 0.02)
    assert_close(found.grid, dense(weight)(real), 2e-5)


def test_average_pool_of_integers() -> None:
    model = text_model(
        f"{MAP} pi = com.microsoft.QLinearAveragePool<kernel_shape=[3, 5]>(xi, s, z, ps, pz)\n q = Flatten(pi)\n"
        f" d = DequantizeLinear(q, ps, pz)\n {GEMM}",
        domains=CONTRIB,
        init=params() | SCALES,
    )
    x = images(model)
    real = to_reals(to_integers(x, F32(STEP), 128, np.uint8), F32(STEP), 128)
    assert_close(lift(model, x).grid, dense(W, B)(real))
    assert_holds_up_to_rounding(model, x)


def test_pool_whose_result_saturates() -> None:
    """The map reaches 2.55, the pooled tensor 0.51."""
    model = text_model(
        f"{QGAP} d = DequantizeLinear(fi, ps, pz)\n {GEMM}",
        domains=CONTRIB,
        init=params(np.uint8, 0) | SCALES | {"ps": F32(0.002), "pz": np.uint8(0)},
    )
    x = images(model)
    real = to_reals(to_integers(x, F32(STEP), 0, np.uint8), F32(STEP), 0)
    assert (pooled(real) > 0.51).any()
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_close(found.grid, chain(clipped(0, 0.51), dense(W, B))(real))


def test_two_layers_with_a_deleted_relu_between_are_not_linear() -> None:
    """``QGemm, QGemm``: the first one's range starts at 0."""
    first, second = to_integers(weights(7, 6), 0.02, 0, np.int8), to_integers(weights(5, 7), 0.02, 0, np.int8)
    model = text_model(
        f"{QGAP} hi = com.microsoft.QGemm<transB=1>(fi, ps, pz, u8, ws, wz, a8, hs, hz)\n"
        " y = com.microsoft.QGemm<transB=1>(hi, hs, hz, v8, ws, wz, b8)",
        domains=CONTRIB,
        init=params() | SCALES | {"u8": first, "v8": second, "hs": F32(0.02), "hz": np.uint8(0),
                                  "a8": np.arange(7, dtype=np.int32) * 300 - 900},
    )  # fmt: skip
    x = images(model)
    real = to_reals(to_integers(x, F32(STEP), 128, np.uint8), F32(STEP), 128)
    t = rounded(0.012, 125, np.uint8)(pooled(real))
    layer = dense(to_reals(first, 0.02), to_reals(np.arange(7) * 300 - 900, 0.012 * 0.02))
    z = layer(t)
    assert (z < -0.1).any()
    share = np.clip(z, 0, 5.1) / z
    expected = dense(to_reals(second, 0.02), to_reals(B32, 0.02 * 0.02))(layer(real) * share)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_close(found.grid, expected, 1e-4)
    assert_holds_up_to_rounding(model, x)


@pytest.mark.parametrize(("step", "is_cut"), [(0.02, False), (0.001, True)])
def test_integers_side_by_side_by_a_scale_of_their_own(step: float, is_cut: bool) -> None:
    """One pooled tensor read by two scales; the second range ends within what is pooled."""
    w8 = to_integers(weights(5, 12), 0.02, 0, np.int8)
    model = text_model(
        f"{QGAP} ci = com.microsoft.QLinearConcat<axis=1>(cs, cz, fi, ps, pz, fi, hs, hz)\n"
        " y = com.microsoft.QGemm<transB=1>(ci, cs, cz, w8, ws, wz)",
        domains=CONTRIB,
        init=params()
        | SCALES
        | {"w8": w8, "cs": F32(step), "cz": np.uint8(128), "hs": F32(0.006), "hz": np.uint8(120)},
    )
    x = images(model)
    real = to_reals(to_integers(x, F32(STEP), 128, np.uint8), F32(STEP), 128)
    t = rounded(0.012, 125, np.uint8)(pooled(real))
    halves = [(values, values / 2 + 0.006 * (125 - 120)) for values in (real, t)]
    cells, z = (np.concatenate(parts, axis=1) for parts in halves)
    inside = np.clip(z, step * -128, step * 127)
    assert (inside != z).any() == is_cut
    found = lift(model, x)
    assert found.verdict == ("conditional" if is_cut else "exact")
    share = np.where(z == 0, 1, inside / np.where(z == 0, 1, z))
    assert_close(found.grid, dense(to_reals(w8, 0.02))(cells * share), 2e-5)
    assert_holds_up_to_rounding(model, x)


# --- ranges found at run time --------------------------------------------------------------------------------------

DYNAMIC = f"{POOL}\n q, qs, qz = DynamicQuantizeLinear(f)\n"


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param(
            f"{DYNAMIC} g = MatMulInteger(q, w8, qz, wz)\n h = Cast<to=1>(g)\n k = Mul(qs, ws)\n y = Mul(h, k)",
            {"w8": W8.T.copy()},
            id="matmul_integer",
        ),
        pytest.param(
            "p = GlobalAveragePool(x)\n q, qs, qz = DynamicQuantizeLinear(p)\n g = ConvInteger(q, w8, qz, wz)\n"
            " h = Cast<to=1>(g)\n k = Mul(ws, qs)\n m = Mul(h, k)\n y = Flatten(m)",
            {"w8": W8.reshape(5, 6, 1, 1)},
            id="convolution_integer",
        ),
        pytest.param(
            f"{POOL}\n y = com.microsoft.DynamicQuantizeMatMul(f, w8, ws, wz)", {"w8": W8.T.copy()}, id="fused"
        ),
    ],
)
def test_scale_found_at_run_time_cancels(body: str, init: dict[str, np.ndarray]) -> None:
    model = text_model(body, domains=CONTRIB, init={"ws": F32(0.02), "wz": np.int8(0)} | init)
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert found.rewrite.heads[0].rounding_bound is None
    assert_close(found.grid, dense(to_reals(W8, 0.02))(x.astype(np.float64)))
    mean = found.grid.mean(axis=(2, 3))
    assert_close(mean, found.logits.astype(np.float64), 0.02)


def test_bias_of_a_dynamically_quantized_layer() -> None:
    model = text_model(
        f"{POOL}\n y = com.microsoft.DynamicQuantizeMatMul(f, w8, ws, wz, b)",
        domains=CONTRIB,
        init=params(w8=W8C.T.copy(), ws=CHANNEL_STEPS, wz=np.zeros(5, np.int8)),
    )
    x = images(model)
    expected = dense(to_reals(W8C, CHANNEL_STEPS[:, None]), B)(x.astype(np.float64))
    assert_close(lift(model, x).grid, expected)


@pytest.mark.parametrize("zero", ["", "z5"])
def test_zero_point_that_was_not_quantized_with_is_refused(zero: str) -> None:
    operands = f"q, w8, {zero}" if zero else "q, w8"
    model = text_model(
        f"{DYNAMIC} g = MatMulInteger({operands})\n h = Cast<to=1>(g)\n k = Mul(qs, ws)\n y = Mul(h, k)",
        init={"w8": W8.T.copy(), "ws": F32(0.02), "z5": np.uint8(5)},
    )
    check_refused(model, "quantized-nonuniform", "'g'")


def test_integer_product_that_reads_by_another_zero_point() -> None:
    model = text_model(
        f"{POOL}\n q = QuantizeLinear(f, s, z)\n g = MatMulInteger(q, w8)\n h = Cast<to=1>(g)\n y = Mul(h, k)",
        init=params(w8=W8.T.copy(), k=F32(STEP * 0.02)),
    )
    x = images(model)
    expected = dense(to_reals(W8, 0.02))(x.astype(np.float64) + STEP * 128)
    assert_close(lift(model, x).grid, expected)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "more"),
    [
        pytest.param(
            f"{POOL}\n q = QuantizeLinear<axis=1>(f, sc, zc)\n d = DequantizeLinear<axis=1>(q, sc, zc)",
            {"sc": np.full(6, 0.01, F32), "zc": np.zeros(6, np.uint8)},
            id="a_scale_for_each_pooled_channel",
        ),
        pytest.param(
            "q = QuantizeLinear(x, s, z)\n m = MaxPool<kernel_shape=[3, 5]>(q)\n g = Flatten(m)\n"
            " d = DequantizeLinear(g, s, z)",
            {},
            id="pool_of_integers_by_a_float_operator",
        ),
        pytest.param(
            f"{DYNAMIC} q2 = DynamicQuantizeLinear(x)\n d = DequantizeLinear(q, s, qz)",
            {},
            id="dequantized_by_another_scale_than_was_found",
        ),
    ],
)
def test_integers_without_one_meaning_are_refused(body: str, more: dict[str, np.ndarray]) -> None:
    body = body.replace(" q2 = DynamicQuantizeLinear(x)\n", "")
    check_refused(text_model(f"{body}\n {GEMM}", init=params(**more)), "quantized-nonuniform")


def test_product_with_a_stack_of_matrices_is_refused() -> None:
    model = text_model(
        f"{QGAP} gi = QLinearMatMul(fi, ps, pz, w8, ws, wz, s2, z2)\n y = DequantizeLinear(gi, s2, z2)",
        x="float[1,6,3,5] x",
        y="float[1,1,6] y",
        domains=CONTRIB,
        init=params() | SCALES | {"w8": np.ones((1, 6, 6), np.int8)},
    )
    check_refused(model, "unknown-operator", "'gi'")


# --- the bound on rounding -----------------------------------------------------------------------------------------


def random_images(count: int, seed: int = 3) -> np.ndarray:
    generator = rng(seed)
    spread = generator.uniform(0.1, 3, (count, 1, 1, 1))
    return (generator.standard_normal((count, 6, 3, 5)) * spread + generator.normal(0, 0.5, (count, 6, 1, 1))).astype(
        F32
    )


def test_bound_holds_for_two_hundred_images_and_is_no_looser_than_it_must_be() -> None:
    model = text_model(f"{POOL}\n {qdq('f', 'd')}\n g = Gemm<transB=1>(d, w, b)\n {qdq('g', 'y', 's2', 'z2')}",
                       init=params() | BOUT)  # fmt: skip
    head, residual = gap(model, random_images(200))
    sharp = np.abs(W.astype(np.float64)).sum(axis=1).max() * STEP / 2 + 0.1 / 2
    assert head.rounding_bound is not None
    assert residual <= head.rounding_bound * (1 + 1e-5)
    assert sharp * 0.999 <= head.rounding_bound <= 3 * sharp
    assert residual >= head.rounding_bound / 10, "the bound says next to nothing"


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("gi = QLinearMatMul(fi, ps, pz, v8, ws, wz, s2, z2)\n"
                     " hi = QLinearMatMul(gi, s2, z2, v8, ws, wz, s2, z2)\n y = DequantizeLinear(hi, s2, z2)",
                     {"v8": to_integers(weights(6, 6), 0.02, 0, np.int8)},
                     id="two_layers"),
        pytest.param("d = DequantizeLinear(fi, ps, pz)\n m = Mul(d, k)\n e = Add(m, d)\n y = Div(e, k)",
                     {"k": np.linspace(0.5, 2, 6, dtype=F32)}, id="scaled_and_added"),
        pytest.param("d = DequantizeLinear(fi, ps, pz)\n u = DequantizeLinear(fi, k, pz)\n y = Concat<axis=1>(d, u)",
                     {"k": F32(0.5)}, id="read_by_two_scales"),
        pytest.param("d = DequantizeLinear(fi, ps, pz)\n y = Gather<axis=1>(d, order)",
                     {"order": ints(5, 1, 1, 3, 2, 0)}, id="reordered"),
    ],
)  # fmt: skip
def test_bound_holds_after_several_steps(body: str, init: dict[str, np.ndarray]) -> None:
    model = text_model(f"{QGAP} {body}", y="float[N,K] y", domains=CONTRIB, init=params() | SCALES | init)
    head, residual = gap(model, random_images(200))
    assert head.rounding_bound is None or residual <= head.rounding_bound * (1 + 1e-5) + 1e-5


@pytest.mark.parametrize(
    ("body", "init"),
    [
        pytest.param("y = BatchNormalization(d, f50, f0, f0, f1)", {}, id="batch_normalization"),
        pytest.param('y = Einsum<equation="nc,kc->nk">(d, v)', {}, id="einsum"),
        pytest.param("g = Mul(d, s)\n y = Gemm<transB=1>(d, v, g)", {}, id="gemm_and_a_fused_sum"),
        pytest.param(
            "m = Reshape(d, map)\n c = Conv<group=2>(m, cw)\n y = Flatten(c)",
            {"cw": weights(6, 3, 1, 1) * 10, "map": ints(0, 6, 1, 1)},
            id="grouped_convolution",
        ),
    ],
)
def test_bound_grows_with_what_multiplies_the_rounding(body: str, init: dict[str, np.ndarray]) -> None:
    """As many outputs as inputs: the bound of the inputs must not be taken for that of the outputs."""
    more = {"v": weights(6, 6) * 10, "f50": np.full(6, 50, F32), "f0": np.zeros(6, F32), "f1": np.ones(6, F32)}
    model = text_model(f"{POOL}\n {qdq('f', 'd')}\n {body}", y="float[N,6] y", init=params(step=0.05) | more | init)
    head, residual = gap(model, images(model))
    assert head.rounding_bound is None or residual <= head.rounding_bound * (1 + 1e-5) + 1e-5


def test_proof_fails_where_the_residual_exceeds_what_rounding_explains() -> None:
    """Within the tolerance of integers, but more than this head's scales can do."""
    model = text_model(f"{POOL}\n {qdq('f', 'd')}\n {GEMM}", init=params())
    rewritten = rewrite_model(model)
    honest = prove(rewritten.source, rewritten.model, rewritten.heads)
    assert honest.passed
    assert honest.rounding_bound["y"] == pytest.approx(np.abs(W).sum(axis=1).max() * STEP / 2)
    wrong = prove(rewritten.source, rewritten.model, [replace(rewritten.heads[0], rounding_bound=1e-4)])
    assert not wrong.passed
    assert [reason for reason in wrong.reasons() if "rounding" in reason and "'y'" in reason]


# --- at random -----------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.integers(0, 2**16),
    st.lists(st.sampled_from(["pair", "gemm", "pair_other", "qgemm", "relu", "scale"]), min_size=1, max_size=5),
    st.sampled_from([(np.uint8, 0), (np.uint8, 77), (np.int8, 0), (np.int8, -128)]),
)
def test_random_quantized_head_keeps_the_mean_within_its_bound(
    seed: int, steps: list[str], kind: tuple[type, int]
) -> None:
    generator = rng(seed)
    dtype, zero = kind
    lines, tensor = [POOL], "f"
    init: dict[str, np.ndarray] = {"z": np.asarray(zero, dtype), "wz": np.int8(0)}
    for place, step in enumerate([*steps, "pair"]):
        s, t = f"s{place}", f"t{place}"
        init[s] = F32(generator.uniform(0.01, 0.05))
        if step in ("pair", "qgemm", "pair_other"):
            lines.append(f"{t}i = QuantizeLinear({tensor}, {s}, z)")
        if step == "pair":
            lines.append(f"{t} = DequantizeLinear({t}i, {s}, z)")
        elif step == "pair_other":
            init[f"o{place}"] = F32(generator.uniform(0.01, 0.05))
            lines.append(f"{t} = DequantizeLinear({t}i, o{place}, z)")
        elif step == "qgemm":
            init[f"w{place}"] = generator.integers(-127, 128, (6, 6)).astype(np.int8)
            init[f"ws{place}"] = F32(0.005)
            lines.append(f"{t} = com.microsoft.QGemm<transB=1>({t}i, {s}, z, w{place}, ws{place}, wz)")
        elif step == "gemm":
            init[f"w{place}"] = generator.standard_normal((6, 6)).astype(F32)
            lines.append(f"{t} = Gemm({tensor}, w{place})")
        elif step == "relu":
            lines.append(f"{t} = Relu({tensor})")
        else:
            init[f"w{place}"] = generator.uniform(0.3, 3, 6).astype(F32)
            lines.append(f"{t} = Mul({tensor}, w{place})")
        tensor = t
    model = text_model("\n ".join([*lines, f"y = Neg({tensor})"]), y="float[N,6] y", domains=CONTRIB, init=init)
    x = random_images(6, seed)
    rewritten = rewrite_model(model)
    head = rewritten.heads[0]
    logits, grid = (array.astype(np.float64) for array in run(rewritten.model, x, [head.logits, head.grid]))
    assert np.isfinite(grid).all()
    residual, size = np.abs(grid.mean(axis=(2, 3)) - logits).max(), np.abs(grid).max()
    assert (head.rounding_bound is None) == ("relu" in steps[_first_rounding(steps) :])
    if head.rounding_bound is not None:
        assert residual <= head.rounding_bound * (1 + 1e-4) + 1e-5 * size


def _first_rounding(steps: list[str]) -> int:
    places = [place for place, step in enumerate(steps) if step in ("pair", "pair_other", "qgemm")]
    return places[0] if places else len(steps)
