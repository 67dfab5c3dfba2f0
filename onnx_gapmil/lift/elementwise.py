"""A probability that is written back as a logit: all that happens to it between the two is one function of the logit.

Calibration of an exported classifier (Platt's or vector scaling) starts from its probabilities: ``log p / (1 - p)``,
clipped perhaps, scaled, and made a probability again. Followed operator by operator, a p that rounds to 1 has no odds;
the whole is a function of the logit again, and of the log-odds of a class where a softmax made its share.
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
        softmax: where the tensor is a softmax's scores, that softmax: the function is of their log-odds.
        takes_logs: whether it takes a logarithm.
    """

    source: str
    of: Function
    softmax: gs.Node | None = None
    takes_logs: bool = False


class _Search:
    """What a function is found to read.

    Args:
        shape: of what it makes.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.sources: set[tuple[str, str]] = set()
        self.softmax: gs.Node | None = None
        self.takes_logs = False


def function_of_logits(walk: Lifting, node: gs.Node) -> OneFunction | None:
    """What an operator makes of the logits of a sigmoid, or of a softmax's log-odds, by elementwise functions.

    Args:
        walk: the walk.
        node: a Log, a difference of two, or a sigmoid of what these make.

    Returns:
        None where no probability is behind it, or another tensor too, or another operator between.
    """
    search = _Search(walk.shape(walk.output))
    found = _of_node(walk, node, search, 0)
    if found is None or len(search.sources) != 1:
        return None
    if search.softmax is not None and _is_logarithm(found, search.shape):
        return None
    return OneFunction(search.sources.pop()[1], found, search.softmax, search.takes_logs)


def _is_logarithm(found: Function, shape: tuple[int, ...]) -> bool:
    """Whether a function of log-odds is the share's logarithm, scaled and moved, which lifts by itself."""
    at = np.array([-2.0, 0.0, 3.0])
    logarithms = np.log(_sigmoid(at))
    with np.errstate(all="ignore"):
        one, two, three = (found(np.full(shape, odds)) for odds in at)
    ratio = (logarithms[2] - logarithms[1]) / (logarithms[1] - logarithms[0])
    return np.allclose(three - two, ratio * (two - one), rtol=1e-6, atol=0)


def _of(walk: Lifting, tensor: str, search: _Search, depth: int) -> Function | None:
    if walk.is_fixed(tensor):
        value = walk.value(tensor)
        if value is None or value.dtype.kind != "f":
            return None
        if value.size == 1:
            number = float(value.flat[0])
            return lambda z: np.full_like(z, number)
        # Of each class its own, as vector scaling has.
        wide = value.astype(np.float64)
        fits = len(wide.shape) <= len(search.shape) and np.broadcast_shapes(wide.shape, search.shape) == search.shape
        return (lambda z: np.broadcast_to(wide, z.shape)) if fits else None
    node = walk.graph.producer(tensor)
    return None if node is None or depth > _MAX_DEPTH else _of_node(walk, node, search, depth)


def _of_node(walk: Lifting, node: gs.Node, search: _Search, depth: int) -> Function | None:
    if node.domain not in (None, "", "ai.onnx"):
        return None
    if node.op == "Sigmoid":
        return _of_sigmoid(walk, node, search, depth)
    if node.op == "Softmax":
        search.softmax = node
        search.sources.add(("softmax", node.inputs[0].name))
        return _sigmoid
    if node.op == "Clip":
        return _of_clip(walk, node, search, depth)
    formula = _FORMULAS.get(node.op)
    if formula is None:
        return None
    search.takes_logs |= node.op == "Log"
    parts = [_of(walk, read.name, search, depth + 1) for read in node.inputs]
    known = [part for part in parts if part is not None]
    return (lambda z: formula(*(part(z) for part in known))) if len(known) == len(parts) else None


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


def _of_sigmoid(walk: Lifting, node: gs.Node, search: _Search, depth: int) -> Function | None:
    """A sigmoid of what other probabilities were written back as, or the one that makes them."""
    within = _Search(search.shape)
    inner = _of(walk, node.inputs[0].name, within, depth + 1)
    if inner is not None and within.takes_logs and within.sources:
        search.sources |= within.sources
        search.softmax, search.takes_logs = search.softmax or within.softmax, True
        return lambda z: _sigmoid(inner(z))
    search.sources.add(("sigmoid", node.inputs[0].name))
    return _sigmoid


def _of_clip(walk: Lifting, node: gs.Node, search: _Search, depth: int) -> Function | None:
    # Its limits were attributes to operator set 10, and may be left out.
    ends = [float(node.attrs.get("min", -np.inf)), float(node.attrs.get("max", np.inf))]
    for place, read in enumerate(node.inputs[1:]):
        if not read.name:
            continue
        value = walk.value(read.name) if walk.is_fixed(read.name) else None
        if value is None:
            return None
        ends[place] = float(value.flat[0])
    inner = _of(walk, node.inputs[0].name, search, depth + 1)
    return None if inner is None else lambda z: np.minimum(np.maximum(inner(z), ends[0]), ends[1])
