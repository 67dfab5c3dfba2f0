"""Pooled values of our own: the vendor's head recomputed, as far as it is needed, from a pool that is not the vendor's.

``value(t)`` is a tensor of the shape and value of the vendor's pooled tensor ``t``, made of maps and constants alone:
the mean over cells of its lift where that is the pool itself, and else the vendor's operator repeated on values of our
own. The runtime merges nodes that do the same with the same tensors; a pool of axes ``[3, 2]``, which no exporter
writes, is not the vendor's to it, and so nothing behind it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.graph.subgraphs import bodies
from onnx_gapmil.lift.frozen import unpooled
from onnx_gapmil.lift.lifted import MERGED
from onnx_gapmil.lift.lifting import MAX_DEPTH
from onnx_gapmil.lift.quantization import FLOAT, input_name
from onnx_gapmil.lift.tokens.walk import TokenWalk
from onnx_gapmil.lift.verdict import Refusal
from onnx_gapmil.rewriting.attachment.fences import fence
from onnx_gapmil.rewriting.attachment.rows import read_rows

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.tokens.program import Rounded

_QUANTIZES = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
#: Steps whose lift is a map in another shape, so that its mean costs less than to repeat them.
_OF_THE_POOL = frozenset({"pool", "flatten", "shape"})


class Values:
    """Pooled values of our own, each made once."""

    def __init__(self, walk: Lifting, maps: frozenset[str], *, sums: bool = False) -> None:
        """Nothing is made yet, but for a class token's rows.

        Args:
            walk: the walk.
            maps: what heads pool.
            sums: read a class token's row from the sums of the trunk's branches.
        """
        self._walk = walk
        self._build = walk.build
        self._maps = maps
        self._values: dict[str, str] = {}
        self._depth = 0
        if isinstance(walk, TokenWalk):
            self._values |= read_rows(walk, sums=sums)
            for row in walk.program.rows:  # first things first: a trunk is deeper than a stack
                if row not in self._values:
                    self._values[row] = self._of_row(walk, row)

    def value(self, tensor: str) -> str:
        """What to read in place of a vendor's tensor; itself where it is no pooled value, or cannot be recomputed."""
        if tensor not in self._values:
            if self._depth > MAX_DEPTH:
                return tensor
            self._depth += 1
            self._values[tensor] = self._make(tensor)
            self._depth -= 1
        return self._values[tensor]

    def _make(self, tensor: str) -> str:
        walk, node = self._walk, self._walk.graph.producer(tensor)
        if isinstance(walk, TokenWalk) and tensor in walk.program.selections:
            if tensor in walk.program.taken_integers:
                return tensor  # integers, which the token's row is not
            return self.value(walk.program.selections[tensor])
        if node is None or tensor in self._maps or walk.is_fixed(tensor):
            return tensor
        lifted = walk.try_lift(tensor)
        if isinstance(lifted, Refusal):
            # Attention over positions, a map that is weighed: the trunk's own.
            return tensor if unpooled(walk, tensor) is not None else self._repeated(node, tensor)
        # Integers of QLinear operators, which are fused no further.
        if lifted.quantization is not None and node.op not in _QUANTIZES:
            return tensor
        if lifted.step.kind in _OF_THE_POOL and lifted.quantization is None and not self._reads(lifted.name, tensor):
            return self._mean(lifted)
        return self._repeated(node, tensor)

    def _of_row(self, walk: TokenWalk, row: str) -> str:
        """A class token's row, which is no tensor of the vendor's: what attentions bring, or its operator repeated."""
        node = walk.graph.producer(row)
        assert node is not None  # noqa: S101 - rows are what the program's nodes make
        if row in walk.program.rounded:
            return self._rounded_row(walk.program.rounded[row], walk.dtype(row, FLOAT))
        if row not in walk.program.attended:
            return self._repeated(node, row)
        found, build = walk.program.attended[row], self._build
        weights = build.reshape(self.value(found.weights), [-1, found.groups, 1, found.tokens])
        values = build.reshape(self.value(found.values), [0, found.tokens, found.groups, found.channels])
        brought = build.node("MatMul", [weights, build.node("Transpose", [values], perm=[0, 2, 1, 3])])
        shape = walk.shape(row)
        return build.reshape(brought, [-1 if walk.batch_is_open else shape[0], *shape[1:]])

    def _rounded_row(self, found: Rounded, dtype: np.dtype) -> str:
        """``(clip(round(t / s) + z) - z) s`` in float arithmetic, as of a head's pairs (`_rounded`)."""
        build, step, zero = self._build, self.value(found.step), self.value(found.zero)
        integers = build.node("Round", [build.node("Div", [self.value(found.row), step])])
        low, high = (self._walk.scalar(float(end), dtype) for end in found.limits)
        inside = build.node("Min", [build.node("Max", [build.node("Add", [integers, zero]), low]), high])
        return build.node("Mul", [build.node("Sub", [inside, zero]), step])

    def _reads(self, name: str, tensor: str) -> bool:
        """Whether new nodes on the way to one tensor read another."""
        return tensor in self._build.needed([name])

    def _repeated(self, node: gs.Node, tensor: str) -> str:
        """The operator once more, on values of our own."""
        walk, build = self._walk, self._build
        if any(True for _ in bodies(walk.graph.node_proto(node))):
            return tensor  # a branch captures tensors by their names
        rounded = self._rounded(node) if node.op == "DequantizeLinear" else None
        if rounded is not None:
            return rounded
        inputs = []
        for read in (str(entry.name) for entry in node.inputs):
            own = self.value(read) if read else ""
            # On the vendor's own tensor it would be the vendor's own node again.
            is_vendors = bool(own) and own == read and not walk.is_fixed(read)
            inputs.append(fence(build, own, len(walk.shape(own))) if is_vendors else own)
        if node.op == "QuantizeLinear":
            # A zero point of the vendor's is turned from int8 to uint8 with the vendor's operators.
            inputs = [inputs[0], *(self._copied(name) for name in inputs[1:])]
        return build.repeat(node, inputs)[[out.name for out in node.outputs].index(tensor)]

    def _rounded(self, node: gs.Node) -> str | None:
        """``clip(round(x / s)) * s``: a vendor's pair in float arithmetic; None where it is no pair of one scale.

        OpenVINO merges the ranges of pairs that stand side by side: a second pair behind a Gemm of the same weights
        left the vendor's own output without its range, moved by 1.7 of its largest value. A rounded float is no pair.
        """
        walk, build = self._walk, self._build
        maker = walk.graph.producer(str(node.inputs[0].name))
        if build.graph.opset < 11 or maker is None or maker.op != "QuantizeLinear":
            return None  # Round is of operator set 11
        if walk.dtype(str(maker.inputs[0].name), FLOAT) != FLOAT:
            return None
        (step, zero), (back, other) = (
            (walk.value(input_name(end, 1)), walk.value(input_name(end, 2))) for end in (maker, node)
        )
        kind = walk.trace.dtypes.get(str(node.inputs[0].name), np.dtype(np.uint8))
        if step is None or back is None or step.size != 1 or back.size != 1 or kind.kind not in "iu":
            return None
        offsets = [0 if point is None else int(point.reshape(-1)[0]) for point in (zero, other) if _is_one(point)]
        if len(offsets) != 2 or offsets[0] != offsets[1] or step.dtype != FLOAT or back.dtype != FLOAT:
            return None
        limits = np.iinfo(kind)
        low, high = (walk.scalar(float(end - offsets[0]), FLOAT) for end in (limits.min, limits.max))
        own = self.value(str(maker.inputs[0].name))
        integers = build.node("Round", [build.node("Div", [own, walk.scalar(float(step.reshape(-1)[0]), FLOAT)])])
        inside = build.node("Min", [build.node("Max", [integers, low]), high])
        return build.node("Mul", [inside, walk.scalar(float(back.reshape(-1)[0]), FLOAT)])

    def _copied(self, name: str) -> str:
        value = self._walk.value(name) if name else None
        return name if value is None else self._build.constant(value)

    def _mean(self, lifted: Lifted) -> str:
        """The mean over cells of a lift, in the shape of the pooled tensor."""
        build, shape, axis = self._build, lifted.shape, lifted.batch_axis
        name = build.reduce("ReduceMean", lifted.name, [3, 2])
        if shape == (lifted.batch, lifted.channels, 1, 1) and axis in (0, None):
            return name
        if axis is None:
            return build.reshape(name, list(shape))
        if axis == MERGED:
            return build.reshape(name, [-1 if dim == math.prod(shape) else dim for dim in shape])
        inner = [dim for place, dim in enumerate(shape) if place != axis]
        name = build.reshape(name, [-1, *inner])
        order = [*range(1, axis + 1), 0, *range(axis + 1, len(shape))]
        return name if axis == 0 else build.node("Transpose", [name], perm=order)


def _is_one(point: np.ndarray | None) -> bool:
    """Whether a zero point is one number, or left out."""
    return point is None or point.size == 1
