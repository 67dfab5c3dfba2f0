"""A head's algebra in float64, by onnx's reference evaluator: rounding hides nothing, and no kernel is shared.

The vendor's nodes from the pooled map to the logits and the new nodes from the same map to the grid are run as the
specification words them, all floats widened.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.loading import load_small_external_data
from onnx_gapmil.graph.sparse import dense_tensor
from onnx_gapmil.rewriting.proof.alone import reason_of
from onnx_gapmil.rewriting.proof.by_class import class_errors
from onnx_gapmil.rewriting.proof.checks import Figure
from onnx_gapmil.rewriting.proof.tolerances import ALGEBRA_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from onnx_gapmil.rewriting.proof.alone import HeadAlone

#: Weights of a head that are widened, at most: 200 MB of float64. A ViT-L with 21,843 classes has 22 million.
MAX_WEIGHTS = 25_000_000
#: How far the reference evaluator may be from ONNX Runtime, of the largest value, before it is not believed.
_SAME = 0.02
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
#: Attributes that name the element type of what a node makes.
_TYPES = frozenset({"to", "dtype", "output_dtype", "stash_type"})


def algebra(alone: HeadAlone) -> Figure:
    """The sum, class by class, in float64."""
    head = alone.head
    if head.quantized:
        return Figure(skipped="the head rounds to integers, which float64 does not")
    if head.readout == "instance" and head.verdict != "exact":
        return Figure(skipped="the instance readout of a conditional head has another mean")
    try:
        graph = WideGraph(alone.cut, alone.folder)
        errors = []
        for feeds in alone.feeds():
            logits, grid = (np.asarray(array) for array in graph.run([head.logits, alone.grid], feeds))
            if not _agrees(alone, feeds, logits, grid):
                return Figure(skipped="onnx's reference evaluator answers otherwise than ONNX Runtime")
            errors.append(class_errors(head, logits, grid))
    except Exception as error:  # noqa: BLE001 - the evaluator's errors are of any kind
        return Figure(skipped=f"the head does not run in float64: {reason_of(error)}")
    worst = np.fmax.reduce(errors, axis=0)
    allowed = ALGEBRA_TOLERANCE[alone.width]
    measure = float(np.fmax.reduce(worst, initial=0.0))
    if measure <= allowed:
        return Figure(measure, allowed)
    said = (
        f"output '{head.output}': in float64, the mean over cells of class {int(np.nanargmax(worst))} differs from its "
        f"logit by {measure:.2g} of the class's own cells; {allowed:.0e} is allowed."
    )
    return Figure(measure, allowed, failures=(said,))


def _agrees(alone: HeadAlone, feeds: Mapping[str, np.ndarray], logits: np.ndarray, grid: np.ndarray) -> bool:
    """Whether the reference evaluator means the same by this graph as the runtime that it is deployed on.

    A wrong grid is wrong in both; where they differ, it is an operator that one of them has wrong.
    """
    return all(_same(wide, narrow) for wide, narrow in zip((logits, grid), alone.run(feeds), strict=True))


def _same(wide: np.ndarray, narrow: np.ndarray) -> bool:
    if wide.shape != narrow.shape:
        return False
    known = np.isfinite(wide) & np.isfinite(narrow)
    top = np.abs(wide[known]).max(initial=0.0)
    return bool(np.abs(wide - narrow)[known].max(initial=0.0) <= _SAME * top)


class WideGraph:
    """A graph that runs in float64, by onnx's reference evaluator."""

    def __init__(self, model: onnx.ModelProto, folder: Path | None) -> None:
        """Widen a model.

        Args:
            model: small enough to be widened; it is not changed.
            folder: where its external data lies.

        Raises:
            OverflowError: it holds more weights than `MAX_WEIGHTS`.
            Exception: the reference evaluator knows one of its operators not; it has no base of its own for that.
        """
        from onnx.reference import ReferenceEvaluator

        weights = sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type in _FLOATS)
        if weights > MAX_WEIGHTS:
            raise OverflowError(
                f"the head holds {weights / 1e6:.0f} million weights; float64 is run to {MAX_WEIGHTS // 10**6} million"
            )
        wide = onnx.ModelProto()
        wide.CopyFrom(model)
        load_small_external_data(wide, folder, limit=8 * MAX_WEIGHTS)
        if has_functions(wide):
            wide = inline_functions(wide)
        # The evaluator knows no sparse weights.
        wide.graph.initializer.extend(dense_tensor(tensor, folder) for tensor in wide.graph.sparse_initializer)
        del wide.graph.sparse_initializer[:]
        _state_precision(wide)
        _widen(wide.graph)
        self._evaluator = ReferenceEvaluator(wide)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Evaluate; floats are fed as float64.

        Raises:
            Exception: an operator cannot be evaluated.
        """
        wide = {name: array.astype(np.float64) if _is_float(array) else array for name, array in feeds.items()}
        with np.errstate(all="ignore"):  # a head may overflow on inputs as large as no photo, as it does in the runtime
            found: list[np.ndarray] = self._evaluator.run(list(outputs), wide)
        return found


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _state_precision(model: onnx.ModelProto) -> None:
    """Write out in which type a GroupNormalization computes where it leaves that to its default, float32."""
    if max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1) < 21:
        return
    for node in model.graph.node:
        if node.op_type == "GroupNormalization" and not any(entry.name == "stash_type" for entry in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("stash_type", TensorProto.FLOAT))


def _widen(graph: onnx.GraphProto) -> None:
    """All floats of a graph and its subgraphs as float64, in place."""
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _FLOATS:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        _widen_attributes(node)


def _widen_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name in _TYPES and attribute.i in _FLOATS:
            attribute.i = TensorProto.DOUBLE
        if attribute.HasField("t"):
            _widen_tensor(attribute.t)
        for graph in _graphs(attribute):
            _widen(graph)
    if node.op_type == "Constant" and node.attribute and node.attribute[0].name in ("value_float", "value_floats"):
        given = node.attribute[0]
        number = np.float64(given.f) if given.name == "value_float" else np.asarray(given.floats, np.float64)
        node.attribute[0].CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(np.asarray(number))))
    if node.op_type == "BatchNormalization" and not any(node.output[1:]):
        # Between operator sets 9 and 14 the evaluator moves the statistics by the momentum even at inference.
        kept = [entry for entry in node.attribute if entry.name != "momentum"]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("momentum", 1.0)])
    if node.op_type == "ConstantOfShape" and not any(entry.name == "value" for entry in node.attribute):
        node.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))


def _graphs(attribute: onnx.AttributeProto) -> Iterable[onnx.GraphProto]:
    return (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
