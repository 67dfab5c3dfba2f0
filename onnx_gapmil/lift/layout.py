"""Which axis of a map is the batch, which holds channels, which are space: read off the operators that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph

Role = Literal["batch", "channel", "space"]

_CHANNELS_FIRST = frozenset(
    {
        "AveragePool",
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "FusedConv",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "LpPool",
        "MaxPool",
        "QLinearAveragePool",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "Upsample",
    }
)
_LAST_AXIS_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_SAME_RANK = frozenset({"CenterCropPad", "Concat", "Pad", "Resize", "Slice", "Split"})
_NO_PASS = frozenset({"MatMul", "Einsum", "GatherElements", "GatherND", "Gemm"})
_MAX_DEPTH = 150
#: Inputs with fewer rows or columns are feature maps, whose 3 or 4 in an axis says nothing about colours.
_SMALLEST_IMAGE = 8


class Layout:
    """Roles of axes, by walking back to the operators that fix them (a convolution, a dense layer, a norm)."""

    def __init__(self, graph: ModelGraph, trace: Trace) -> None:
        self._graph = graph
        self._trace = trace
        self._memo: dict[str, tuple[Role | None, ...]] = {}

    def roles(self, tensor: str, depth: int = 0) -> tuple[Role | None, ...]:
        """The role of each axis of a tensor; None where nothing tells."""
        if tensor not in self._memo:
            unknown: tuple[Role | None, ...] = (None,) * len(self._trace.shapes.get(tensor, ()))
            if depth > _MAX_DEPTH:
                return unknown
            self._memo[tensor] = unknown
            found = self._find(tensor, depth + 1)
            self._memo[tensor] = found if len(found) == len(unknown) else unknown
        return self._memo[tensor]

    def _find(self, tensor: str, depth: int) -> tuple[Role | None, ...]:
        shape = self._trace.shapes.get(tensor, ())
        node = self._graph.producer(tensor)
        if node is None:
            return _input_roles(shape) if tensor not in self._graph.constants else ()
        if node.op in _CHANNELS_FIRST and len(shape) >= 3:
            if node.attrs.get("channels_last", 0):
                return ("batch", *_space(len(shape) - 2), "channel")
            return ("batch", "channel", *_space(len(shape) - 2))
        if node.op in _LAST_AXIS_NORMS and int(node.attrs.get("axis", -1)) in (-1, len(shape) - 1):
            return (*self.roles(node.inputs[0].name, depth)[:-1], "channel")
        if node.op == "MatMul" and self._graph.constants.issuperset({node.inputs[1].name}) and len(shape) >= 2:
            before = self.roles(node.inputs[0].name, depth)
            return (*before[: len(shape) - 1], "channel")
        if node.op == "MatMul" and self._graph.constants.issuperset({node.inputs[0].name}):
            # A layer over tokens, or over the channels of (N, C, T): what lies along either axis is what it was.
            before = self.roles(node.inputs[1].name, depth)
            return before if len(before) == len(shape) else ()
        if node.op == "Transpose":
            before = self.roles(node.inputs[0].name, depth)
            order = node.attrs.get("perm", list(range(len(before)))[::-1])
            return tuple(before[axis] for axis in order) if len(before) == len(order) else ()
        if node.op in _RESHAPES:
            before_shape = self._trace.shapes.get(node.inputs[0].name, ())
            return regroup(self.roles(node.inputs[0].name, depth), before_shape, shape)
        if node.op in ("Compress", "Gather"):
            before = self.roles(node.inputs[0].name, depth)
            return before if len(before) == len(shape) else ()
        if node.op in _SAME_RANK:
            return self.roles(node.inputs[0].name, depth)
        return () if node.op in _NO_PASS else self._same_shape(node, shape, depth)

    def _same_shape(self, node: gs.Node, shape: tuple[int, ...], depth: int) -> tuple[Role | None, ...]:
        """Elementwise operators keep the roles of whichever operand has the output's shape and knows them."""
        for tensor in node.inputs:
            if (
                tensor.name
                and tensor.name not in self._graph.constants
                and self._trace.shapes.get(tensor.name) == shape
            ):
                roles = self.roles(tensor.name, depth)
                if any(role is not None for role in roles[1:]):
                    return roles
        return ()


def _space(count: int) -> tuple[Role, ...]:
    space: Role = "space"
    return (space,) * count


def _input_roles(shape: tuple[int, ...]) -> tuple[Role | None, ...]:
    if len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) >= _SMALLEST_IMAGE:
        return ("batch", "channel", "space", "space")
    if len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) >= _SMALLEST_IMAGE:
        return ("batch", "space", "space", "channel")
    return (None,) * len(shape)


def regroup(roles: tuple[Role | None, ...], before: tuple[int, ...], after: tuple[int, ...]) -> tuple[Role | None, ...]:
    """Roles after a reshape: axes that are split or merged keep their role where all of the group share it."""
    result: list[Role | None] = [None] * len(after)
    left = right = 0
    while left < len(before) or right < len(after):
        first, second = left, right
        have = want = 1
        while True:
            if have <= want and left < len(before):
                have, left = have * before[left], left + 1
            elif right < len(after):
                want, right = want * after[right], right + 1
            else:
                break
            if have == want and left > first and right > second:
                break
        if have != want:
            return tuple(result)
        group = {roles[axis] for axis in range(first, left) if before[axis] != 1}
        role = group.pop() if len(group) == 1 else None
        for axis in range(second, right):
            if after[axis] != 1:
                result[axis] = role
    return tuple(result)
