"""What stands in the bodies of If, Loop and Scan: the names that they capture, and random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.graph.tensors import tensor_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Value = Callable[[str], onnx.TensorProto | None]
    Functions = Mapping[tuple[str, str], onnx.FunctionProto]

#: Operators whose output is random: never a constant, even without inputs.
RANDOM_OPS = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The branches of an If, the body of a Loop or Scan."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def tensor_outputs(node: onnx.NodeProto) -> list[str]:
    """The outputs of an If, Loop or Scan that its bodies declare as tensors; none of another operator's."""
    if node.op_type not in ("If", "Loop", "Scan"):
        return []
    # A Loop's body gives first whether it goes on.
    skipped = int(node.op_type == "Loop")
    found = [[value.type.HasField("tensor_type") for value in body.output][skipped:] for body in bodies(node)]
    return [
        name
        for place, name in enumerate(node.output)
        if name and all(place < len(kinds) and kinds[place] for kinds in found)
    ]


def captured(node: onnx.NodeProto) -> list[str]:
    """The tensors of the graph outside that a node's bodies read, nested bodies included."""
    names: dict[str, None] = {}
    for body in bodies(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        own |= {name for inner in body.node for name in inner.output}
        read = [name for inner in body.node for name in (*inner.input, *captured(inner))]
        read += [value.name for value in body.output]
        names |= dict.fromkeys(name for name in read if name and name not in own)
    return list(names)


def random_within(node: onnx.NodeProto, value: Value, functions: Functions) -> str:
    """The operator that makes a node's output random or mixes the images of a batch; "" if there is none.

    Args:
        node: the node; its bodies, and that of the local function that it calls, are searched too.
        value: the constants around it by name, None for what is no constant.
        functions: the model's local functions, by domain and name.
    """
    called = functions.get((node.domain, node.op_type))
    if called is not None:
        others = {key: body for key, body in functions.items() if body is not called}  # none calls itself
        own = known({}, {name: part for part in called.node for name in part.output})
        return next(filter(None, (random_within(part, own, others) for part in called.node)), "")
    if node.op_type in RANDOM_OPS or _trains(node, value):
        return str(node.op_type)
    for body in bodies(node):
        inner = _seen_from(body, value)
        for part in body.node:
            if found := random_within(part, inner, functions):
                return found
    return ""


def _trains(node: onnx.NodeProto, value: Value) -> bool:
    """Whether a Dropout or BatchNormalization is in training mode, or may be."""
    if node.op_type == "BatchNormalization":
        return any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    # training_mode is an input from operator set 12; the Dropouts before have no such mode at run time.
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    mode = value(node.input[2])
    if mode is not None and not tensor_array(mode).any():
        return False
    # In training mode too, a Dropout that drops nothing changes nothing.
    ratio = value(node.input[1]) if node.input[1] else None
    return ratio is None or bool(tensor_array(ratio).any())


def _seen_from(body: onnx.GraphProto, value: Value) -> Value:
    """Constants by name as a body sees them: its own, then those around it."""
    own: dict[str, onnx.TensorProto | None] = dict.fromkeys(entry.name for entry in body.input)
    own |= {name: constant_of(node) for node in body.node for name in node.output}
    own |= {tensor.name: tensor for tensor in body.initializer}
    return lambda name: own[name] if name in own else value(name)


def constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor that a Constant node holds; None for every other node."""
    if node.op_type != "Constant":
        return None
    return next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)


def known(initializers: Mapping[str, onnx.TensorProto], makers: Mapping[str, onnx.NodeProto]) -> Value:
    """The constants of a graph by name: initializers and Constant nodes."""

    def value(name: str) -> onnx.TensorProto | None:
        if name in initializers:
            return initializers[name]
        return constant_of(makers[name]) if name in makers else None

    return value
