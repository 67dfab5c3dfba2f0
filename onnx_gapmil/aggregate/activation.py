"""From logits to what the vendor's last operator makes of them: softmax and sigmoid, once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Activation = Literal["softmax", "sigmoid", "none"]


def activate(logits: npt.NDArray[np.float64], activation: Activation) -> npt.NDArray[np.float64]:
    """Scores from logits, classes on the first axis."""
    if activation == "softmax":
        exp = np.exp(logits - logits.max(axis=0, keepdims=True))
        total: npt.NDArray[np.float64] = exp / exp.sum(axis=0, keepdims=True)
        return total
    if activation == "sigmoid":
        half: npt.NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits))  # never overflows
        return half
    return logits


def said_probabilities(activation: Activation, *, independent: bool) -> str:
    """Of a file that ends in logits what is shown as probabilities; "" where the file computes them itself.

    Args:
        activation: what the file makes of its logits.
        independent: whether each class is present by itself.
    """
    if activation != "none":
        return ""
    made = "each logit's sigmoid" if independent else "a softmax of the logits"
    return f"{made}, made for this page: the file ends in logits and computes no probability"
