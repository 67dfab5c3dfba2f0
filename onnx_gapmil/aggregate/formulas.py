"""The formulas of the aggregators in float64 NumPy, written so that nothing overflows.

Every function takes cells (..., K, P), float64, P >= 1 positions, and a parameter, and gives (..., K) float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Formula = Callable[[Array, float], Array]

#: Below, a sum of exponentials has lost digits to underflow.
_SMALLEST_SUM = 1e-290


def mean(cells: Array, _: float) -> Array:
    """``mean_p x_p``: global average pooling, the model's own."""
    return np.asarray(cells.mean(axis=-1))


def maximum(cells: Array, _: float) -> Array:
    """``max_p x_p``: the best instance speaks for the bag (arXiv 1412.7144)."""
    return np.asarray(cells.max(axis=-1))


def log_sum_exp(cells: Array, r: float) -> Array:
    """``1/r log(mean_p exp(r x_p))``, between mean (r to 0) and max (r to infinity) (arXiv 1411.6228)."""
    top = _finite(cells.max(axis=-1, keepdims=True))
    return np.asarray(top[..., 0] + np.log(np.exp(r * (cells - top)).mean(axis=-1)) / r)


def _finite(cells: Array) -> Array:
    """A class that is switched off is minus infinity in all cells: its distance to itself would be no number."""
    return np.maximum(cells, np.finfo(np.float64).min)


def top_share_mean(cells: Array, share: float) -> Array:
    """Mean of the n highest of the P cells of each class (arXiv 1609.08677); see `top_count`."""
    # Sorting all is quicker than `np.partition` where cells are few, as they are.
    return top_mean_of_sorted(np.sort(cells, axis=-1), share)


def top_mean_of_sorted(ordered: Array, share: float) -> Array:
    """`top_share_mean` of cells in ascending order."""
    return np.asarray(ordered[..., -top_count(share, ordered.shape[-1]) :].mean(axis=-1))


def top_count(share: float, cells: int) -> int:
    """How many of P cells count: ``max(1, floor(share P + 1/2))``, or a number above 1 itself, all where P is less."""
    return min(int(share), cells) if share > 1 else int(max(share * cells + 0.5, 1.0))


def softmax_weighted(cells: Array, r: float) -> Array:
    """``sum_p w_p x_p`` with ``w = softmax_p(r x_p)``: softmax pooling (arXiv 1804.10070)."""
    cells = _finite(cells)
    weights = np.exp(r * (cells - cells.max(axis=-1, keepdims=True)))
    return np.asarray((weights * cells).sum(axis=-1) / weights.sum(axis=-1))


def noisy_or(cells: Array, _: float) -> Array:
    """``-sum_p log(1 - p_p)`` of the cells' probabilities: rises with noisy-or's ``1 - prod_p (1 - p_p)``.

    Noisy-or (Zhang, Platt and Viola, *Multiple instance boosting*, NIPS 2005) rounds to 1 for several classes at
    once, where no order is left; ``-log(1 - noisy-or)`` has the same order and is finite.

    Taking the winning class's p, which rounds to 1, from 1 would lose it: so its others are summed by themselves.
    """
    if cells.shape[-2] == 1:
        return np.asarray(np.logaddexp(0.0, cells).sum(axis=-1))
    shifted = cells - cells.max(axis=-2, keepdims=True)
    return noisy_or_of(cells, shifted, np.exp(shifted))


def noisy_or_of(cells: Array, shifted: Array, others: Array) -> Array:
    """`noisy_or` of two classes or more, from what is at hand.

    Args:
        cells: (..., K, P).
        shifted: these less the highest of each cell's classes.
        others: the exponentials of that; written over.
    """
    best = cells.argmax(axis=-2)[..., None, :]
    np.put_along_axis(others, best, 0.0, axis=-2)
    rest = others.sum(axis=-2, keepdims=True)  # the best one's part would be 1
    costs = -np.log1p(-others / (1.0 + rest))
    np.put_along_axis(costs, best, np.log1p(rest) - _log_of_rest(shifted, best, rest), axis=-2)
    return np.asarray(costs.sum(axis=-1))


def _log_of_rest(shifted: Array, best: npt.NDArray[np.intp], rest: Array) -> Array:
    """Logarithm of the sum over all but the best class (..., 1, P), also where the sum itself is too small to be."""
    with np.errstate(divide="ignore"):
        logarithm = np.log(rest)
    small = rest < _SMALLEST_SUM
    if small.any():
        others = shifted.copy()
        np.put_along_axis(others, best, -np.inf, axis=-2)
        second = others.max(axis=-2, keepdims=True)
        exact = second + np.log(np.exp(others - second).sum(axis=-2, keepdims=True))
        logarithm = np.where(small, exact, logarithm)
    return logarithm


def median(cells: Array, _: float) -> Array:
    """The middle cell; of an even number the mean of the two middle ones."""
    return median_of_sorted(np.sort(cells, axis=-1))  # which is quicker than `np.median`, and has NaN last


def median_of_sorted(ordered: Array) -> Array:
    """`median` of cells in ascending order."""
    count = ordered.shape[-1]
    middle = count // 2
    found = ordered[..., middle] if count % 2 else 0.5 * (ordered[..., middle - 1] + ordered[..., middle])
    return np.where(np.isnan(ordered[..., -1]), np.nan, found)


def generalized_mean(cells: Array, r: float) -> Array:
    """``(mean_p p_p^r)^(1/r)`` of the cells' probabilities (generalized-mean pooling, arXiv 1711.02512)."""
    return np.exp(log_sum_exp(log_probability(cells), r))


def probability_mean(cells: Array, _: float) -> Array:
    """``mean_p p_p``: mean over cells of each cell's softmax."""
    return np.asarray(np.exp(log_probability(cells)).mean(axis=-1))


def log_probability(cells: Array) -> Array:
    """Logarithm of each cell's softmax over classes; of its sigmoid where K is 1."""
    if cells.shape[-2] == 1:
        return -np.logaddexp(0.0, -cells)
    shifted = cells - cells.max(axis=-2, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-2, keepdims=True)))


def all_defaults(cells: Array, parameters: Mapping[str, float]) -> dict[str, Array]:
    """Every formula of cells of two classes or more, what several need computed once; the numbers are the same.

    Args:
        cells: (..., K, P) with K at least 2.
        parameters: by the formula's name.
    """
    ordered = np.sort(cells, axis=-1)
    shifted = cells - cells.max(axis=-2, keepdims=True)
    powers = np.exp(shifted)
    log_shares = shifted - np.log(powers.sum(axis=-2, keepdims=True))
    return {
        "mean": mean(cells, 0.0),
        "max": maximum(cells, 0.0),
        "lse": log_sum_exp(cells, parameters["lse"]),
        "topk": top_mean_of_sorted(ordered, parameters["topk"]),
        "softmax_weighted": softmax_weighted(cells, parameters["softmax_weighted"]),
        "noisy_or": noisy_or_of(cells, shifted, powers),
        "median": median_of_sorted(ordered),
        "generalized_mean": np.exp(log_sum_exp(log_shares, parameters["generalized_mean"])),
        "prob_mean": np.asarray(np.exp(log_shares).mean(axis=-1)),
    }
