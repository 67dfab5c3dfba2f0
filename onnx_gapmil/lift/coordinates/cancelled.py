"""Differences in which a map cancels: ``x - (x + attention(x))`` keeps nothing of what the skip connection kept.

Operand by operand, a skip connection keeps the places of a map beside whatever is added to it. A later difference may
take that map away again, so that only what was added is left, whose places may be others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.scene import Scene

#: Terms and nodes of a sum, at most; a longer one is left as it is.
_MOST_TERMS, _MOST_NODES = 64, 512
#: What is left of a term is nothing below this part of what was added and taken away.
_NOTHING = 1e-5
#: Elements of a tensor whose movements are compared, at most.
_MOST_ELEMENTS = 1 << 20
_SUMS = frozenset({"Add", "Neg", "Sub", "Sum"})
_SAME = frozenset({"Identity", "Dropout"})
_MOVED = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class Term:
    """A tensor that is added up.

    Attributes:
        name: the tensor.
        moves: the nodes that its elements are moved by on the way, in the order of the graph.
    """

    name: str
    moves: tuple[gs.Node, ...]


def left_over(node: gs.Node, scene: Scene) -> list[Term] | None:
    """What is left of a difference in which a map cancels.

    Args:
        node: a node.
        scene: the graph.

    Returns:
        The terms that are left; None where nothing cancels.
    """
    if node.op not in _SUMS or not _may_cancel(node, scene):
        return None
    total = _Total(scene)
    total.add(node)
    return total.left()


def _may_cancel(node: gs.Node, scene: Scene) -> bool:
    """Whether anything is taken away in the sum that ends at a node: most graphs only ever add."""
    pending, count = [node], 0
    while pending and count < _MOST_NODES:
        one, count = pending.pop(), count + 1
        factor = _factor(one, scene)
        if one.op in ("Sub", "Neg") or (factor is not None and factor < 0):
            return True
        if one.op in ("Add", "Sum", "Cast") or factor is not None or one.op in _SAME or one.op in _MOVED:
            made = (scene.graph.producer(tensor.name) for tensor in one.inputs if tensor.name)
            pending += [maker for maker in made if maker is not None]
    return False


def _factor(node: gs.Node, scene: Scene) -> float | None:
    """The number that a Mul or Div multiplies its other operand by; None for anything else."""
    if node.op not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    fixed = [scene.is_fixed(tensor.name) for tensor in node.inputs]
    place = 1 if fixed[1] else 0
    if not any(fixed) or (node.op == "Div" and place == 0):
        return None
    value = scene.input_value(node, place)
    if value is None or value.dtype.kind != "f" or value.size == 0 or not (value == value.flat[0]).all():
        return None
    number = float(value.flat[0])
    return number if node.op == "Mul" else 1 / number if number else None


class _Total:
    """The terms of a sum, and how often each counts."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._terms: dict[tuple[str, bytes], tuple[Term, list[float]]] = {}
        self._nodes = 0
        self._known = True

    def left(self) -> list[Term] | None:
        """What does not cancel; None where nothing does, or that is not told."""
        if not self._known or len(self._terms) > _MOST_TERMS or self._nodes >= _MOST_NODES:
            return None
        kept = [term for term, found in self._terms.values() if abs(sum(found)) > _NOTHING * sum(map(abs, found))]
        return kept if len(kept) < len(self._terms) else None

    def add(self, node: gs.Node, weight: float = 1.0, moves: tuple[gs.Node, ...] = ()) -> None:
        """What a node of the sum adds up, moved by those behind it."""
        self._nodes += 1
        scene, factor = self._scene, _factor(node, self._scene)
        weight *= 1.0 if factor is None else factor
        own = (node, *moves) if node.op in _MOVED else moves
        shape = scene.shape(node.outputs[0].name)
        for place, tensor in enumerate(node.inputs):
            if scene.is_fixed(tensor.name):
                continue
            minus = node.op == "Neg" or (node.op == "Sub" and place == 1)
            broadcast = node.op not in _MOVED and scene.shape(tensor.name) != shape
            self._known = self._known and not (broadcast and moves)
            self._operand(tensor.name, -weight if minus else weight, own, is_leaf=broadcast)

    def _operand(self, name: str, weight: float, moves: tuple[gs.Node, ...], *, is_leaf: bool) -> None:
        maker = self._scene.graph.producer(name)
        if maker is not None and not is_leaf and self._nodes < _MOST_NODES and self._is_linear(maker):
            self.add(maker, weight, moves)
        else:
            key = (name, self._movement(name, moves))
            self._terms.setdefault(key, (Term(name, moves), []))[1].append(weight)

    def _is_linear(self, node: gs.Node) -> bool:
        if node.op == "Cast":
            kind = self._scene.trace.dtypes.get(node.inputs[0].name)
            return kind is not None and kind.kind == "f"
        return node.op in _SUMS or node.op in _SAME or node.op in _MOVED or _factor(node, self._scene) is not None

    def _movement(self, name: str, moves: tuple[gs.Node, ...]) -> bytes:
        """Where the elements of a term have come to: nowhere on a way to tokens and back."""
        shape = self._scene.shape(name)
        if not moves or shape is None or math.prod(shape) > _MOST_ELEMENTS:
            return "/".join(move.outputs[0].name for move in moves).encode()
        order = np.arange(math.prod(shape)).reshape(shape)
        for move in moves:
            if move.op == "Transpose":
                order = order.transpose(move.attrs.get("perm"))
            else:
                order = order.reshape(self._scene.out_shape(move))
        flat = order.ravel()
        return b"" if (flat == np.arange(flat.size)).all() else flat.tobytes()
