"""PxAP: how well the map of the true class ranks the pixels of the object above the others, over all images.

Source: Choe et al., arXiv 2007.04178, and `MaskEvaluator` of github.com/clovaai/wsolevaluation. The scores of all
pixels of all images go into one precision-recall curve; PxAP is the area under it, ``sum_i precision_i (recall_i -
recall_{i-1})`` from the highest score down, which is average precision. Scores are counted in bins of 0.01, as there
at ``cam_curve_interval=0.01``; pixels of one bin count as equal. Padding counts as neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 101
"""[0, 0.01), ..., [0.99, 1) and the score 1."""


@dataclass(frozen=True, slots=True)
class PixelScores:
    """Counts of one image's pixels by score, the lowest bin first.

    Attributes:
        object: of pixels in the mask, `BINS` numbers.
        other: of the others.
    """

    object: tuple[int, ...]
    other: tuple[int, ...]


def score_bins(score_map: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """The bin of each score in 0..1."""
    edges = np.arange(BINS) / (BINS - 1)
    return np.searchsorted(edges, score_map.astype(np.float64), side="right") - 1


def pixel_scores(score_map: npt.NDArray[np.float32], mask: npt.NDArray[np.int8]) -> PixelScores:
    """Count one image.

    Args:
        score_map: of the true class, from `score_map`.
        mask: of the same shape: 1 object, 0 other, -1 padding; from `mask_on_map`.
    """
    bins = score_bins(score_map)
    counts = [np.bincount(bins[mask == value], minlength=BINS).tolist() for value in (1, 0)]
    return PixelScores(tuple(counts[0]), tuple(counts[1]))


def pixel_average_precision(scores: Sequence[PixelScores]) -> float | None:
    """PxAP of a data set; None if no image has a pixel of an object."""
    counts = [[each.object for each in scores], [each.other for each in scores]]
    return average_precision_of_pixels(np.array(counts, dtype=np.int64).reshape(2, -1, BINS).sum(axis=1))


def average_precision_of_pixels(counts: npt.NDArray[np.int64]) -> float | None:
    """PxAP of (2, `BINS`) counts of all images: of pixels of objects, and of others; None without the first."""
    inside, outside = counts[:, ::-1]
    if not inside.any():
        return None
    true, chosen = inside.cumsum(), (inside + outside).cumsum()
    precision = np.divide(true, chosen, out=np.zeros(BINS), where=chosen > 0)
    return float((precision * inside).sum() / inside.sum())
