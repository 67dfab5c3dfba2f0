"""ai.onnx.ml's LinearClassifier: its weights, as ONNX Runtime reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


@dataclass(frozen=True)
class LinearModel:
    """A linear model and what it makes of its scores.

    Attributes:
        weight: (K, C) float32.
        bias: (K,) float32.
        activation: what turns the scores into probabilities.
        transform: the same by the operator's own word.
    """

    weight: np.ndarray
    bias: np.ndarray
    activation: Literal["softmax", "sigmoid", "none"]
    transform: str


def read_linear_classifier(node: gs.Node) -> LinearModel:
    """The rows of a LinearClassifier, one for each class.

    Of two classes with one row of coefficients ONNX Runtime gives ``[1 - z, z]``, by a logistic function
    ``[1 - p, p]``, which is the softmax of ``[-z / 2, z / 2]``. PROBIT is no activation that is followed.
    """
    bias = np.asarray(node.attrs.get("intercepts") or [0.0], np.float32)
    labels = node.attrs.get("classlabels_ints") or node.attrs.get("classlabels_strings") or []
    coefficients = np.asarray(node.attrs["coefficients"], np.float32)
    word = node.attrs.get("post_transform", "NONE")
    transform = word.decode() if isinstance(word, bytes) else str(word)
    weight = coefficients.reshape(len(bias), -1)
    if len(bias) == 1 and len(labels) == 2:
        if transform == "LOGISTIC":
            return LinearModel(
                np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2, "softmax", transform
            )
        return LinearModel(np.concatenate([-weight, weight]), np.concatenate([1 - bias, bias]), "none", transform)
    activations: dict[str, Literal["softmax", "sigmoid", "none"]] = {
        "LOGISTIC": "sigmoid",
        "SOFTMAX": "softmax",
        "SOFTMAX_ZERO": "softmax",
    }
    return LinearModel(weight, bias, activations.get(transform, "none"), transform)
