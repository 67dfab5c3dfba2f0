"""An aggregator as a model's own pool: the logits from which the vendor's activation makes its answer.

Most aggregators give logits. Those that give probabilities p give their logarithm where the classes are ranked against
each other, so that the softmax has ``p / sum_k p_k``, which is p where it sums to 1 (``prob_mean``); and ``log(p / (1 -
p))`` where each class is read by itself, so that the sigmoid has p. Noisy-or's p is ``1 - prod_p (1 - p_p)``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate import formulas
from onnx_gapmil.aggregate.aggregator import Aggregator

Array = npt.NDArray[np.float64]

#: Noisy-or's cost below which it is the sum of the cells' probabilities to the last digit of float64.
_SMALL = 1e-17


def pooled_logits(aggregator: Aggregator, grid: npt.NDArray[np.floating], *, alone: bool) -> Array:
    """Image-level logits of a grid, in float64.

    Args:
        aggregator: what pools the cells.
        grid: (N, K, H, W), logits of the cells; any number of axes of cells.
        alone: each class is read by itself, by its sigmoid; else by the softmax over all. One class always is.

    Returns:
        (N, K).
    """
    cells = np.asarray(grid, dtype=np.float64).reshape(*grid.shape[:2], -1)
    alone = alone or cells.shape[1] == 1
    if alone:
        cells = cells[:, :, None]  # one class each: the formulas then take sigmoids
    with np.errstate(invalid="ignore", under="ignore", divide="ignore", over="ignore"):
        found = (
            _LOGITS[aggregator.name](aggregator, cells, alone)
            if aggregator.name in _LOGITS
            else aggregator(cells, cell_axes=1)
        )
    return np.asarray(found[..., 0] if alone else found, dtype=np.float64)


def _probability_mean(_: Aggregator, cells: Array, alone: bool) -> Array:
    found = formulas.log_sum_exp(formulas.log_probability(cells), 1.0)
    return found - formulas.log_sum_exp(formulas.log_probability(-cells), 1.0) if alone else found


def _generalized_mean(aggregator: Aggregator, cells: Array, alone: bool) -> Array:
    found = formulas.log_sum_exp(formulas.log_probability(cells), aggregator.parameter or 1.0)
    return found - np.log(-np.expm1(found)) if alone else found


def _noisy_or(aggregator: Aggregator, cells: Array, alone: bool) -> Array:
    cost = aggregator(cells, cell_axes=1)
    total = formulas.log_sum_exp(formulas.log_probability(cells), 1.0) + np.log(cells.shape[-1])
    found = np.where(cost < _SMALL, total, np.log(-np.expm1(-cost)))
    return found + cost if alone else found


_LOGITS = {"prob_mean": _probability_mean, "generalized_mean": _generalized_mean, "noisy_or": _noisy_or}
