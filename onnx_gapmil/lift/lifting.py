"""The walk: one recursive function with one invariant, *mean over cells of lift(t) = t*."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.lift.coordinates.fields import MIXED, POOLED, is_number
from onnx_gapmil.lift.coordinates.judging import COLOURS, CellPlaces, places_of
from onnx_gapmil.lift.coordinates.looks import unfolded
from onnx_gapmil.lift.coordinates.preparing import plain
from onnx_gapmil.lift.coordinates.scene import Scene
from onnx_gapmil.lift.coordinates.tracing import trace_coordinates
from onnx_gapmil.lift.lifted import MERGED, FeatureGrid, Fold, Lifted, Quantization
from onnx_gapmil.lift.verdict import ADVICE, HeadRefused, LiftStep, Readout, Refusal, StepKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.lift.coordinates.looks import Key, Looks

    Rule = Callable[[gs.Node, "Lifting"], Lifted]

#: Operators between logits and pool; real heads have fewer than forty. The walk also looks into the trunk behind a
#: reduction, to see whether its input is pooled already, and must end there.
MAX_DEPTH = 120


class Lifting:
    """One walk over one graph: asks rules for lifts, remembers them, and offers what rules need.

    Attributes:
        graph: the vendor's graph.
        trace: its real shapes.
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
        self.graph = graph
        self.trace = trace
        self.build = build
        self.readout = readout
        self.rules = rules
        self.frames_folded: dict[str, Lifted] = {}
        self._memo: dict[str, Lifted | Refusal] = {}
        self._stack: list[str] = []

    @cached_property
    def coordinates(self) -> dict[str, Looks]:
        """Where the elements of every tensor of the vendor's graph look; traced when it is first asked for."""
        return trace_coordinates(*plain(self.graph, self.trace))

    def places(
        self, grid: str, axes: tuple[int, ...], size: tuple[int, ...], fold: Fold | None = None, suffix: int = 0
    ) -> CellPlaces:
        """Where the cells of a map look.

        Args:
            grid: the vendor's tensor.
            axes: its axes that are cells, in the order rows, columns.
            size: lengths of the axes of cells, as the vendor arranges them.
            fold: frames that are cells, and folded into its batch.
            suffix: how many tokens behind the cells are none.
        """
        inputs = {entry.name: entry.traced for entry in self.trace.inputs}
        looks = self.coordinates.get(grid)
        if fold is not None and fold.batched and looks is not None and looks.rank:
            looks = unfolded(looks, fold.frames, outer=fold.outer)
            axes = (1, *(axis + 1 for axis in axes[1:]))
        are_frames = fold is not None and fold.batched
        return places_of(
            looks, axes, size, inputs, lambda key: self._extent(grid, key), are_frames=are_frames, suffix=suffix
        )

    def _extent(self, tensor: str, key: Key) -> tuple[float, float] | None:
        """From where to where what a tensor is made of reaches along an axis of an input, in pixels.

        The nearest tensor before it tells whose elements look at several places.
        """
        for name in ancestors(self.graph, tensor, lambda *_: False):
            for view in self.coordinates[name].views if name in self.coordinates else ():
                values = view[key].values if key in view else np.zeros(0)
                places = values[is_number(values)]
                if len(places) and np.ptp(places) > 0:
                    half = view[key].step / 2
                    return float(places.min()) - half, float(places.max()) + half
        return None

    def holds_places(self, tensor: str, axis: int, beside: tuple[int, ...] = ()) -> bool:
        """Whether what lies along an axis of a vendor's tensor are places of an input, told by its coordinates.

        Args:
            tensor: the tensor.
            axis: of it.
            beside: axes that do not tell these places apart, as those of a map and the channels of its patches do.
        """
        looks = self.coordinates.get(tensor)
        views = looks.views if looks is not None and axis < looks.rank else ()
        sizes = {entry.name: entry.traced for entry in self.trace.inputs}
        return any(
            of > 0
            and sizes[name][of] > COLOURS
            and found.has_numbers
            and found.varies(axis)
            and not any(found.varies(other) for other in beside)
            for view in views
            for (name, of), found in view.items()
        )

    def is_one_place_along(self, tensor: str, axis: int) -> bool:
        """Whether all that lies along an axis looks at the same place, and looks at some."""
        looks = self.coordinates.get(tensor)
        if looks is None or not looks.views or axis >= looks.rank:
            return False
        fields = [found for view in looks.views for (_, of), found in view.items() if of > 0]
        return any(found.has_numbers for found in fields) and not any(found.varies(axis) for found in fields)

    def is_mixed(self, tensor: str) -> bool:
        """Whether all that is known of a tensor's places is that a layer mixed them."""
        looks = self.coordinates.get(tensor)
        fields = (
            [found for view in looks.views for (_, of), found in view.items() if of > 0] if looks is not None else []
        )
        return bool(fields) and all(bool((found.values == MIXED).all()) for found in fields)

    def is_pooled(self, tensor: str) -> bool:
        """Whether all of a tensor is made of all places alike, so that it is no map, whatever its shape."""
        looks = self.coordinates.get(tensor)
        views = looks.views if looks is not None else ()
        sizes = {entry.name: entry.traced for entry in self.trace.inputs}
        states = [
            found.values for view in views for (name, of), found in view.items() if of > 0 and sizes[name][of] > COLOURS
        ]
        return bool(states) and all(bool((values == POOLED).all()) for values in states)

    def placeless_ends(self, tensor: str, axis: int) -> tuple[int, int]:
        """How many elements lead and end an axis that look at no place of their own, where all others look at one."""
        looks = self.coordinates.get(tensor)
        if looks is None or len(looks.views) != 1:
            return 0, 0
        counts = set()
        for (_, of), found in looks.views[0].items():
            if of == 0 or not found.varies(axis):
                continue
            lines = np.moveaxis(is_number(found.values), axis, 0).reshape(found.values.shape[axis], -1)
            placed = np.flatnonzero(lines.all(axis=1))
            if len(placed) and len(placed) == placed[-1] - placed[0] + 1:
                counts.add((int(placed[0]), int(len(lines) - 1 - placed[-1])))
        return counts.pop() if len(counts) == 1 else (0, 0)

    def batch_axis(self, tensor: str) -> int:
        """Which axis of a vendor's tensor tells the images apart; the first where its coordinates do not say."""
        looks = self.coordinates.get(tensor)
        views = looks.views if looks is not None else ()
        # An image of its own, (H, W, 3) with a graph that adds the batch: the first axis of no output is the input's.
        ends = [self.trace.shapes.get(value.name, ()) for value in self.graph.outputs]
        alone = not any(shape[:1] == (self.trace.batch,) for shape in ends)
        batched = {entry.name for entry in self.trace.inputs if entry.traced[:1] == (self.trace.batch,) and not alone}
        found = {
            axis
            for view in views
            for (name, of), field in view.items()
            for axis in range(field.values.ndim)
            if of == 0 and name in batched and field.varies(axis)
        }
        if len(found) == 1:
            return found.pop()
        shape = self.shape(tensor)
        # One image: sequences that have their positions first keep a unit axis for it.
        if shape and shape[0] != 1 and self.trace.batch == 1 and 1 in shape and self.holds_places(tensor, 0):
            return shape.index(1)
        return 0

    def tells_images_apart(self, tensor: str, axis: int) -> bool:
        """Whether elements along an axis of a vendor's tensor are known to be of different images."""
        looks = self.coordinates.get(tensor)
        for view in looks.views if looks is not None and axis < looks.rank else ():
            for (_, of), field in view.items():
                if of == 0 and field.varies(axis):
                    values = np.ma.masked_array(field.values, ~is_number(field.values))
                    if bool(np.ma.ptp(values, axis=axis).filled(0).any()):
                        return True
        return False

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
        shape = self.shape(node.outputs[0].name)
        wide = [dim for dim in shape[1:] if dim != 1]
        if len(shape) >= 3 and len(wide) >= 2:
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
            tensor = self.build.node("Expand", [tensor, self.build.ints(target)])
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
