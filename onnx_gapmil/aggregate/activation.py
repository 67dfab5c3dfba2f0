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
