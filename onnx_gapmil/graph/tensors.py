"""The one reader of tensors: a damaged one is a sentence that names it, never what a library makes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

MAX_RANK = 32
"""Axes that a tensor may have; NumPy has 64 at the most, ONNX Runtime's kernels far fewer."""

MAX_ELEMENTS = 1 << 40
"""More elements than this in one declared tensor is a damaged or hostile file, not a classifier."""

#: Element types of this version of onnx, by name.
_TYPES = dict(onnx.TensorProto.DataType.items())
#: Bits of the element types of less than a byte, several of which share one.
_PACKED = {
    number: bits
    for bits, names in ((2, ("INT2", "UINT2")), (4, ("INT4", "UINT4", "FLOAT4E2M1")), (6, ("FLOAT6E2M3", "FLOAT6E3M2")))
    for number in (_TYPES.get(name) for name in names)
    if number is not None
}
_T = onnx.TensorProto
#: The field that holds values of a type where they are not raw; all others, of up to 32 bits, are in ``int32_data``.
_FIELDS = {
    _T.FLOAT: ("float_data", 1),
    _T.COMPLEX64: ("float_data", 2),
    _T.DOUBLE: ("double_data", 1),
    _T.COMPLEX128: ("double_data", 2),
    _T.INT64: ("int64_data", 1),
    _T.UINT32: ("uint64_data", 1),
    _T.UINT64: ("uint64_data", 1),
    _T.STRING: ("string_data", 1),
}


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """How many bytes a tensor's values take, by its declared shape and type; its values are not looked at.

    Raises:
        ModelError: ONNX has no such element type.
    """
    count = int(math.prod(tensor.dims))
    if (bits := _PACKED.get(tensor.data_type)) is not None:
        return -(-count * bits // 8)
    return count * _item_type(tensor).itemsize


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's values lie in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def check_tensor(tensor: onnx.TensorProto, where: str) -> None:
    """Make sure that a tensor's shape is sane and that it holds as many values as that shape says.

    Args:
        tensor: its values are not looked at.
        where: the model's name, and the node's if it is an attribute.

    Raises:
        ModelError: naming the tensor, and what is wrong.
    """
    dims = list(tensor.dims)
    name = f"{where}: the tensor '{tensor.name}'"
    if len(dims) > MAX_RANK:
        raise ModelError(f"{name} has {len(dims)} axes, more than {MAX_RANK}; the file is damaged.")
    if any(dim < 0 for dim in dims) or math.prod(dims) > MAX_ELEMENTS:
        raise ModelError(f"{name} declares an absurd shape {dims}; the file is damaged.")
    if tensor.HasField("segment"):
        raise ModelError(f"{name} is one segment of a larger one, which no runtime reads; export the model again.")
    if is_external(tensor):
        if tensor.data_type == onnx.TensorProto.STRING:
            raise ModelError(f"{name} holds text in another file, which no runtime reads; export the model again.")
        tensor_bytes(tensor)
        return
    if tensor.HasField("raw_data"):
        if tensor.data_type == onnx.TensorProto.STRING:
            raise ModelError(f"{name} holds text as raw bytes, which ONNX does not allow; the file is damaged.")
        if len(tensor.raw_data) != tensor_bytes(tensor):
            raise ModelError(
                f"{name} of shape {dims} has {len(tensor.raw_data):,} bytes, not {tensor_bytes(tensor):,}; the file is "
                "damaged."
            )
        return
    field, each = _FIELDS.get(tensor.data_type, ("int32_data", 1))
    count, held = math.prod(dims) * each, len(getattr(tensor, field))
    if tensor.data_type in _PACKED:  # one number holds a byte, or (older exporters) one value
        expected = {tensor_bytes(tensor), count}
    else:
        _item_type(tensor)
        expected = {count}
    if held not in expected:
        raise ModelError(f"{name} of shape {dims} has {held:,} values, not {count:,}; the file is damaged.")


def tensor_array(tensor: onnx.TensorProto, folder: Path | None = None) -> np.ndarray:
    """A tensor's values.

    Args:
        tensor: of a model that was checked.
        folder: where its values lie if they are external.

    Raises:
        ModelError: they cannot be read, or do not fit its shape.
    """
    base = str(folder) if folder is not None and is_external(tensor) else ""
    try:
        array: np.ndarray = onnx.numpy_helper.to_array(tensor, base_dir=base)
    except MemoryError:
        raise
    except Exception as error:  # the library's own errors are of any kind
        reason = str(error).splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
        raise ModelError(
            f"the tensor '{tensor.name}' of shape {list(tensor.dims)} cannot be read: {reason}; the file is damaged."
        ) from error
    return array


def _item_type(tensor: onnx.TensorProto) -> np.dtype:
    try:
        dtype: np.dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the tensor '{tensor.name}' is of the element type {tensor.data_type}, which ONNX does not have; the file "
            "is damaged."
        ) from error
    return dtype
