"""Aggregators whose derivative by each cell is known, for a layer that is fitted underneath them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.formulas import top_count

Array = npt.NDArray[np.float64]

#: Those that a layer can be fitted under: each class is pooled by itself, and nearly everywhere there is a slope.
SLOPED = ("mean", "max", "lse", "topk", "softmax_weighted")


def score_and_slope(aggregator: Aggregator, cells: Array) -> tuple[Array, Array]:
    """An aggregator's scores, and their derivative by each cell.

    Where cells tie for the top, the slope is that of the first.

    Args:
        aggregator: one of `SLOPED`.
        cells: (..., P).

    Returns:
        Scores (...), slopes (..., P).
    """
    count, r = cells.shape[-1], aggregator.parameter or 1.0
    if aggregator.name == "mean":
        return cells.mean(axis=-1), np.full_like(cells, 1.0 / count)
    if aggregator.name in ("max", "topk"):
        kept = 1 if aggregator.name == "max" else top_count(r, count)
        chosen = np.argpartition(-cells, kept - 1, axis=-1)[..., :kept]
        slopes = np.zeros_like(cells)
        np.put_along_axis(slopes, chosen, 1.0 / kept, axis=-1)
        return np.take_along_axis(cells, chosen, axis=-1).mean(axis=-1), slopes
    top = cells.max(axis=-1, keepdims=True)
    parts = np.exp(r * (cells - top))
    total = parts.sum(axis=-1, keepdims=True)
    shares = parts / total
    if aggregator.name == "lse":
        return top[..., 0] + np.log(total[..., 0] / count) / r, shares
    score = (shares * cells).sum(axis=-1)
    return score, shares * (1 + r * (cells - score[..., None]))
