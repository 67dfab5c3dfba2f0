"""Calibration: is the model right as often as it says?

Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599. Images are sorted into 15 bins of
equal width by confidence, the probability of the predicted class; a bin holds its upper edge. The expected
calibration error is the mean, weighted by the number of images, of |accuracy - mean confidence| over the bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin: images whose confidence is in (low, high].

    Attributes:
        low: lower edge.
        high: upper edge.
        images: how many.
        confidence: their mean confidence; None without images.
        accuracy: the share that is right; None without images.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Calibration of a data set.

    Attributes:
        ece: expected calibration error, 0 is best.
        bins: reliability, lowest confidence first.
    """

    ece: float
    bins: tuple[ReliabilityBin, ...]


def calibration(confidences: npt.ArrayLike, right: npt.ArrayLike, bins: int = BINS) -> Calibration:
    """Measure confidences, of the model's own logits or of an aggregator's probabilities.

    Args:
        confidences: (N,) probabilities in 0..1 of the predicted classes.
        right: (N,) whether each prediction is right.
        bins: how many.

    Raises:
        ValueError: there are no images, or a confidence is outside 0..1.
    """
    values = np.asarray(confidences, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no images")
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError(f"confidences must be in 0..1, not {values.min()}..{values.max()}")
    edges = np.arange(bins + 1) / bins
    place = np.maximum(np.searchsorted(edges, values, side="left") - 1, 0)
    counts = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=each, minlength=bins) for each in (values, hits)]
    rows = tuple(
        ReliabilityBin(
            float(edges[index]),
            float(edges[index + 1]),
            int(count),
            float(sums[0][index] / count) if count else None,
            float(sums[1][index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    )
    return Calibration(float(np.abs(sums[0] - sums[1]).sum() / values.size), rows)


def brier_score(probabilities: npt.NDArray[np.float64], label: int) -> float:
    """``sum_k (p_k - [k = label])^2`` of (K,) probabilities, 0 is best and 2 worst (Brier 1950)."""
    own = float(probabilities[label])
    return float((probabilities * probabilities).sum() - own * own + (own - 1.0) ** 2)


def log_loss(probabilities: npt.NDArray[np.float64], label: int) -> float:
    """``-log p_label``; a probability that underflowed to 0 counts as 1e-300, so that the mean stays finite."""
    return float(-np.log(max(float(probabilities[label]), 1e-300)))
