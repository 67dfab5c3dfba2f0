"""Arrays in and out of ONNX Runtime, bfloat16 beside a reader of its bits."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.values import dtype_name, to_numpy, to_ort_value


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("tensor(float)", "float32"),
        ("tensor(double)", "float64"),
        ("tensor(float16)", "float16"),
        ("tensor(bfloat16)", "bfloat16"),
        ("tensor(uint8)", "uint8"),
        ("tensor(int64)", "int64"),
    ],
)
def test_onnx_runtimes_names_for_types_are_numpys(told: str, expected: str) -> None:
    assert dtype_name(told) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, np.int64, np.bool_])
def test_what_numpy_knows_comes_back_as_it_was(dtype: type) -> None:
    array = (np.random.default_rng(0).standard_normal((2, 3, 4)) * 50).astype(dtype)
    back = to_numpy(to_ort_value(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    exact = np.array([[1.0, -2.5, 0.15625], [3.0e38, 1.0e-30, 0.0]], np.float32)
    array = exact.astype(ml_dtypes.bfloat16)
    value = to_ort_value(array)
    assert value.data_type() == "tensor(bfloat16)"
    assert tuple(value.shape()) == (2, 3)
    back = to_numpy(value)
    assert back.dtype == ml_dtypes.bfloat16
    bits = back.view(np.uint16).astype(np.uint32) << 16
    np.testing.assert_array_equal(bits.view(np.float32), array.astype(np.float32))


def test_a_session_reads_and_writes_bfloat16() -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["wide"], to=onnx.TensorProto.FLOAT)],
        "cast",
        [helper.make_tensor_value_info("x", onnx.TensorProto.BFLOAT16, [3])],
        [helper.make_tensor_value_info("wide", onnx.TensorProto.FLOAT, [3])],
    )
    session = cpu_session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), None)
    array = np.array([1.5, -0.25, 40.0], np.float32).astype(ml_dtypes.bfloat16)
    (found,) = session.run_with_ort_values(None, {"x": to_ort_value(array)})
    np.testing.assert_array_equal(to_numpy(found), [1.5, -0.25, 40.0])


def test_a_value_shares_the_arrays_memory() -> None:
    array = np.zeros(4, np.float32)
    value = to_ort_value(array)
    array[2] = 7.0
    np.testing.assert_array_equal(to_numpy(value), [0, 0, 7, 0])
