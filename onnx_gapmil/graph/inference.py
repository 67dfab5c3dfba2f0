"""Infer the shapes of a model's tensors for concrete inputs, without looking at any large weight.

onnx's own inference does not know what a reshape to a computed target makes; so what is computed from shapes is run,
by itself, on empty arrays of the shapes known so far, and inference goes on from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.shape_inference

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.tensors import is_external, tensor_bytes
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.inputs import InputShape
    from onnx_gapmil.graph.view import ModelGraph

#: Operators whose outputs are no tensors, or none whose shape is ever asked for.
NO_TENSORS = frozenset(
    {"ZipMap", "If", "Loop", "Scan", "Optional", "OptionalGetElement", "SplitToSequence", "StringSplit"}
)
#: Initializers up to this many bytes stay in the copy that shape inference sees (they may be shapes).
_SMALL = 4096
#: Inputs by whose values an operator's output shape is decided, by their places.
_SHAPE_INPUTS = {
    "CenterCropPad": (1,),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
_SAME_COUNT = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_DEFAULT_DOMAINS = frozenset({"", "ai.onnx"})


@dataclass(frozen=True)
class Inferred:
    """What inference found.

    Attributes:
        shapes: concrete shape by tensor.
        dtypes: element type by tensor.
        values: values of tensors that are computed from shapes.
    """

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]
    values: dict[str, np.ndarray] = field(default_factory=dict)


class ShapesUnknownError(Exception):
    """The shapes of a model cannot be inferred; says where inference ended."""


def infer(
    graph: ModelGraph,
    inputs: tuple[InputShape, ...],
    known: Mapping[str, np.ndarray] | None = None,
    *,
    strict: bool = False,
) -> Inferred:
    """Shapes and types by onnx's own inference.

    Args:
        graph: the model.
        inputs: its inputs with concrete shapes.
        known: values of tensors, by name, that take the place of the nodes that compute them.
        strict: raise where shapes contradict each other, instead of leaving them open.

    Raises:
        ShapesUnknownError: only if strict.
    """
    known = known or {}
    light = _without_weights(graph, inputs, known)
    try:
        result = onnx.shape_inference.infer_shapes(light, data_prop=True, strict_mode=strict)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError) as error:
        if strict:
            raise ShapesUnknownError(" ".join(str(error).split())) from error
        # What cannot be inferred is measured; inference only adds element types to the measurement.
        result = light
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, np.dtype] = {}
    for value in (*result.graph.value_info, *result.graph.input, *result.graph.output):
        kind = value.type.tensor_type
        if kind.elem_type and kind.elem_type != onnx.TensorProto.STRING:
            dtypes[value.name] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    for tensor in graph.weights:
        shapes[tensor.name] = tuple(tensor.dims)
        dtypes[tensor.name] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    for name, array in known.items():
        shapes[name], dtypes[name] = array.shape, array.dtype
    return Inferred(shapes, dtypes)


def infer_all(graph: ModelGraph, inputs: tuple[InputShape, ...]) -> Inferred:
    """The shape of every tensor that the outputs are made of; there is no answer in parts.

    Raises:
        ShapesUnknownError: the inputs do not fit the graph, or a shape stays open.
    """
    known = _fixed_shape_inputs(graph)
    while True:
        found = infer(graph, inputs, known, strict=True)
        new = _computed_values(graph, found, known)
        if not new:
            break
        known |= new
    _require_consistent(graph, found)
    _require_complete(graph, found)
    values = {name: array for name, array in known.items() if name in graph.shape_computed}
    return Inferred(found.shapes, found.dtypes, values)


def _without_weights(
    graph: ModelGraph, inputs: tuple[InputShape, ...], known: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """The model without its large weights: they are inputs of its graph, and known values are initializers."""
    source = graph.proto
    light = onnx.ModelProto()
    light.ir_version = max(source.ir_version, 8)  # before IR 4, initializers would have to be inputs as well
    light.opset_import.extend(source.opset_import)
    light.functions.extend(source.functions)
    light.graph.name = "light"
    for node in source.graph.node:
        large = next((tensor for tensor in _constant_tensors(node) if tensor_bytes(tensor) > _SMALL), None)
        # Weights in Constant nodes are set aside as initializers are.
        if large is not None:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(node.output[0], large.data_type, list(large.dims))
            )
        elif not node.output or not all(name in known for name in node.output if name):
            light.graph.node.append(node)
    made = {name for node in light.graph.node for name in node.output}
    for entry in inputs:
        kind = onnx.helper.np_dtype_to_tensor_dtype(entry.dtype)
        light.graph.input.append(onnx.helper.make_tensor_value_info(entry.name, kind, entry.traced))
    for tensor in graph.weights:
        if tensor.name in known:
            continue
        if not is_external(tensor) and tensor_bytes(tensor) <= _SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for name, array in known.items():
        if name not in made:
            light.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
    light.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in graph.outputs)
    return light


def _constant_tensors(node: onnx.NodeProto) -> list[onnx.TensorProto]:
    if node.op_type != "Constant" or node.domain not in _DEFAULT_DOMAINS:
        return []
    return [attribute.t for attribute in node.attribute if attribute.HasField("t")]


def _fixed_shape_inputs(graph: ModelGraph) -> dict[str, np.ndarray]:
    """Values of the constants by which shapes are decided: reshape targets, axes, ... wherever the file keeps them."""
    found: dict[str, np.ndarray] = {}
    for node in graph.proto.graph.node:
        if node.domain not in _DEFAULT_DOMAINS:
            continue
        # The axes of a reduction, an input from operator set 18 (ReduceSum: 13).
        places = (1,) if node.op_type.startswith("Reduce") else _SHAPE_INPUTS.get(node.op_type, ())
        for place in places:
            name = node.input[place] if place < len(node.input) else ""
            if name in graph.constants and name not in found and (value := graph.value(name)) is not None:
                found[name] = value
    return found


def _computed_values(graph: ModelGraph, found: Inferred, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of tensors that depend on shapes alone, as far as these shapes are known.

    Whatever such a node reads of a real tensor is its shape, so it is fed an array of that shape that nobody fills.
    """
    feeds: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    made: set[str] = set()
    targets: list[str] = []
    for node in graph.proto.graph.node:
        outputs = [name for name in node.output if name]
        if not outputs or outputs[0] not in graph.shape_computed or all(name in known for name in outputs):
            continue
        if node.domain not in _DEFAULT_DOMAINS or node.op_type in NO_TENSORS or "Sequence" in node.op_type:
            continue
        own = {name: _feed(graph, found, known, name) for name in node.input if name and name not in made}
        given = {name: array for name, array in own.items() if array is not None}
        if len(given) < len(own):
            continue
        feeds |= given
        nodes.append(node)
        made.update(outputs)
        targets += outputs
    if not nodes:
        return {}
    try:
        arrays = evaluate(nodes, feeds, targets, graph.proto.opset_import)
    except GapmilError as error:
        raise ShapesUnknownError(f"what it computes from shapes does not run: {error}") from error
    return dict(zip(targets, arrays, strict=True))


def _feed(graph: ModelGraph, found: Inferred, known: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    if name in known:
        return known[name]
    if name in graph.constants:
        return graph.value(name)
    if name in graph.shape_computed or name not in found.shapes:
        return None
    return np.zeros(found.shapes[name], dtype=found.dtypes.get(name, np.dtype(np.float32)))


def _require_consistent(graph: ModelGraph, found: Inferred) -> None:
    """What onnx's inference takes on trust: that reshapes keep the number of elements, and layers fit their inputs."""
    for node in graph.proto.graph.node:
        shapes = [found.shapes.get(name) for name in node.input]
        after = found.shapes.get(node.output[0]) if node.output else None
        if node.domain not in _DEFAULT_DOMAINS or not shapes or shapes[0] is None or after is None:
            continue
        # Wrong guesses of an open size show here first: the flattened map does not fit the layer.
        if node.op_type in _SAME_COUNT:
            fits = math.prod(shapes[0]) == math.prod(after)
        elif node.op_type == "Gemm" and shapes[1] is not None:
            turned = {attribute.name: attribute.i for attribute in node.attribute}
            fits = shapes[0][0 if turned.get("transA") else 1] == shapes[1][1 if turned.get("transB") else 0]
        elif node.op_type == "Conv" and shapes[1] is not None:
            groups = {attribute.name: attribute.i for attribute in node.attribute}.get("group", 1)
            fits = shapes[0][1] == shapes[1][1] * groups
        else:
            continue
        if not fits:
            raise ShapesUnknownError(f"{node.name or node.op_type} ({node.op_type}) cannot take {list(shapes[0])}")


def _require_complete(graph: ModelGraph, found: Inferred) -> None:
    """A head must not be searched with gaps: what is unknown could be what makes it another head."""
    makers = {name: node for node in graph.proto.graph.node for name in node.output if name}
    pending, needed = [value.name for value in graph.outputs], set[str]()
    while pending:
        name = pending.pop()
        if name not in needed and name in makers and name not in graph.constants:
            needed.add(name)
            pending.extend(read for read in makers[name].input if read)
    for node in graph.proto.graph.node:
        if node.op_type in NO_TENSORS or "Sequence" in node.op_type or node.domain == "ai.onnx.ml":
            continue
        if any(name in needed and name not in found.shapes for name in node.output):
            what = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise ShapesUnknownError(f"it is unknown what {node.name or 'a node'} ({what}) makes of its inputs")
