"""Softmax and the sigmoid spelled out by primitive operators behind the logits.

A logarithm of a softmax that is spelled out, ``z - log sum exp z``, gives no probabilities: it is scores like others,
and lifts as such (`onnx_gapmil.lift.rules.reductions.log_softmax`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph


@dataclass(frozen=True)
class Spelled:
    """An activation whose last operator is another one's.

    Attributes:
        scores: what it is of.
        activation: what it is.
        reducing: of a softmax, the operator that adds up; its axes are those that the classes lie along.
    """

    scores: str
    activation: Literal["softmax", "sigmoid"]
    reducing: gs.Node | None = None


def spelled_activation(graph: ModelGraph, node: gs.Node) -> Spelled | None:
    """What activation an operator is the last of; None where it is of none, or is one itself.

    ``e / sum e`` with ``e = exp(z)``, perhaps of ``z - max z``, and ``1 / (1 + exp(-z))``.
    """
    names = [read.name for read in node.inputs]
    if node.op == "Div" and len(names) == 2:
        grown, total = _maker(graph, names[0], "Exp"), _maker(graph, names[1], "ReduceSum")
        if grown is not None and total is not None and _kept(total) and _same(graph, total.inputs[0].name, names[0]):
            return Spelled(_unshifted(graph, grown.inputs[0].name), "softmax", total)
        return _sigmoid(graph, names[1]) if _is_one(graph, names[0]) else None
    if node.op == "Reciprocal":
        return _sigmoid(graph, names[0])
    return None


def _maker(graph: ModelGraph, tensor: str, *operators: str) -> gs.Node | None:
    node = graph.producer(graph.behind(tensor))
    return node if node is not None and node.op in operators else None


def _same(graph: ModelGraph, one: str, two: str) -> bool:
    return graph.behind(one) == graph.behind(two)


def _kept(reducing: gs.Node) -> bool:
    """Whether a reduction keeps its axes, so that what it makes is divided by along them."""
    return bool(int(reducing.attrs.get("keepdims", 1)))


def _is_one(graph: ModelGraph, tensor: str) -> bool:
    value = graph.value(tensor) if tensor in graph.constants else None
    return value is not None and value.size > 0 and bool((value == 1).all())


def _unshifted(graph: ModelGraph, scores: str) -> str:
    """The scores before their largest was subtracted, which no softmax sees."""
    shift = _maker(graph, scores, "Sub")
    if shift is None:
        return scores
    before = shift.inputs[0].name
    largest = _maker(graph, shift.inputs[1].name, "ReduceMax")
    own = largest is not None and _kept(largest) and _same(graph, largest.inputs[0].name, before)
    return str(before) if own else scores


def _sigmoid(graph: ModelGraph, divisor: str) -> Spelled | None:
    """Of ``1 + exp(-z)`` the sigmoid that it divides 1 for."""
    total = _maker(graph, divisor, "Add")
    if total is None:
        return None
    names = [read.name for read in total.inputs]
    ones = [_is_one(graph, name) for name in names]
    grown = _maker(graph, names[int(ones[0])], "Exp") if sum(ones) == 1 else None
    turned = _maker(graph, grown.inputs[0].name, "Neg") if grown is not None else None
    return None if turned is None else Spelled(str(turned.inputs[0].name), "sigmoid")
