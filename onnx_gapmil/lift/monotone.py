"""Functions of scores behind the final activation that keep their ranking, or turn it over: percent, log, 1 - p.

Odds, ``p / (1 - p)``, read the scores twice, and rise all the same: what they divide rises, what they divide by falls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph

#: Functions of one number that never fall, wherever they are defined.
_RISING = frozenset(
    {
        "Cast", "Ceil", "Clip", "Erf", "Exp", "Floor", "HardSigmoid", "Identity", "LeakyRelu", "Log", "Relu", "Round",
        "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh",
    }
)  # fmt: skip
_TWO_OPERANDS = frozenset(
    {"Add", "Div", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Pow", "Sub"}
)
#: Rise where the score is the first operand.
_FIRST_RISES = frozenset({"Greater", "GreaterOrEqual", "Sub"})

#: Between which numbers some functions answer.
_RANGES = {
    "Exp": (0.0, np.inf), "Greater": (0.0, 1.0), "GreaterOrEqual": (0.0, 1.0), "HardSigmoid": (0.0, 1.0),
    "Less": (0.0, 1.0), "LessOrEqual": (0.0, 1.0), "LogSoftmax": (-np.inf, 0.0), "Not": (0.0, 1.0),
    "Relu": (0.0, np.inf), "Sigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Softplus": (0.0, np.inf),
    "Sqrt": (0.0, np.inf),
}  # fmt: skip
#: What only moves or chooses elements, or averages them, so that they stay between the same numbers.
_MOVING = frozenset(
    {
        "Cast", "CastLike", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "GlobalAveragePool",
        "Identity", "ReduceMean", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_DEEPEST = 30

MONOTONE = _RISING | _TWO_OPERANDS | {"Neg", "Not", "Reciprocal"}


def moving_operand(graph: ModelGraph, node: gs.Node) -> str | None:
    """The one tensor that a monotone function is of: its operand that is not fixed, or what both operands are made of.

    None if there are several.
    """
    names = {str(read.name) for read in node.inputs if read.name and read.name not in graph.constants}
    if len(names) == 1:
        return names.pop()
    return _joined(graph, node)[0] if len(names) == 2 else None


def _joined(graph: ModelGraph, node: gs.Node) -> tuple[str | None, int]:
    """The tensor that both operands are monotone functions of, and how their sum, product or quotient ranks it.

    A sum of two that rise rises; so do a product of two that are not negative, and a difference or a quotient of one
    that rises and one that falls.
    """
    if node.op not in ("Add", "Div", "Mul", "Sub") or len(node.inputs) != 2:
        return None, 0
    names = [read.name for read in node.inputs]
    if node.op in ("Div", "Mul") and any(bounds(graph, name)[0] < 0 for name in names):
        return None, 0
    first, second = (_made_of(graph, name) for name in names)
    shared = next((name for name in first if name in second), None)
    if shared is None:
        return None, 0
    turned = -1 if node.op in ("Div", "Sub") else 1
    return (shared, first[shared]) if first[shared] == second[shared] * turned else (None, 0)


def _made_of(graph: ModelGraph, tensor: str) -> dict[str, int]:
    """The tensors that one is a monotone function of by itself, itself among them, and how it ranks each."""
    found, turned = {tensor: 1}, 1
    while (node := graph.producer(tensor)) is not None and node.op in MONOTONE and len(found) < _DEEPEST:
        moving = {read.name for read in node.inputs if read.name and read.name not in graph.constants}
        turned *= direction(graph, node) if len(moving) == 1 else 0
        if not turned:
            break
        tensor = moving.pop()
        found[tensor] = turned
    return found


def direction(graph: ModelGraph, node: gs.Node) -> int:
    """1 if a function of scores keeps their ranking, -1 if it turns it over, 0 if it does neither.

    Args:
        graph: the model.
        node: an operator that one tensor of probabilities, or of what monotone functions made of them, goes through;
            perhaps by both of its operands.
    """
    if node.op in _RISING:
        return 1
    if node.op in ("Neg", "Not"):
        return -1
    if node.op == "Reciprocal":
        return -1 if _keeps_its_sign(graph, node.inputs[0].name) else 0
    if node.op not in _TWO_OPERANDS:
        return 0
    if len({read.name for read in node.inputs if read.name and read.name not in graph.constants}) == 2:
        return _joined(graph, node)[1]
    values = [graph.value(read.name) for read in node.inputs if read.name in graph.constants]
    # The same number for all classes: with another one for each the ranking would be another.
    if len(values) != 1 or values[0] is None or values[0].size == 0 or (values[0] != values[0].flat[0]).any():
        return 0
    number = float(values[0].flat[0])
    first = node.inputs[0].name not in graph.constants
    if not np.isfinite(number) or (number == 0 and node.op in ("Div", "Mul", "Pow")):
        return 0
    if node.op == "Pow":  # c ** p is left alone
        return _of_power(graph, node.inputs[0].name, number) if first else 0
    if node.op == "Div" and not first and not _keeps_its_sign(graph, node.inputs[1].name):
        return 0
    if node.op in ("Mul", "Div"):
        turned = number < 0
        # c / p falls.
        return -1 if turned != (node.op == "Div" and not first) else 1
    if node.op in ("Less", "LessOrEqual"):
        return -1 if first else 1
    return 1 if first or node.op not in _FIRST_RISES else -1


def _of_power(graph: ModelGraph, base: str, power: float) -> int:
    """How a power ranks its base: on both sides of 0 only odd ones do, and even ones turn what is not positive over."""
    low, high = bounds(graph, base)
    if low >= 0 or (power > 0 and power % 2 == 1):
        return 1 if power > 0 else -1
    if high <= 0 and power == int(power):
        return 1 if (power > 0) == (power % 2 == 1) else -1
    return 0


def _keeps_its_sign(graph: ModelGraph, tensor: str) -> bool:
    low, high = bounds(graph, tensor)
    return low >= 0 or high <= 0


def bounds(graph: ModelGraph, tensor: str, depth: int = 0) -> tuple[float, float]:
    """Between which numbers all elements of a tensor are, as far as the functions that made it say; else infinities.

    Args:
        graph: the model.
        tensor: scores, or what monotone functions made of them.
        depth: of the search.
    """
    anywhere = (-np.inf, np.inf)
    value = graph.value(tensor) if tensor in graph.constants else None
    if value is not None and value.size:
        return float(value.min()), float(value.max())
    node = graph.producer(tensor)
    if node is None or not node.inputs or depth > _DEEPEST:
        return anywhere
    if node.op in _RANGES:
        return _RANGES[node.op]
    if node.op in _MOVING:
        return bounds(graph, node.inputs[0].name, depth + 1)
    if node.op == "Concat":
        parts = [bounds(graph, read.name, depth + 1) for read in node.inputs]
        return min(low for low, _ in parts), max(high for _, high in parts)
    if node.op not in ("Add", "Clip", "Div", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Sub"):
        return anywhere
    ends = [bounds(graph, read.name, depth + 1) for read in node.inputs if read.name]
    return _combined(node, ends)


def _combined(node: gs.Node, ends: list[tuple[float, float]]) -> tuple[float, float]:
    """The bounds of a function of numbers of which each has its own."""
    low, high = ends[0]
    if node.op == "Neg":
        return -high, -low
    if node.op == "Clip":  # its limits were attributes to operator set 10
        given = iter(ends[1:])
        named = [bool(read.name) for read in node.inputs[1:3]] + [False, False]
        least = next(given)[0] if named[0] else float(node.attrs.get("min", -np.inf))
        most = next(given)[1] if named[1] else float(node.attrs.get("max", np.inf))
        return min(max(low, least), most), min(max(high, least), most)
    if node.op in ("Max", "Min"):
        choose = max if node.op == "Max" else min
        return choose(low for low, _ in ends), choose(high for _, high in ends)
    if node.op == "Reciprocal":
        return (0.0, np.inf) if low >= 0 else (-np.inf, np.inf)
    other_low, other_high = ends[1]
    if node.op == "Add":
        return low + other_low, high + other_high
    if node.op == "Sub":
        return low - other_high, high - other_low
    positive = low >= 0 and (other_low >= 0 or node.op == "Pow")
    return (0.0, np.inf) if positive else (-np.inf, np.inf)
