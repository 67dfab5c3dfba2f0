"""Arrays in and out of ONNX Runtime, bfloat16 included, which its NumPy bridge does not know."""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.ort.quiet import onnxruntime_module

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_NUMPY_NAMES = {"float": "float32", "double": "float64"}


def dtype_name(tensor_type: str) -> str:
    """Return NumPy's name for ONNX Runtime's: "float32" for "tensor(float)", "uint8" for "tensor(uint8)"."""
    inner = tensor_type.removeprefix("tensor(").removesuffix(")")
    return _NUMPY_NAMES.get(inner, inner)


def to_ort_value(array: npt.NDArray[Any], device: str = "cpu") -> Any:
    """Copy an array to `device` ("cpu" or "cuda") as an `OrtValue`; on the CPU it shares the array's memory.

    The array must be C-contiguous and outlive the value.
    """
    value_type = onnxruntime_module().OrtValue
    if array.dtype == _BFLOAT16:
        return value_type.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), onnx.TensorProto.BFLOAT16)
    return value_type.ortvalue_from_numpy(array, device, 0)


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """Copy an `OrtValue` in host memory to an array."""
    if value.data_type() != "tensor(bfloat16)":
        array: npt.NDArray[Any] = value.numpy()
        return array
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), int(np.prod(shape)) * _BFLOAT16.itemsize)
    return np.frombuffer(raw, _BFLOAT16).reshape(shape)
