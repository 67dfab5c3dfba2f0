"""Half precision for a measurement."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest

from onnx_gapmil.benchmarking import precision
from onnx_gapmil.benchmarking.precision import precision_of, to_half
from onnx_gapmil.errors import InputError
from tests.helpers.support import run, text_model, weights

BODY = "f = Conv(x, w)  r = Relu(f)  p = GlobalAveragePool(r)  q = Flatten(p)  y = Gemm<transB=1>(q, d)"


def model(dtype: type = np.float32, kind: str = "float") -> onnx.ModelProto:
    init = {"w": weights(4, 3, 1, 1, dtype=dtype), "d": weights(5, 4, dtype=dtype)}
    return text_model(BODY, x=f"{kind}[N,3,6,6] x", y=f"{kind}[N,5] y", init=init)


@pytest.mark.parametrize(
    ("dtype", "kind", "name"),
    [(np.float32, "float", "fp32"), (np.float16, "float16", "fp16"), (np.float64, "double", "fp64")],
)
def test_precision_is_what_most_weights_are(dtype: type, kind: str, name: str) -> None:
    assert precision_of(model(dtype, kind)) == name


def test_a_quantized_file_is_int8_although_its_scales_are_float() -> None:
    body = "v = DequantizeLinear(w, s, z)  f = Conv(x, v)  p = GlobalAveragePool(f)  y = Flatten(p)"
    init = {"w": np.ones((5, 3, 1, 1), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    assert precision_of(text_model(body, x="float[N,3,6,6] x", init=init)) == "int8"


def test_many_small_tensors_do_not_outvote_one_large_one() -> None:
    proto = model()
    for index in range(5):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.int8([1]), f"zero_point_{index}"))
    assert precision_of(proto) == "fp32"


def test_no_weights_are_fp32() -> None:
    assert precision_of(text_model("p = GlobalAveragePool(x)  y = Flatten(p)", y="float[N,6] y")) == "fp32"


def test_a_converted_model_is_half_from_input_to_output_and_computes_the_same() -> None:
    original = model()
    before = original.SerializeToString()
    half = to_half(original, None, "m")
    assert original.SerializeToString() == before
    assert precision_of(half) == "fp16"
    x = weights(2, 3, 6, 6)
    (whole,), (small,) = run(original, x), run(half, x.astype(np.float16))
    assert small.dtype == np.float16
    np.testing.assert_allclose(small.astype(np.float64), whole, atol=5e-3 * np.abs(whole).max())


def test_only_float32_is_converted() -> None:
    with pytest.raises(InputError, match=r"m is fp64, and only float32 models are converted"):
        to_half(model(np.float64, "double"), None, "m")


def test_a_missing_converter_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.transformers.float16", None)
    with pytest.raises(InputError, match=r"does not bring its converter .* export the model in float16"):
        to_half(model(), None, "m")


def test_a_converter_that_fails_is_said_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no kernel for Foo.")

    monkeypatch.setattr(precision, "_converter", lambda: broken)
    with pytest.raises(InputError, match=r"cannot convert m: no kernel for Foo; export"):
        to_half(model(), None, "m")


def test_weights_beyond_the_converters_reach_are_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_MOST_BYTES", 10)
    with pytest.raises(InputError, match="too many to convert in memory"):
        to_half(model(), None, "m")


def test_external_weights_come_along(tmp_path) -> None:
    original = model()
    whole = run(original, weights(2, 3, 6, 6))[0]
    onnx.save(original, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    bare = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    (small,) = run(to_half(bare, tmp_path, "m"), weights(2, 3, 6, 6).astype(np.float16))
    np.testing.assert_allclose(small.astype(np.float64), whole, atol=5e-3 * np.abs(whole).max())
