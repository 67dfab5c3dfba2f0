"""A probability that is written back as a logit: all that happens to it between the two is one function of the logit.

Calibration of an exported classifier (Platt's or vector scaling) starts from its probabilities: ``log p / (1 - p)``,
clipped perhaps. Followed operator by operator, a p that rounds to 1 has no odds; the whole is the logit again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting

    Function = Callable[[np.ndarray], np.ndarray]

_FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Cast": np.asarray,
    "Div": np.divide,
    "Identity": np.asarray,
    "Log": np.log,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Sub": np.subtract,
}
_MAX_DEPTH = 16


@dataclass(frozen=True)
class OneFunction:
    """What operators between a tensor and another make of each of its elements.

    Attributes:
        source: the tensor.
        of: the function, on float64.
    """

    source: str
    of: Function


def function_of_logits(walk: Lifting, node: gs.Node) -> OneFunction | None:
    """What an operator makes of the logits of a sigmoid, by elementwise functions with one number each beside them.

    Args:
        walk: the walk.
        node: a Log, or a difference of two.

    Returns:
        None where no sigmoid is behind it, or another tensor too, or another operator between.
    """
    sources: set[str] = set()
    found = _of_node(walk, node, sources, 0)
    return OneFunction(sources.pop(), found) if found is not None and len(sources) == 1 else None


def _of(walk: Lifting, tensor: str, sources: set[str], depth: int) -> Function | None:
    if walk.is_fixed(tensor):
        value = walk.value(tensor)
        number = None if value is None or value.size != 1 or value.dtype.kind not in "f" else float(value.flat[0])
        return None if number is None else lambda z: np.full_like(z, number)
    node = walk.graph.producer(tensor)
    return None if node is None or depth > _MAX_DEPTH else _of_node(walk, node, sources, depth)


def _of_node(walk: Lifting, node: gs.Node, sources: set[str], depth: int) -> Function | None:
    if node.domain not in (None, "", "ai.onnx"):
        return None
    if node.op == "Sigmoid":
        sources.add(node.inputs[0].name)
        return lambda z: 1 / (1 + np.exp(-z))
    if node.op == "Clip":
        return _of_clip(walk, node, sources, depth)
    formula = _FORMULAS.get(node.op)
    if formula is None:
        return None
    parts = [_of(walk, read.name, sources, depth + 1) for read in node.inputs]
    known = [part for part in parts if part is not None]
    return (lambda z: formula(*(part(z) for part in known))) if len(known) == len(parts) else None


def _of_clip(walk: Lifting, node: gs.Node, sources: set[str], depth: int) -> Function | None:
    # Its limits were attributes to operator set 10, and may be left out.
    ends = [float(node.attrs.get("min", -np.inf)), float(node.attrs.get("max", np.inf))]
    for place, read in enumerate(node.inputs[1:]):
        if not read.name:
            continue
        value = walk.value(read.name) if walk.is_fixed(read.name) else None
        if value is None:
            return None
        ends[place] = float(value.flat[0])
    inner = _of(walk, node.inputs[0].name, sources, depth + 1)
    return None if inner is None else lambda z: np.minimum(np.maximum(inner(z), ends[0]), ends[1])
