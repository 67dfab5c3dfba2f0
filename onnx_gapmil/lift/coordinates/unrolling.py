"""Bodies of Scan and Loop written out, one copy for each iteration, where the file fixes how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_gapmil.graph.subgraphs import bodies
from onnx_gapmil.graph.tensors import tensor_array

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Value = Callable[[str], np.ndarray | None]
    Shapes = Mapping[str, tuple[int, ...]]

#: What the nodes begin with that hand a state on to the next iteration; `carried_before` reads the rest.
CARRIED = "gapmil_carried"
_WRITTEN = "gapmil_unrolled"
#: A loop that would be longer is left as it is.
_MOST_NODES = 4096


def unrolled(node: onnx.NodeProto, value: Value, shapes: Shapes, opset: int, serial: str) -> Unrolled | None:
    """A Scan or Loop as plain nodes; None where the image decides how often it runs, or it runs too often.

    Args:
        node: the node.
        value: the fixed tensors around it, in the trace.
        shapes: traced shapes.
        opset: version of ONNX's operators.
        serial: tells the names of one loop from those of others.
    """
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Scan" and opset >= 9:
        return _scan(node, shapes, opset, serial)
    return _loop(node, value, opset, serial) if node.op_type == "Loop" else None


def carried_before(name: str) -> str | None:
    """Of the tensor that holds a state, the one that held it an iteration before; None for other tensors."""
    if not name.startswith(f"{CARRIED}/"):
        return None
    head, _, number = name.rpartition("/")
    return f"{head}/{int(number) - 1}" if int(number) > 0 else None


def is_written_out(name: str) -> bool:
    """Whether a tensor stands in an iteration that was written out."""
    return name.startswith(f"{_WRITTEN}/")


def is_counted(node: onnx.NodeProto, fixed: Callable[[str], bool]) -> bool:
    """Whether a Loop runs as often for every image of one size.

    Args:
        node: the Loop.
        fixed: whether a tensor around it is the same for all images; "" is one that is left out.
    """
    return all(fixed(name) for name in node.input[:2]) and _goes_on(next(iter(bodies(node))))


class Unrolled:
    """A loop that is being written out.

    Attributes:
        nodes: its nodes, in order.
        initializers: its constants.
    """

    def __init__(self, body: onnx.GraphProto, opset: int, serial: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._body, self._opset, self._serial = body, opset, serial
        self._shared = {tensor.name: self._name(tensor.name) for tensor in body.initializer}
        for tensor in body.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = self._shared[tensor.name]
            self.initializers.append(copy)

    def _name(self, *parts: object) -> str:
        return "/".join(map(str, (_WRITTEN, self._serial, *parts)))

    def constant(self, array: np.ndarray) -> str:
        """A new constant."""
        name = self._name("constant", len(self.initializers))
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attrs: object) -> str:
        """A new node."""
        self.nodes.append(helper.make_node(op, inputs, [output], **attrs))
        return output

    def iterate(self, number: int, inputs: list[str]) -> list[str]:
        """A copy of the body; the names of what it gives."""
        own = dict(self._shared)
        own |= {value.name: name for value, name in zip(self._body.input, inputs, strict=True)}
        for node in self._body.node:
            own |= {name: self._name(number, name) for name in node.output if name}
        for node in self._body.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = self._name(number, node.name) if node.name else ""
            copy.output[:] = [own.get(name, name) for name in node.output]
            _rename(copy, own)
            self.nodes.append(copy)
        return [own.get(value.name, value.name) for value in self._body.output]

    def carry(self, states: list[str], number: int) -> list[str]:
        """Hand states on to an iteration."""
        return [
            self.add("Identity", [state], f"{CARRIED}/{self._serial}/{place}/{number}")
            for place, state in enumerate(states)
        ]

    def unsqueezed(self, tensor: str, axis: int, *parts: object) -> str:
        """A new axis of extent 1."""
        output = self._name("unsqueezed", *parts)
        if self._opset >= 13:
            return self.add("Unsqueeze", [tensor, self.constant(np.array([axis], np.int64))], output)
        return self.add("Unsqueeze", [tensor], output, axes=[axis])

    def finish(self, outputs: list[str], given: list[str]) -> None:
        """Give results the names that they have outside."""
        for inner, outer in zip(given, outputs, strict=True):
            if outer:
                self.add("Identity", [inner], outer)


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Inputs of a node and of the bodies in it; a body may not hide a name of the graph around it."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for body in bodies(node):
        for inner in body.node:
            _rename(inner, names)
        for value in body.output:
            value.name = names.get(value.name, value.name)


def _attribute(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    return next((list(entry.ints) for entry in node.attribute if entry.name == name), default)


def _fits(body: onnx.GraphProto, count: int) -> bool:
    return count > 0 and count * len(body.node) <= _MOST_NODES


def _scan(node: onnx.NodeProto, shapes: Shapes, opset: int, serial: str) -> Unrolled | None:
    body = next(iter(bodies(node)))
    scanned = next(int(entry.i) for entry in node.attribute if entry.name == "num_scan_inputs")
    states, sources = list(node.input[: len(node.input) - scanned]), list(node.input[len(node.input) - scanned :])
    given = len(node.output) - len(states)
    axes = _attribute(node, "scan_input_axes", [0] * scanned)
    if not all(source in shapes for source in sources):
        return None
    axes = [axis % len(shapes[source]) for source, axis in zip(sources, axes, strict=True)]
    count = shapes[sources[0]][axes[0]]
    if not _fits(body, count):
        return None
    backwards = _attribute(node, "scan_input_directions", [0] * scanned)
    made = Unrolled(body, opset, serial)
    results: list[list[str]] = []
    for number in range(count):
        slices = []
        for place, (source, axis) in enumerate(zip(sources, axes, strict=True)):
            index = made.constant(np.asarray(count - 1 - number if backwards[place] else number, np.int64))
            output = f"{_WRITTEN}/{serial}/slice/{place}/{number}"
            slices.append(made.add("Gather", [source, index], output, axis=axis))
        found = made.iterate(number, [*made.carry(states, number), *slices])
        states = found[: len(states)]
        results.append(found[len(states) :])
    ends = _attribute(node, "scan_output_axes", [0] * given)
    turned = _attribute(node, "scan_output_directions", [0] * given)
    stacked = [
        _stacked(made, [found[place] for found in results][:: -1 if turned[place] else 1], ends[place], place)
        for place in range(given)
    ]
    made.finish(list(node.output), [*states, *stacked])
    return made


def _stacked(made: Unrolled, parts: list[str], axis: int, place: int) -> str:
    whole = [made.unsqueezed(part, axis, place, number) for number, part in enumerate(parts)]
    return made.add("Concat", whole, f"{whole[0]}/joined", axis=axis)


def _loop(node: onnx.NodeProto, value: Value, opset: int, serial: str) -> Unrolled | None:
    body = next(iter(bodies(node)))
    trips = value(node.input[0]) if node.input[0] else None
    condition = value(node.input[1]) if len(node.input) > 1 and node.input[1] else np.array(True)
    if trips is None or condition is None or not bool(condition.reshape(())) or not _goes_on(body):
        return None
    count = int(trips.reshape(()))
    if not _fits(body, count):
        return None
    made = Unrolled(body, opset, serial)
    states = list(node.input[2:])
    true = made.constant(np.array(True))
    results: list[list[str]] = []
    for number in range(count):
        own = made.constant(np.asarray(number, np.int64))
        found = made.iterate(number, [own, true, *made.carry(states, number)])[1:]
        states = found[: len(states)]
        results.append(found[len(states) :])
    stacked = [_stacked(made, [found[place] for found in results], 0, place) for place in range(len(results[0]))]
    made.finish(list(node.output), [*states, *stacked])
    return made


def _goes_on(body: onnx.GraphProto) -> bool:
    """Whether a Loop's own condition always holds: what it was given, or true."""
    makers = {name: node for node in body.node for name in node.output}
    constants = {tensor.name: tensor for tensor in body.initializer}
    name = body.output[0].name
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    if name == body.input[1].name:
        return True
    tensor = constants.get(name)
    if name in makers and makers[name].op_type == "Constant":
        tensor = next((entry.t for entry in makers[name].attribute if entry.name == "value"), None)
    return tensor is not None and bool(tensor_array(tensor).all())
