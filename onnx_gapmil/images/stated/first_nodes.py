"""What the graph's own first nodes say of the preprocessing, and what remains for the caller to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.tensors import tensor_array
from onnx_gapmil.images.stated.channels import Channels
from onnx_gapmil.images.stated.passing import pass_node, unread
from onnx_gapmil.images.stated.range import judged_range
from onnx_gapmil.images.stated.statement import Statement, order_of_means
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.images.input_spec import InputSpec

#: More elements than a mean image of 2048 x 2048 has are weights.
_LARGEST_CONSTANT = 1 << 24
#: Nodes that a constant is made of, at the most.
_LONGEST_CHAIN = 32
#: Nodes that are looked through from the input on, at the most.
_MOST_PASSED = 256
#: They take a part of the image, or add to it.
_CUTTING = frozenset({"Pad", "Slice", "Crop", "Upsample", "Resize"})
#: They read a size, not values.
_OF_SHAPE = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class FirstNodes:
    """What the graph does with its image before its trunk begins.

    Attributes:
        steps: the nodes, for people; empty where the image goes into the trunk as it is.
        statements: what follows from them for the caller.
        reverses: whether the order of three channels is turned round.
        note: what was found that says nothing for certain; "" where there is none.
        values: what they do to each channel: the factors, and what is then added; None where they do nothing.
        resizes_whole: whether they resize the whole image to one size, whatever its own.
    """

    steps: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    reverses: bool = False
    note: str = ""
    values: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    resizes_whole: bool = False

    @property
    def source(self) -> str:
        """For people: where the statements come from."""
        return named_steps(self.steps)


def named_steps(steps: tuple[str, ...]) -> str:
    """The first nodes for people."""
    shown = [step for step in steps if step]
    return f"the graph's own first nodes ({', '.join(shown[:8])}{', ...' if len(shown) > 8 else ''})"


def read_first_nodes(proto: onnx.ModelProto, spec: InputSpec, folder: Path | None = None) -> FirstNodes:
    """Follow the image through the nodes that only scale, shift, move, cut or resize it.

    Args:
        proto: the model; nothing in it is changed.
        spec: its image input, with the batch's axis.
        folder: where external data lies.
    """
    try:
        ends = _Walk(proto, spec, folder).ends()
    except GapmilError:  # a constant that cannot be read says nothing
        return FirstNodes()
    if not ends:
        return FirstNodes()
    first = ends[0]
    if any(not _agree(first, other) for other in ends[1:]):
        note = "Several parts of the graph begin with the image, each scaled in its own way."
        return FirstNodes(first.steps, note=note)
    if any(end.unread for end in ends):
        kind = next(end.unread for end in ends if end.unread)
        note = (
            f"The {kind} that reads the image has numbers that are not followed: what its integers mean is not known."
        )
        return FirstNodes(first.steps, note=note)
    return _said(_common(ends), spec, whole=all(_resizes_whole(end.steps) for end in ends))


def _said(found: Channels, spec: InputSpec, *, whole: bool) -> FirstNodes:
    source = named_steps(found.steps)
    statements: list[Statement] = []
    judged = judged_range(found, spec)
    if judged is not None:
        fields, says, why = judged.fields, judged.says, judged.why
        said_by = f"{source}, {why}" if why else source
        statements.append(Statement("values", fields, says, said_by, by_name=judged.by_name))
    if found.resized is not None:
        height, width = found.resized
        says = f"{width}x{height}"
        statements.append(Statement("size", {"size": found.resized}, says, f"{source}, which resize to it"))
    order = found.source[:3]
    reverses = order == (2, 1, 0)
    color = _order(found, reverses)
    if color is not None:
        means = ", whose means are ImageNet's in that order"
        statements.append(Statement("color", {"color": color}, color, source + means))
    note = ""
    if judged is None and found.changed:
        note = f"What values they expect does not follow from {source}."
    done = (tuple(found.scale.tolist()), tuple(found.shift.tolist())) if found.changed else None
    steps = tuple(step for step in found.steps if step)
    return FirstNodes(steps, tuple(statements), reverses, note, done, whole)


def _order(found: Channels, reverses: bool) -> str | None:
    """The order in which the caller gives the channels, by the means that are ImageNet's of red, green and blue."""
    if len(found.source) != 3 or set(found.source) != {0, 1, 2}:
        return None
    means = found.means if found.measured is None else found.measured
    inside = order_of_means(means.tolist())
    if inside is None:
        return None
    return {"RGB": "BGR", "BGR": "RGB"}[inside] if reverses else inside


def _agree(one: Channels, other: Channels) -> bool:
    same = len(one.source) == len(other.source) and one.source == other.source
    return same and np.allclose(one.scale, other.scale) and np.allclose(one.shift, other.shift)


def _common(ends: list[Channels]) -> Channels:
    """What all ways from the image into the network have in common: a gate's Clip or a thumbnail says nothing of it."""
    first, others = ends[0], ends[1:]
    limits = all(_same_numbers(first.limits, other.limits) for other in others)
    measured = all(_same_numbers(first.measured, other.measured) for other in others)
    resized = all(first.resized == other.resized for other in others)
    return replace(
        first,
        steps=tuple(step for step in first.steps if all(step in other.steps for other in others)),
        limits=first.limits if limits else None,
        measured=first.measured if measured else None,
        resized=first.resized if resized else None,
    )


def _same_numbers(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return np.allclose(np.array(one), np.array(other))


def _resizes_whole(steps: tuple[str, ...]) -> bool:
    steps = tuple(step for step in steps if step)
    resizing = next((place for place, step in enumerate(steps) if step.startswith("Resize to")), None)
    return resizing is not None and not any(step.split()[0] in _CUTTING for step in steps[:resizing])


class _Walk:
    """One walk from a model's image on."""

    def __init__(self, proto: onnx.ModelProto, spec: InputSpec, folder: Path | None) -> None:
        self._proto = _inlined(proto, spec.name)
        self._spec, self._folder = spec, folder
        self._initializers = {tensor.name: tensor for tensor in self._proto.graph.initializer}
        self._constants: dict[str, npt.NDArray[Any] | None] = {}

    def ends(self) -> list[Channels]:
        """What the nodes read that do more than scale, shift or move the image."""
        start = self._start()
        found = {self._spec.name: start} if start is not None else {}
        ends: list[Channels] = []
        passed = 0
        for node in self._proto.graph.node:
            read = {place: found[name] for place, name in enumerate(node.input) if name in found}
            if not read or node.op_type in _OF_SHAPE:
                continue
            passed += 1
            made = pass_node(node, read, self) if passed <= _MOST_PASSED else None
            if made is None:
                ends += [unread(node, channels, self) for channels in read.values()]
            else:
                found |= {node.output[place]: channels for place, channels in made.items()}
        return ends

    def _start(self) -> Channels | None:
        value = next((entry for entry in self._proto.graph.input if entry.name == self._spec.name), None)
        if value is None:
            return None
        rank = len(value.type.tensor_type.shape.dim)
        axis = (1 if self._spec.layout() == "NCHW" else 3) - (4 - rank)
        count = self._spec.channels()
        ones = np.ones(count)
        return Channels(axis, rank, tuple(range(count)), ones, np.zeros(count)) if axis >= 0 else None

    def __call__(self, name: str) -> npt.NDArray[Any] | None:
        """The value of a small constant tensor, through the nodes that make it; None where it is none."""
        if name not in self._constants:
            self._constants[name] = self._folded(name)
        return self._constants[name]

    def tail(self, name: str) -> npt.NDArray[Any] | None:
        """The value of a tensor, or of its last part where the first is the batch, as PyTorch writes it."""
        whole = self(name)
        place = self._producers.get(name)
        if whole is not None or place is None or self._proto.graph.node[place].op_type != "Concat":
            return whole
        return self(self._proto.graph.node[place].input[-1])

    def _folded(self, name: str) -> npt.NDArray[Any] | None:
        if name in self._initializers:
            return self._array(self._initializers[name])
        nodes = self._makers(name)
        if nodes is None:
            return None
        feeds = {}
        for read in {read for node in nodes for read in node.input if read in self._initializers}:
            array = self._array(self._initializers[read])
            if array is None:
                return None
            feeds[read] = array
        return evaluate(nodes, feeds, [name], self._proto.opset_import)[0]

    def _makers(self, name: str) -> list[onnx.NodeProto] | None:
        """The nodes that make a constant, in order; None where it is none, or made of too many."""
        wanted, chosen = {name}, dict[int, onnx.NodeProto]()
        while wanted:
            current = wanted.pop()
            place = self._producers.get(current)
            if place is None or len(chosen) >= _LONGEST_CHAIN:
                return None
            node = self._proto.graph.node[place]
            if any(entry.HasField("g") or entry.graphs for entry in node.attribute) or node.op_type.startswith(
                "Random"
            ):
                return None
            chosen[place] = node
            wanted |= {read for read in node.input if read and read not in self._initializers}
        return [chosen[place] for place in sorted(chosen)]

    @cached_property
    def _producers(self) -> dict[str, int]:
        return {name: place for place, node in enumerate(self._proto.graph.node) for name in node.output if name}

    def _array(self, tensor: onnx.TensorProto) -> npt.NDArray[Any] | None:
        if int(np.prod(tensor.dims, dtype=np.int64)) > _LARGEST_CONSTANT:
            return None
        return tensor_array(tensor, self._folder)


def _inlined(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with its local functions in place where one of them reads the image first (PyTorch's dynamo)."""
    functions = {(entry.domain, entry.name) for entry in proto.functions}
    if not any((node.domain, node.op_type) in functions for node in proto.graph.node if name in node.input):
        return proto
    try:
        from onnx.inliner import inline_local_functions

        return inline_local_functions(proto)
    except Exception:  # noqa: BLE001  # whatever it cannot do: the function then ends the walk
        return proto
