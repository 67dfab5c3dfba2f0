"""Sparse weights (``SparseTensorProto``, of pruned networks): checked, and as the dense tensors that runtimes make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.tensors import MAX_RANK, tensor_array

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A sparse tensor is held densely by every runtime; more than fits into a protobuf file is a damaged or hostile one.
_MOST_BYTES = 2**31 - 1
_WIDEST_ITEM = 16
#: ONNX asks for 64 bits; ONNX Runtime saves its models with as few as the indices need.
_INDICES = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.INT32, onnx.TensorProto.INT64})


def attribute_tensors(node: onnx.NodeProto) -> Iterator[onnx.SparseTensorProto]:
    """The sparse tensors that a node holds: the ``sparse_value`` of a Constant."""
    for attribute in node.attribute:
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor
        yield from attribute.sparse_tensors


def check_sparse(tensor: onnx.SparseTensorProto, where: str) -> None:
    """Make sure that a sparse tensor can be written out; its values and indices are checked as tensors already.

    Args:
        tensor: the indices of its values are of one dimension (numbers in row-major order) or two (one row for each).
        where: the model's name.

    Raises:
        ModelError: naming the tensor, and what is wrong.
    """
    dims, name = list(tensor.dims), f"{where}: the sparse tensor '{tensor.values.name}'"
    if any(dim < 0 for dim in dims) or len(dims) > MAX_RANK or math.prod(dims) * _WIDEST_ITEM > _MOST_BYTES * 8:
        raise ModelError(f"{name} declares an absurd shape {dims}; the file is damaged.")
    count, shape = math.prod(tensor.values.dims), list(tensor.indices.dims)
    if list(tensor.values.dims) != [count] or shape not in ([count], [count, len(dims)]):
        raise ModelError(f"{name} of shape {dims} has {count:,} values and indices of shape {shape}; it is damaged.")
    if tensor.indices.data_type not in _INDICES:
        raise ModelError(f"{name} has indices that are no integers; the file is damaged.")


def dense_tensor(tensor: onnx.SparseTensorProto, folder: Path | None = None, name: str = "") -> onnx.TensorProto:
    """The same weight as an ordinary tensor.

    Args:
        tensor: of a model that was checked.
        folder: where its values lie if they are external.
        name: of the new tensor; that of its values if "".

    Raises:
        ModelError: an index lies outside of the tensor.
    """
    dims, name = tuple(tensor.dims), name or tensor.values.name
    values, indices = tensor_array(tensor.values, folder), tensor_array(tensor.indices, folder).astype(np.int64)
    bounds = np.asarray(dims if indices.ndim == 2 else [math.prod(dims)], np.int64)
    if indices.size and ((indices < 0).any() or (indices >= bounds).any()):
        raise ModelError(f"the sparse tensor '{name}' of shape {list(dims)} has an index outside of it; it is damaged.")
    places = np.ravel_multi_index(tuple(indices.T), dims) if indices.ndim == 2 and dims else indices.reshape(-1)
    array = np.zeros(math.prod(dims), values.dtype)
    array[places] = values
    return onnx.numpy_helper.from_array(array.reshape(dims), name)
