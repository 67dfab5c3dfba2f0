"""A model's inputs: what they declare, and concrete shapes and random values for them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx_gapmil.graph.view import ModelGraph

#: Heights and widths tried for inputs that leave them open, the commonest first. Files that leave a size open of which
#: only one fits (a 7x7 window and then a dense layer) run at multiples of their stride: 7 * 8 and 7 * 16.
OPEN_SIZES = ((224, 224), (256, 256), (299, 299), (64, 64), (48, 192), (32, 32), (512, 512), (56, 56), (112, 112))


@dataclass(frozen=True)
class InputShape:
    """One graph input as declared, and the shape that it was traced with.

    Attributes:
        name: the input.
        declared: one entry for each axis: a number, or a symbol (None where it has no name).
        traced: the concrete shape of the trace.
        dtype: element type as NumPy names it.
    """

    name: str
    declared: tuple[int | str | None, ...]
    traced: tuple[int, ...]
    dtype: np.dtype

    @property
    def batch_is_open(self) -> bool:
        """Whether the first axis is left open."""
        return bool(self.declared) and not isinstance(self.declared[0], int)

    @property
    def space_is_open(self) -> bool:
        """Whether any axis but the first is left open."""
        return any(not isinstance(dim, int) for dim in self.declared[1:])


def random_input(entry: InputShape, seed: int = 0) -> np.ndarray:
    """A random array for an input: standard normal floats, bytes over the whole range, small other integers.

    Returns:
        Array of shape ``entry.traced`` and dtype ``entry.dtype``.
    """
    generator = np.random.default_rng(seed)
    if entry.dtype.kind == "f" or entry.dtype.name == "bfloat16":
        return generator.standard_normal(entry.traced).astype(entry.dtype)
    if entry.dtype == np.uint8:
        return generator.integers(0, 256, entry.traced, dtype=np.uint8)
    if entry.dtype == np.int8:
        return generator.integers(-128, 128, entry.traced, dtype=np.int8)
    if entry.dtype == np.bool_:
        return np.ones(entry.traced, dtype=np.bool_)
    if entry.dtype.kind in "iu":
        return generator.integers(0, 2, entry.traced).astype(entry.dtype)
    raise ModelError(f"the input '{entry.name}' is of type {entry.dtype}; an image classifier takes numbers.")


def candidate_inputs(graph: ModelGraph) -> Iterator[tuple[InputShape, ...]]:
    """Concrete shapes to try for all inputs, most plausible first.

    Raises:
        ModelError: an input is no tensor or has no known rank.
    """
    declared = [_declared(value) for value in graph.inputs]
    if not declared:
        raise ModelError("the model has no input; it computes a constant.")
    open_batch = any(bool(dims) and not isinstance(dims[0], int) for _, dims, _ in declared)
    open_space = any(not isinstance(dim, int) for _, dims, _ in declared for dim in dims[1:])
    for size, batch in itertools.product(OPEN_SIZES if open_space else OPEN_SIZES[:1], (2, 1) if open_batch else (1,)):
        yield concrete_inputs(graph, batch, size)


def concrete_inputs(graph: ModelGraph, batch: int, size: tuple[int, int]) -> tuple[InputShape, ...]:
    """All inputs with their open axes filled in: the batch, and (height, width).

    Raises:
        ModelError: an input is no tensor or has no known rank.
    """
    return tuple(
        InputShape(name, dims, _photo(dims, size, dtype) or _concrete(dims, batch, size, last), dtype)
        for name, dims, dtype in (_declared(value) for value in graph.inputs)
        for last in (_channels_last(graph, name, dims),)
    )


def _declared(value: onnx.ValueInfoProto) -> tuple[str, tuple[int | str | None, ...], np.dtype]:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type == onnx.TensorProto.STRING or not kind.elem_type:
        raise ModelError(f"the input '{value.name}' is no numeric tensor, so this is no image classifier.")
    if not kind.HasField("shape"):
        raise ModelError(f"the input '{value.name}' does not declare its rank; export the model with an input shape.")
    dims = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else (dim.dim_param or None)
        for dim in kind.shape.dim
    )
    return value.name, dims, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))


def _channels_last(graph: ModelGraph, name: str, dims: tuple[int | str | None, ...]) -> bool:
    """Whether a rank-4 input is NHWC: by its declared sizes, else by what reads it first."""
    if len(dims) != 4:
        return False
    # Grey, colour, or colour and alpha.
    channels = (1, 3, 4)
    if dims[1] in channels or dims[3] in channels:
        return dims[1] not in channels
    # tf2onnx, Keras and jax2onnx keep the image in NHWC and begin with a Transpose.
    reader = next(iter(graph.consumers.get(name, ())), None)
    return reader is not None and reader.op == "Transpose"


def _photo(dims: tuple[int | str | None, ...], size: tuple[int, int], dtype: np.dtype) -> tuple[int, ...] | None:
    """One decoded photo of any size, (H, W, 3) uint8, to which the graph itself adds a batch; None for others."""
    if len(dims) != 3 or dtype != np.uint8 or dims[2] not in (1, 3, 4) or any(isinstance(dim, int) for dim in dims[:2]):
        return None
    return (*size, dims[2])


def _concrete(
    dims: tuple[int | str | None, ...], batch: int, size: tuple[int, int], channels_last: bool
) -> tuple[int, ...]:
    height, width = size
    defaults = {
        3: (batch, 3, height),
        4: (batch, height, width, 3) if channels_last else (batch, 3, height, width),
    }
    fallback = defaults.get(len(dims), (batch, *[height] * (len(dims) - 1)))
    return tuple(dim if isinstance(dim, int) else fallback[axis] for axis, dim in enumerate(dims))
