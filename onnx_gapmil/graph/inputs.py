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

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph

#: Heights and widths tried for inputs that leave them open, the commonest first. Files that leave a size open of which
#: only one fits (a 7x7 window and then a dense layer) run at multiples of their stride: 7 * 8 and 7 * 16.
OPEN_SIZES = ((224, 224), (256, 256), (299, 299), (64, 64), (48, 192), (32, 32), (512, 512), (56, 56), (112, 112))

#: Grey, colour, or colour and alpha.
_COLOURS = (1, 3, 4)
#: What looks at more than one pixel, or at none: an axis that is added behind it is no batch of the image.
_TRUNK = frozenset(
    {
        "AveragePool",
        "Conv",
        "ConvInteger",
        "Einsum",
        "GRU",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "LSTM",
        "MatMul",
        "MaxPool",
        "QLinearConv",
        "RNN",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Shape",
        "Size",
    }
)
#: So many tensors are looked through for the node that adds a batch.
_STEPS = 64


@dataclass(frozen=True)
class InputShape:
    """One graph input as declared, and the shape that it was traced with.

    Attributes:
        name: the input.
        declared: one entry for each axis: a number, or a symbol (None where it has no name).
        traced: the concrete shape of the trace.
        dtype: element type as NumPy names it.
        alone: whether it is one image, (H, W, C) or (C, H, W), to which the graph itself adds the batch; its first
            axis is then a place or the colours.
    """

    name: str
    declared: tuple[int | str | None, ...]
    traced: tuple[int, ...]
    dtype: np.dtype
    alone: bool = False

    @property
    def batch_is_open(self) -> bool:
        """Whether the batch is left open: the first axis, of what has one."""
        return bool(self.declared) and not self.alone and not isinstance(self.declared[0], int)

    @property
    def space_is_open(self) -> bool:
        """Whether any axis but the batch is left open."""
        return any(not isinstance(dim, int) for dim in self.declared[0 if self.alone else 1 :])


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
    declared = concrete_inputs(graph, 1, OPEN_SIZES[0])
    if not declared:
        raise ModelError("the model has no input; it computes a constant.")
    open_batch = any(entry.batch_is_open for entry in declared)
    open_space = any(entry.space_is_open for entry in declared)
    for size, batch in itertools.product(OPEN_SIZES if open_space else OPEN_SIZES[:1], (2, 1) if open_batch else (1,)):
        yield concrete_inputs(graph, batch, size)


def concrete_inputs(graph: ModelGraph, batch: int, size: tuple[int, int]) -> tuple[InputShape, ...]:
    """All inputs with their open axes filled in: the batch, and (height, width).

    Raises:
        ModelError: an input is no tensor or has no known rank.
    """
    return tuple(_concrete(graph, *_declared(value), batch, size) for value in graph.inputs)


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


def _concrete(
    graph: ModelGraph,
    name: str,
    dims: tuple[int | str | None, ...],
    dtype: np.dtype,
    batch: int,
    size: tuple[int, int],
) -> InputShape:
    height, width = size
    alone = _is_alone(graph, name, dims, dtype)
    image = (None, *dims) if alone else dims
    defaults = {
        3: (batch, 3, height),
        4: (batch, height, width, 3) if _channels_last(graph, name, image) else (batch, 3, height, width),
    }
    fallback = defaults.get(len(image), (batch, *[height] * (len(image) - 1)))[1 if alone else 0 :]
    traced = tuple(dim if isinstance(dim, int) else fallback[axis] for axis, dim in enumerate(dims))
    return InputShape(name, dims, traced, dtype, alone)


def _channels_last(graph: ModelGraph, name: str, dims: tuple[int | str | None, ...]) -> bool:
    """Whether a batch of images is NHWC: by its declared sizes, else by what reads it first."""
    if len(dims) != 4:
        return False
    if dims[1] in _COLOURS or dims[3] in _COLOURS:
        return dims[1] not in _COLOURS
    # tf2onnx, Keras and jax2onnx keep the image in NHWC and begin with a Transpose.
    reader = next(iter(graph.consumers.get(name, ())), None)
    return reader is not None and reader.op == "Transpose"


def _is_alone(graph: ModelGraph, name: str, dims: tuple[int | str | None, ...], dtype: np.dtype) -> bool:
    """Whether an input of three axes is one image, to which the graph adds a batch; a batch of signals has it."""
    if len(dims) != 3 or dims[0] == 1:
        return False
    # A decoded photo of any size: bytes, with colours last.
    if dtype == np.uint8 and dims[2] in _COLOURS and not any(isinstance(dim, int) for dim in dims[:2]):
        return True
    waiting, seen = [name], {name}
    while waiting:
        for node in graph.consumers.get(waiting.pop(), ()):
            # What precedes the batch is done pixel by pixel, or moves pixels: casts, scales, Transpose, Resize, Pad.
            if node.op in _TRUNK or len(seen) > _STEPS:
                continue
            if node.inputs[0].name in seen and _adds_batch(graph, node):
                return True
            found = [out.name for out in node.outputs if out.name and out.name not in seen]
            seen.update(found)
            waiting.extend(found)
    return False


def _adds_batch(graph: ModelGraph, node: gs.Node) -> bool:
    """Whether a node puts an axis of 1 before all others: Unsqueeze, or a Reshape to (1, ...) of four axes."""
    if node.op == "Unsqueeze":
        axes = node.attrs.get("axes")
        given = graph.value(node.inputs[1].name) if axes is None and len(node.inputs) > 1 else axes
        # From the end: one more axis than the image has.
        return given is not None and bool({0, -4} & {int(axis) for axis in np.ravel(given)})
    if node.op != "Reshape" or len(node.inputs) < 2:
        return False
    target = graph.value(node.inputs[1].name)
    if target is not None:
        return target.size == 4 and int(target[0]) == 1
    # Computed from the image's own size: PyTorch's legacy exporter, tf2onnx.
    made = graph.producer(node.inputs[1].name)
    if made is None or made.op != "Concat" or not made.inputs[0].name:
        return False
    first = graph.value(made.inputs[0].name)
    return first is not None and first.size > 0 and int(first[0]) == 1
