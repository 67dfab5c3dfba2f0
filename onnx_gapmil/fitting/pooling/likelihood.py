"""How likely the labels are by logits, and the slope of that: what a fit climbs, and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The labels of images, and how logits speak of them.

    By a softmax an image costs ``-log sum_{k in labels} softmax(z)_k``: any of its labels is right. By sigmoids it
    costs ``log(1 + exp(-z_k))`` for each of its labels and ``log(1 + exp(z_k))`` for each other class that is judged.

    Attributes:
        truth: (N, K) bool, which class labels which image.
        alone: each class is read by itself, by its sigmoid.
        judged: (K,) bool, the classes that count, of sigmoids: of others nobody says where they are.
    """

    truth: npt.NDArray[np.bool_]
    alone: bool
    judged: npt.NDArray[np.bool_]

    def cost(self, rows: Rows, logits: Array) -> Array:
        """Minus the log-likelihood of each image, in nats.

        Args:
            rows: (n,), which images.
            logits: (n, K).

        Returns:
            (n,).
        """
        return self.cost_and_slope(rows, logits)[0]

    def cost_and_slope(self, rows: Rows, logits: Array) -> tuple[Array, Array]:
        """The same, and its derivative by each logit, (n, K)."""
        truth = self.truth[rows]
        if self.alone:
            signed = np.where(truth, -logits, logits)
            cost = np.where(self.judged, np.logaddexp(0.0, signed), 0.0).sum(axis=1)
            share = 0.5 * (1 + np.tanh(0.5 * logits))
            return cost, np.where(self.judged, share - truth, 0.0)
        top = logits.max(axis=1, keepdims=True)
        parts = np.exp(logits - top)
        total = parts.sum(axis=1, keepdims=True)
        own = np.where(truth, logits, -np.inf)
        best = own.max(axis=1, keepdims=True)
        right = np.exp(own - best)
        sure = right.sum(axis=1, keepdims=True)
        cost = top + np.log(total) - best - np.log(sure)
        return cost[:, 0], parts / total - right / sure
