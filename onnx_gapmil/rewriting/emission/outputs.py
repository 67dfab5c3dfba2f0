"""From a lifted head to its graph outputs: only what is asked for, by the cheapest way there."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.aggregate.nodes import CellNodes
from onnx_gapmil.lift.class_order import order_classes
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.rewriting.emission.names import ClassesOutput, HeadOutputs, TopKOutputs
from onnx_gapmil.rewriting.emission.placeless import placeless_part
from onnx_gapmil.rewriting.emission.rows import RowSelector, Selection
from onnx_gapmil.rewriting.emission.shapes import traced_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.lifted import FeatureGrid
    from onnx_gapmil.lift.verdict import Readout
    from onnx_gapmil.rewriting.emission.emit import Emit

_INT64 = int(onnx.TensorProto.INT64)
Axis = int | str


@dataclass(frozen=True)
class EmittedHead:
    """The outputs of one head, named and built.

    Attributes:
        names: the graph outputs.
        values: the same as the graph declares them, in order.
        grid: the prediction grid's tensor, whether it is an output or not.
        grid_shape: (N, K, H, W), of a volume (N, K, D, H, W); open axes by a symbol's name.
    """

    names: HeadOutputs
    values: tuple[onnx.ValueInfoProto, ...]
    grid: str
    grid_shape: tuple[Axis, ...]


def emit_head(
    build: GraphBuilder,
    trace: Trace,
    head: LiftedHead,
    emit: Emit,
    readout: Readout,
    *,
    suffix: str = "",
    named: bool = False,
    placed: Mapping[str, int] = MappingProxyType({}),
    pooled: str | None = None,
) -> EmittedHead:
    """Build one head's outputs.

    Args:
        build: has the lifted head, and collects the new nodes.
        trace: the real shapes of the vendor's tensors.
        head: the lifted head.
        emit: what to give.
        readout: how the head was lifted.
        suffix: ends each output's name, where there are several heads.
        named: where an output of the vendor's is the logits as they are, it is that output, and no new one.
        placed: of a head that reads a class token, the tensors on the grid that hold what places bring, with their
            channels.
        pooled: of a head that was repooled, the tensor of the logits that the model answers by.

    Raises:
        InputError: the head has fewer classes than are asked for, or its cells cannot be sorted.
    """
    emit.require_classes(head.output, head.classes)
    return _Emitter(build, trace, head, emit, readout, suffix, named=named, placed=placed, pooled=pooled).run()


class _Emitter:
    """The outputs of one head, one after another."""

    def __init__(
        self,
        build: GraphBuilder,
        trace: Trace,
        head: LiftedHead,
        emit: Emit,
        readout: Readout,
        suffix: str,
        *,
        named: bool,
        placed: Mapping[str, int],
        pooled: str | None,
    ) -> None:
        self._build = build
        self._trace = trace
        self._head = head
        self._emit = emit
        self._readout = readout
        self._suffix = suffix
        self._named = named
        self._placed = placed
        self._pooled = pooled
        self._values: list[onnx.ValueInfoProto] = []
        lifted = head.lifted
        self._open_size = any(entry.space_is_open for entry in trace.inputs)
        self._batch, self._plane = _open_axes(trace, lifted.features[0], lifted.batch)
        self._cells = CellNodes(
            build,
            lifted.name,
            channels=lifted.channels,
            dtype=lifted.dtype,
            cells=None if self._open_size else lifted.size[0] * lifted.size[1],
            alone=head.logits.activation == "sigmoid",
        )
        # The scores "mean" of a contribution grid are the logits; all other scores look at every cell.
        needed = [entry for entry in emit.scores if entry.name != "mean" or readout != "contribution"]
        self._whole = emit.grid or emit.argmax or emit.certainty or emit.peaks or bool(needed)

    def run(self) -> EmittedHead:
        emit, lifted, cells = self._emit, self._head.lifted, self._cells
        grid = self._shaped(lifted.name, lifted.channels)
        shape = (self._batch, lifted.channels, *self._plane)
        plane = (self._batch, *self._plane)
        kind = elem_type(lifted.dtype)
        logits = self._logits(self._head.logits.tensor, "logits")
        pooled = self._logits(self._pooled, "pooled") if self._pooled is not None else None
        names = HeadOutputs(
            logits=logits,
            features=self._features() if emit.features else None,
            grid=self._output("grid", grid, kind, shape) if emit.grid else None,
            argmax=self._output("argmax", self._shaped(cells.argmax), _INT64, plane) if emit.argmax else None,
            certainty=self._output("certainty", self._shaped(cells.certainty), elem_type(cells.dtype), plane)
            if emit.certainty
            else None,
            peaks=self._output("peaks", cells.peaks, _INT64, shape[:2]) if emit.peaks else None,
            topk=self._topk(pooled or logits, emit.topk) if emit.topk is not None else None,
            classes=self._classes(emit.classes) if emit.classes else None,
            scores=self._scores(logits),
            placeless=self._placeless() if self._placed else None,
            pooled=pooled,
        )
        return EmittedHead(names, tuple(self._values), grid, shape)

    def _shaped(self, tensor: str, *channels: int) -> str:
        """The cells of a volume or a clip, which lie in one row while a head is lifted, in their own axes."""
        grid, build = self._head.features[0], self._build
        if not grid.cells:
            return tensor
        if not self._open_size:
            return build.reshape(tensor, [0, *channels, *grid.cells])
        lengths = [
            build.node("Gather", [build.node("Shape", [name]), build.ints([axis])], axis=0)
            for name, axis in grid.extents
        ]
        target = build.node("Concat", [build.ints([0, *channels]), *lengths], axis=0)
        return build.node("Reshape", [tensor, target])

    def _output(self, title: str, tensor: str, kind: int, shape: tuple[Axis, ...]) -> str:
        """Give a tensor its final name and declare it."""
        # An Identity, because a tensor may be wanted twice, or be the vendor's own, whose name must stay.
        name = self._build.node("Identity", [tensor], output=self._build.unique(f"gapmil_{title}{self._suffix}"))
        self._values.append(onnx.helper.make_tensor_value_info(name, kind, shape))
        return name

    def _logits(self, scores: str, title: str) -> str:
        """The head's scores as (N, K), class by class in the order of the output."""
        build, head, lifted = self._build, self._head, self._head.scores
        if lifted.batch_axis is not None and lifted.batch_axis > 0:
            # ``MatMul(W, x)`` gives the classes first.
            order = [lifted.batch_axis, *(axis for axis in range(len(lifted.shape)) if axis != lifted.batch_axis)]
            scores = build.node("Transpose", [scores], perm=order)
        if lifted.quantization is not None and not lifted.quantization.dynamic:
            # Logits that leave as integers: what they stand for is what the grid is of.
            whole = build.node("Cast", [scores], to=elem_type(lifted.dtype))
            shift, step = (
                build.constant(np.asarray(value, lifted.dtype))
                for value in (lifted.quantization.zero, lifted.quantization.step)
            )
            scores = build.node("Mul", [build.node("Sub", [whole, shift]), step])
        # A Squeeze without axes drops the batch too where it is 1, in the trace (PyTorch's `squeeze()` left (K,)) or
        # when an image is run. A 1x1 convolution as last layer (SqueezeNet, Caffe2's DenseNet) leaves (N, K, 1, 1).
        squeezed = any(step.op == "Squeeze" for step in head.chain)
        if lifted.batch_axis != 0 or len(lifted.shape) != 2 or squeezed:
            scores = build.node("Reshape", [scores, build.ints([-1, lifted.channels])])
        # Else not only is no Reshape needed: ONNX Runtime 1.31 moves a DequantizeLinear of int8 behind one and then
        # does not load what it made (opset 23).
        if head.order is not None:
            scores = order_classes(build, scores, head.order)
        if self._named and self._pooled is None and scores in head.outputs:
            return scores
        return self._output(title, scores, elem_type(lifted.dtype), (self._batch, head.classes))

    def _features(self) -> str:
        found = self._head.features
        maps = [grid.name for grid in found]
        # Several maps where pools are joined: mean and deviation (PyTorch's std pooling), two trunks.
        joined = maps[0] if len(maps) == 1 else self._build.node("Concat", maps, axis=1)
        channels = sum(grid.channels for grid in found)
        shape = (self._batch, channels, *self._plane)
        return self._output("features", self._shaped(joined, channels), elem_type(found[0].dtype), shape)

    def _placeless(self) -> str | None:
        """What every cell has alike, since no place brings it."""
        lifted = self._head.lifted
        part = placeless_part(self._build, self._trace, lifted, self._placed)
        if part is None:
            return None
        return self._output("placeless", part, elem_type(lifted.dtype), (self._batch, self._head.classes))

    def _scores(self, logits: str) -> dict[str, str]:
        """Scores by other aggregators; each ``(N, K)``, float32 or wider."""
        names = {}
        kind = elem_type(self._cells.dtype)
        for aggregator in self._emit.scores:
            if aggregator.name == "mean" and self._readout == "contribution":
                scores = self._widened(logits)
            else:
                scores = self._cells.scores(aggregator)
            shape = (self._batch, self._head.classes)
            names[aggregator.key] = self._output(f"scores_{aggregator.key}", scores, kind, shape)
        return names

    def _widened(self, logits: str) -> str:
        """Logits in a type that every runtime sorts: before operator set 11 TopK takes no half precision."""
        if self._head.lifted.dtype == self._cells.dtype:
            return logits
        return self._build.node("Cast", [logits], to=elem_type(self._cells.dtype))

    # --- rows of the grid ------------------------------------------------------------------------------------------

    def _topk(self, logits: str, count: int) -> TopKOutputs:
        _, best = self._build.topk(self._widened(logits), count, 1)
        classes = self._output("topk_classes", best, _INT64, (self._batch, count))
        return TopKOutputs(count, classes, self._rows("topk_grid", Selection(best, count, fixed=False)))

    def _classes(self, indices: tuple[int, ...]) -> ClassesOutput:
        rows = Selection(self._build.ints(indices), len(indices), fixed=True)
        return ClassesOutput(indices, self._rows("classes_grid", rows))

    def _rows(self, title: str, rows: Selection) -> str:
        """Some classes of the grid: taken from it where it is computed anyway, else made by themselves."""
        lifted = self._head.lifted
        traced = (lifted.batch, lifted.channels, *lifted.size)
        tensors = traced_tensors(self._build, self._trace, lifted.name, traced, lifted.dtype)
        selector = RowSelector(self._build, tensors, lifted.dtype, open_size=self._open_size)
        grid = selector.gather(lifted.name, rows) if self._whole else selector.pick(lifted.name, rows)
        shape = (self._batch, rows.count, *self._plane)
        return self._output(title, self._shaped(grid, rows.count), elem_type(lifted.dtype), shape)


def _open_axes(trace: Trace, grid: FeatureGrid, images: int) -> tuple[Axis, tuple[Axis, ...]]:
    """Batch, height and width of a grid: numbers where the input fixes them, symbols where it leaves them open.

    A volume has a depth before them, or frames.

    Args:
        trace: the real shapes of the vendor's tensors.
        grid: whose axes these are.
        images: how many images it has in the trace.
    """
    inputs = trace.inputs
    # A symbol of our own where the vendor's axis has no name (-1, as old exporters write): outputs then still say that
    # their batches are one.
    batch: Axis = images
    # The first axis of one photo (H, W, 3), to which the graph adds a batch, is none.
    batched = [entry for entry in inputs if entry.batch_is_open and entry.traced[0] == images]
    if batched:
        first = batched[0].declared[0]
        batch = first if isinstance(first, str) else "gapmil_batch"
    if any(entry.space_is_open for entry in inputs):
        before: list[Axis] = [f"gapmil_axis_{axis}" for axis in range(len(grid.shape) - 2)]
        if before and grid.fold is not None:
            name, axis = grid.fold.seen
            fixed = all(isinstance(entry.declared[axis], int) for entry in inputs if entry.name == name)
            before[0] = grid.shape[0] if fixed else "gapmil_frames"
        elif len(before) == 1:
            before = ["gapmil_depth"]
        return batch, (*before, "gapmil_height", "gapmil_width")
    return batch, grid.shape
