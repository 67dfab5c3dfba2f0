"""The walk: one recursive function with one invariant, *mean over cells of lift(t) = t*."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.lift.coordinates.scene import Scene
from onnx_gapmil.lift.lifted import MERGED, FeatureGrid, Lifted, Quantization
from onnx_gapmil.lift.looking import Looking
from onnx_gapmil.lift.verdict import ADVICE, HeadRefused, LiftStep, Readout, Refusal, StepKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph

    Rule = Callable[[gs.Node, "Lifting"], Lifted]

#: Operators between logits and pool; real heads have fewer than forty. The walk also looks into the trunk behind a
#: reduction, to see whether its input is pooled already, and must end there.
MAX_DEPTH = 120
#: Whose output (steps, directions, batch, channels) has a batch behind the first axis.
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


class Lifting(Looking):
    """One walk over one graph: asks rules for lifts, remembers them, and offers what rules need.

    Attributes:
        build: where new nodes go.
        readout: which grid is being built.
        rules: the lift rule of each operator, by (domain, operator type); "" is ONNX's own domain.
        frames_folded: by the name of a lift whose frames were made channels, the lift with them in its batch.
    """

    #: See `MAX_DEPTH`.
    max_depth = MAX_DEPTH

    def __init__(
        self,
        graph: ModelGraph,
        trace: Trace,
        build: GraphBuilder,
        readout: Readout,
        rules: Mapping[tuple[str, str], Rule],
    ) -> None:
        super().__init__(graph, trace)
        self.build = build
        self.readout = readout
        self.rules = rules
        self.frames_folded: dict[str, Lifted] = {}
        self._memo: dict[str, Lifted | Refusal] = {}
        self._stack: list[str] = []

    # --- the recursion ------------------------------------------------------------------------------------------

    def lift(self, tensor: str) -> Lifted:
        """The lift of a pooled tensor.

        Raises:
            HeadRefused: it has none; the refusal says where the walk ended.
        """
        found = self.try_lift(tensor)
        if isinstance(found, Refusal):
            raise HeadRefused(found)
        # PyTorch dynamo merges batch and channels around the Gather that it leaves of a channels-last map. Rules for
        # shapes ask try_lift and split them again; no other rule can tell the images apart.
        if found.batch_axis == MERGED and self._stack:
            node = self.graph.producer(self.output)
            raise self.refuse(
                "spatial-mixing-after-pool",
                node,
                "it works on a tensor whose batch and channels are one axis",
            )
        return found

    @property
    def output(self) -> str:
        """The tensor whose rule is running: which of the node's outputs is to be lifted."""
        return self._stack[-1]

    def try_lift(self, tensor: str) -> Lifted | Refusal:
        """The lift of a pooled tensor, or why it has none."""
        if tensor not in self._memo:
            self._stack.append(tensor)
            try:
                self._memo[tensor] = self._apply_rule(tensor)
            except HeadRefused as refused:
                walked = (self.describe(self.graph.producer(tensor)), *refused.refusal.walked)
                self._memo[tensor] = replace(refused.refusal, walked=walked)
            finally:
                self._stack.pop()
        return self._memo[tensor]

    def remember(self, tensor: str, lifted: Lifted) -> None:
        """Keep a lift that no rule made, so that its chain can be told."""
        self._memo[tensor] = lifted

    def chain(self, tensor: str) -> list[LiftStep]:
        """The steps from the pool to a lifted tensor, in the order of the graph."""
        steps: dict[str, LiftStep] = {}

        def visit(name: str) -> None:
            found = self._memo[name]
            if name in steps or isinstance(found, Refusal):
                return
            for parent in found.parents:
                visit(parent)
            steps[name] = found.step

        visit(tensor)
        return list(steps.values())

    def _apply_rule(self, tensor: str) -> Lifted:
        node = self.graph.producer(tensor)
        if node is None:
            raise self._reached_input(tensor)
        if len(self._stack) > self.max_depth:
            raise self.refuse(
                "head-too-deep", node, f"{self.max_depth} operators back from the logits there is still no pool"
            )
        # Saved by ONNX Runtime with ORT_ENABLE_ALL: the shape says NCHW, the memory holds blocks of channels.
        if "nchwc" in (node.domain or ""):
            raise self.refuse("blocked-layout", node, f"{node.op} works on a blocked channel layout (NCHWc)")
        # The default domain has two names.
        rule = self.rules.get(("" if node.domain in (None, "ai.onnx") else node.domain, node.op))
        if rule is None:
            raise self.no_rule(node)
        return rule(node, self)

    def _reached_input(self, tensor: str) -> HeadRefused:
        if tensor in self.graph.constants:
            return self.refuse_at(
                "side-input",
                f"constant '{tensor}'",
                f"a constant '{tensor}' takes part where a pooled tensor is expected",
            )
        several = len(self.graph.inputs) > 1
        code = "side-input" if several else "no-spatial-pool"
        where = f"input '{tensor}'"
        shape = self.trace.shapes.get(tensor, ())
        if not several and len(shape) <= 2:
            what = "one number" if not shape[1:] else f"{shape[1]} numbers"
            return self.refuse_at(
                "no-image", where, f"the {where} has {what} for each example, and no rows and columns"
            )
        return self.refuse_at(
            code,
            where,
            f"the walk back from the logits reached the {where} without meeting a pool over space",
        )

    # --- refusing -----------------------------------------------------------------------------------------------

    def refuse(self, code: str, node: gs.Node | None, message: str) -> HeadRefused:
        """A refusal at a node, to be raised."""
        return self.refuse_at(code, self.describe(node), f"{self.describe(node)}: {message}")

    def no_rule(self, node: gs.Node) -> HeadRefused:
        """The refusal for an operator without a rule: on a map it means that nothing pooled it before."""
        if random := self.graph.random_operator(node):
            within = "" if random == node.op else f" by {random} in its body"
            return self.refuse("random-head", node, f"it makes random numbers{within}")
        if node.op == "If" and node.inputs[0].name in self.graph.shape_computed:
            return self.refuse(
                "unknown-operator",
                node,
                "the size of the input decides which of its branches runs, and the file leaves that size open; export "
                "the model with a fixed one",
            )
        if node.op == "If" and not self.is_fixed(node.inputs[0].name):
            return self.refuse(
                "unknown-operator",
                node,
                "the image decides which of its branches runs, as of an early exit, so that there is no one head; "
                "export the branch that is meant",
            )
        shape = self.shape(node.outputs[0].name)
        wide = [dim for dim in shape[1:] if dim != 1]
        if len(shape) >= 3 and len(wide) >= 2 and node.op not in _RECURRENT:
            size = "x".join(str(dim) for dim in shape)
            return self.refuse(
                "no-spatial-pool",
                node,
                f"it makes a map of shape {size}, and nothing between it and the logits averages over space",
            )
        return self.refuse("unknown-operator", node, f"there is no lift rule for {self.operator(node)}")

    @staticmethod
    def refuse_at(code: str, where: str, message: str) -> HeadRefused:
        """A refusal at what is no node, to be raised."""
        return HeadRefused(Refusal(code, where, message, ADVICE[code]))

    @staticmethod
    def operator(node: gs.Node) -> str:
        """Operator type with its domain, if it is not ONNX's own."""
        return f"{node.domain}::{node.op}" if node.domain and node.domain != "ai.onnx" else str(node.op)

    def describe(self, node: gs.Node | None) -> str:
        """A node for messages: ``name (operator)``."""
        if node is None:
            return "graph input"
        return (
            f"{node.name} ({self.operator(node)})"
            if node.name
            else f"{self.operator(node)} making '{node.outputs[0].name}'"
        )

    # --- facts --------------------------------------------------------------------------------------------------

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Traced shape; refuses to go on without one."""
        if tensor not in self.trace.shapes:
            raise self.refuse_at(
                "unknown-operator", f"tensor '{tensor}'", f"the shape of '{tensor}' could not be traced"
            )
        return self.trace.shapes[tensor]

    def dtype(self, tensor: str, default: np.dtype) -> np.dtype:
        """Element type where inference knew it, else the type of the lift it comes from."""
        # onnx's inference has no schema of ONNX Runtime's own operators, so that nothing is known behind them.
        return self.trace.dtypes.get(tensor, default)

    def is_fixed(self, tensor: str) -> bool:
        """Whether a tensor is the same for all images of one size: a constant, or computed from shapes alone."""
        return tensor in self.graph.constants or tensor in self.graph.shape_computed

    def value(self, tensor: str) -> np.ndarray | None:
        """Value of a fixed tensor (in the trace, where it depends on the input's size); else None."""
        # Targets computed from a shape: PyTorch's legacy exporter and Keras, where the batch is open.
        if tensor in self.trace.values:
            return self.trace.values[tensor]
        return self.graph.value(tensor)

    def run_node(self, node: gs.Node, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run one node by the runtime's own semantics, its fixed inputs at their traced values."""
        try:
            return [Scene(self.graph, self.trace).run(node, feeds)]
        except LookupError as error:
            raise self.refuse("unknown-operator", node, str(error.args[0])) from error

    # --- results ------------------------------------------------------------------------------------------------

    def result(
        self,
        node: gs.Node,
        name: str,
        parents: Sequence[Lifted],
        kind: StepKind,
        detail: str,
        *,
        conditional: bool = False,
        batch_axis: int | None = 0,
        channels: int | None = None,
        dtype: np.dtype | None = None,
        quantization: Quantization | None = None,
        rounding: np.ndarray | None = None,
    ) -> Lifted:
        """The lift of a node's output, made of the lifts of its inputs.

        Refuses if the pooled tensor has another number of elements than the lift has channels: a wrong grid is worse
        than none.
        """
        tensor = self.output
        shape = self.shape(tensor)
        batch = parents[0].batch
        count = math.prod(shape) // batch
        misplaced = batch_axis is not None and batch_axis != MERGED and shape[batch_axis] != batch
        if misplaced or (channels is not None and channels != count):
            raise self.refuse(
                "spatial-mixing-after-pool",
                node,
                f"its output {list(shape)} is no rearrangement of pooled channels",
            )
        # Flatten or Reshape between QLinearGlobalAveragePool and QGemm only moves integers.
        if kind == "shape":
            quantization, dtype = parents[0].quantization, parents[0].dtype
        step = LiftStep(self.operator(node), node.name or "", tensor, shape, kind, conditional, detail)
        return Lifted(
            name=name,
            channels=count,
            shape=shape,
            batch_axis=batch_axis,
            batch=batch,
            features=self.merge_features(node, parents),
            dtype=dtype if dtype is not None else self.dtype(tensor, parents[0].dtype),
            conditional=conditional or any(parent.conditional for parent in parents),
            step=step,
            parents=tuple(parent.step.output for parent in parents),
            quantization=quantization,
            rounding=rounding if rounding is not None else _carried(parents, self.operator(node), kind, count),
        )

    def merge_features(self, node: gs.Node, parents: Sequence[Lifted]) -> tuple[FeatureGrid, ...]:
        """The distinct feature grids of several lifts; refuses if their sizes differ."""
        merged = tuple({grid.name: grid for parent in parents for grid in parent.features}.values())
        if len({grid.shape for grid in merged}) > 1:
            sizes = " and ".join("x".join(map(str, grid.shape)) for grid in merged)
            raise self.refuse("different-grids", node, f"it joins grids of {sizes} cells")
        return merged

    def per_cell(
        self,
        tensor: str,
        out_shape: tuple[int, ...],
        batch_axis: int | None,
        *,
        shape: tuple[int, ...] | None = None,
    ) -> str:
        """Bring an operand of a pooled tensor (a weight, a bias, a frozen pooled tensor) to (N or 1, C or 1, 1, 1).

        Args:
            tensor: the operand; broadcasts to ``out_shape`` by NumPy's rules.
            out_shape: traced shape of the pooled tensor that the operator makes.
            batch_axis: batch axis of that tensor.
            shape: shape of the operand, if it is a new tensor that was not traced.
        """
        own = shape if shape is not None else self.shape(tensor)
        # One number broadcasts as it is, in whatever of its spellings: (), (1,), (1, 1), (1, 1, 1, 1).
        if math.prod(own) == 1 and len(own) <= 4:
            return tensor
        aligned = (1,) * (len(out_shape) - len(own)) + own
        axis = batch_axis if batch_axis is not None else -1
        inner = [dim for place, dim in enumerate(aligned) if place != axis]
        full = [dim for place, dim in enumerate(out_shape) if place != axis]
        if inner != full and math.prod(inner) != 1:
            target = [1 if place == axis else dim for place, dim in enumerate(out_shape)]
            if self.graph.opset >= 8:
                tensor = self.build.node("Expand", [tensor, self.build.ints(target)])
            else:  # which has no Expand
                dtype = self.dtype(tensor, np.dtype(np.float32))
                tensor = self.build.node("Mul", [tensor, self.build.constant(np.ones(target, dtype))])
            inner, aligned = full, tuple(target if aligned[axis] == 1 or axis < 0 else out_shape)
        if axis > 0 and aligned[axis] != 1:
            order = [axis, *(place for place in range(len(out_shape)) if place != axis)]
            tensor = self.build.node("Transpose", [tensor], perm=order)
        return self.build.reshape(tensor, [-1, math.prod(inner), 1, 1])

    def scalar(self, value: float, dtype: np.dtype) -> str:
        """A scalar constant of an element type."""
        return self.build.constant(np.asarray(value, dtype=dtype))

    def clone(self, node: gs.Node, inputs: list[str], **attrs: Any) -> str:
        """The node's operator with all its attributes, on other inputs; for the instance readout."""
        return self.build.node(node.op, inputs, **{**node.attrs, **attrs})


#: Affine operators that hand on what was rounded before them as it is, or the sum of it.
_KEEP_ROUNDING = frozenset({"Add", "Cast", "DequantizeLinear", "Neg", "Sub", "Sum"})


def _carried(parents: Sequence[Lifted], operator: str, kind: StepKind, count: int) -> np.ndarray | None:
    """The rounding that a step hands on by itself: a shape keeps it, a sum adds it up, else no bound is known."""
    moved = [parent.rounding for parent in parents if parent.rounding is not None]
    if not moved:
        return None
    if (kind == "shape" or operator in _KEEP_ROUNDING) and all(len(part) == count for part in moved):
        return np.asarray(np.sum(moved, axis=0, dtype=np.float64))
    return np.full(count, np.inf)
