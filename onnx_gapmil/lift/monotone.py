"""Functions of scores behind the final activation that keep their ranking, or turn it over: percent, log, 1 - p."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph

#: Functions of one number that never fall, on numbers that are not negative.
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

MONOTONE = _RISING | _TWO_OPERANDS | {"Neg", "Not", "Reciprocal"}


def moving_operand(graph: ModelGraph, node: gs.Node) -> str | None:
    """The one operand of a monotone function that is not fixed; None if there are several."""
    names = {read.name for read in node.inputs if read.name and read.name not in graph.constants}
    return names.pop() if len(names) == 1 else None


def direction(graph: ModelGraph, node: gs.Node) -> int:
    """1 if a function of scores keeps their ranking, -1 if it turns it over, 0 if it does neither.

    Args:
        graph: the model.
        node: an operator that one tensor of probabilities, or of what monotone functions made of them, goes through.
    """
    if node.op in _RISING:
        return 1
    if node.op in ("Neg", "Not", "Reciprocal"):
        return -1
    if node.op not in _TWO_OPERANDS:
        return 0
    values = [graph.value(read.name) for read in node.inputs if read.name in graph.constants]
    # The same number for all classes: with another one for each the ranking would be another.
    if len(values) != 1 or values[0] is None or values[0].size == 0 or (values[0] != values[0].flat[0]).any():
        return 0
    number = float(values[0].flat[0])
    first = node.inputs[0].name not in graph.constants
    if not np.isfinite(number) or (number == 0 and node.op in ("Div", "Mul", "Pow")):
        return 0
    if node.op in ("Mul", "Div", "Pow"):
        turned = number < 0
        # c / p falls; c ** p is left alone.
        if not first and node.op == "Pow":
            return 0
        return -1 if turned != (node.op == "Div" and not first) else 1
    if node.op in ("Less", "LessOrEqual"):
        return -1 if first else 1
    return 1 if first or node.op not in _FIRST_RISES else -1
