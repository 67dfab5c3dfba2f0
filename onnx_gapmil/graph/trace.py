"""Trace a model: run it once on a small input and read the shapes that its tensors really have.

Many files carry no ``value_info``, or a wrong one; reshape targets are computed at run time. So shapes are measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.errors import LimitError, ModelError
from onnx_gapmil.graph.counting import require_affordable_inputs, require_affordable_run
from onnx_gapmil.graph.inference import NO_TENSORS, ShapesUnknownError, infer, infer_all
from onnx_gapmil.graph.inputs import InputShape, candidate_inputs, random_input
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import load_small_external_data, weight_bytes
from onnx_gapmil.graph.subgraphs import tensor_outputs
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.ort.limits import trial_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.graph.view import ModelGraph

#: Models whose weights exceed this are traced by shape inference, so that their weights are never read.
MAX_TRACED_BYTES = 1_500_000_000
#: Graphs of more nodes are not traced tensor by tensor.
_MANY_NODES = 5_000


@dataclass(frozen=True)
class Trace:
    """What a model's tensors really are.

    Attributes:
        inputs: the graph's inputs with the shapes used.
        shapes: concrete shape by tensor name.
        dtypes: element type by tensor name, where inference knew it.
        values: values of tensors that are computed from shapes.
        measured: True if the model was run (of one with very many nodes, its outputs were compared); False if
            shapes were only inferred (very large models).
    """

    inputs: tuple[InputShape, ...]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]
    values: dict[str, np.ndarray]
    measured: bool

    @property
    def batch(self) -> int:
        """Size of the first input's batch in the trace: its first axis, or 1 where it is one image without a batch."""
        entry = self.inputs[0] if self.inputs else None
        return entry.traced[0] if entry is not None and entry.traced and not entry.alone else 1


def trace(graph: ModelGraph, *, at: Sequence[tuple[InputShape, ...]] = ()) -> Trace:
    """Run the model once and read its shapes.

    Open batch axes are traced with 2, so that the batch can be told from axes of size 1; where the model only works
    with another batch or size, those are tried in turn.

    Args:
        graph: the model.
        at: the shapes of all inputs to try; empty for those that are likely.

    Raises:
        ModelError: ONNX Runtime cannot load the model, or runs it at no size that was tried.
    """
    if weight_bytes(graph.proto) > MAX_TRACED_BYTES:
        return _trace_by_inference(graph, at)
    if len(graph.proto.graph.node) > _MANY_NODES and (whole := _trace_by_its_outputs(graph, at)) is not None:
        return whole
    copy = _instrumented(graph)
    session = cpu_session(copy.proto, graph.folder, weights=copy.weights)
    first: tuple[Exception, tuple[InputShape, ...]] | None = None
    tried = 0
    for shapes in at or candidate_inputs(graph):
        # Where height and width are open, a window (TF-Slim) or a dense layer may fit one size alone.
        require_affordable_inputs(shapes)
        inferred = infer(graph, shapes)
        require_affordable_run(graph.proto, inferred.shapes, inferred.dtypes)
        feeds = {entry.name: random_input(entry) for entry in shapes}
        try:
            with trial_run():
                results = session.run([output for output, _ in copy.added], feeds)
        except LimitError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
            first, tried = first or (error, shapes), tried + 1
            continue
        found = {name: array for (_, name), array in zip(copy.added, results, strict=True)}
        values = {name: array for name, array in found.items() if name in graph.shape_computed}
        measured = {
            name: array.shape if name in graph.shape_computed else tuple(int(dim) for dim in array)
            for name, array in found.items()
        }
        measured |= {tensor.name: tuple(tensor.dims) for tensor in graph.weights}
        measured |= {entry.name: entry.traced for entry in shapes}
        return Trace(shapes, {**inferred.shapes, **measured}, inferred.dtypes, values, measured=True)
    if first is None:
        raise ModelError("the model runs at no input shape that could be made up.")
    # The commonest shape is tried first: what the runtime says of it is the likeliest reason.
    reason, shapes = first
    sizes = ", ".join(f"{entry.name} {'x'.join(map(str, entry.traced))}" for entry in shapes)
    others = f", nor at any of {tried - 1} others that were tried" if tried > 1 else ""
    raise ModelError(f"{explain(reason).rstrip('.')}; so says the runtime of {sizes}. It does not run there{others}.")


def _trace_by_its_outputs(graph: ModelGraph, at: Sequence[tuple[InputShape, ...]]) -> Trace | None:
    """Shapes by inference, and one plain run whose outputs have to have them; None where inference leaves any open.

    ONNX Runtime takes time by the square of the number of outputs, of which a trace has one for each tensor.
    """
    for shapes in at or candidate_inputs(graph):
        require_affordable_inputs(shapes)
        try:
            found = infer_all(graph, shapes)
        except ShapesUnknownError:
            continue
        require_affordable_run(graph.proto, found.shapes, found.dtypes)
        proto, weights = light_copy(graph.proto)
        load_small_external_data(proto, graph.folder)
        session = cpu_session(proto, graph.folder, weights=weights)
        names = [value.name for value in graph.outputs]
        try:
            with trial_run():
                results = session.run(names, {entry.name: random_input(entry) for entry in shapes})
        except LimitError:
            raise
        except Exception:  # noqa: BLE001, S112 - ONNX Runtime's errors share no base of their own
            continue
        made = {name: getattr(array, "shape", None) for name, array in zip(names, results, strict=True)}
        if all(found.shapes.get(name) == shape for name, shape in made.items()):
            return Trace(shapes, found.shapes, found.dtypes, found.values, measured=True)
    return None


def _trace_by_inference(graph: ModelGraph, at: Sequence[tuple[InputShape, ...]]) -> Trace:
    """Without running the model: for weights that should not be read."""
    last: ShapesUnknownError | None = None
    for shapes in at or candidate_inputs(graph):
        try:
            found = infer_all(graph, shapes)
        except ShapesUnknownError as error:
            last = last or error
            continue
        return Trace(shapes, found.shapes, found.dtypes, found.values, measured=False)
    raise ModelError(
        "its weights are too large for a trial run, and without one the shapes of its tensors cannot be told: "
        f"{last or 'no input shape could be made up'}."
    )


@dataclass(frozen=True)
class _Instrumented:
    """A copy of a model that also outputs the shape of every tensor, and the value of every computed shape.

    Attributes:
        proto: the copy; its large weights are declared, and lie in ``weights``.
        weights: by initializer.
        added: (output, tensor) of what was added.
    """

    proto: onnx.ModelProto
    weights: dict[str, np.ndarray]
    added: list[tuple[str, str]]


def _instrumented(graph: ModelGraph) -> _Instrumented:
    proto, weights = light_copy(graph.proto)
    load_small_external_data(proto, graph.folder)
    existing = {value.name for value in proto.graph.output}
    added: list[tuple[str, str]] = []
    prefix = "gapmil_trace"
    while any(name.startswith(f"{prefix}/") for name in graph.names):  # a vendor's tensor may bear any name
        prefix += "_"
    for node in graph.proto.graph.node:
        # Maps and sequences have no shape to ask for; what comes out of bodies may be one.
        plain = tensor_outputs(node)
        if not plain and (node.op_type in NO_TENSORS or node.op_type.startswith("Sequence")):
            continue
        for name in plain or node.output:
            if not name or (name in graph.constants and node.op_type == "Constant"):
                continue
            # The value itself: targets that PyTorch's legacy exporter and paddle2onnx compute for an open batch.
            if name in graph.shape_computed:
                output = name
            else:
                output = f"{prefix}/{len(added)}"
                proto.graph.node.append(onnx.helper.make_node("Shape", [name], [output]))
            if output not in existing:
                proto.graph.output.append(onnx.ValueInfoProto(name=output))
            added.append((output, name))
    return _Instrumented(proto, weights, added)
