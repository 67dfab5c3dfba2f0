"""What a cell answers: the class that wins it, and how surely."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation, activate

#: A cell is sure whose winner has at least this share of the cell's softmax; boxes surround such cells.
SURE = 0.5
#: float32's softmax is off by less; cells nearer to `SURE` are decided in float64.
_NEAR = 1e-4


def certainty(grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(h, w) in 0..1: the winner's share of the softmax over a cell's classes; of one logit the sigmoid."""
    kind: Activation = "softmax" if len(grid) > 1 else "sigmoid"
    return np.asarray(activate(grid, kind).max(axis=0), dtype=np.float64)


def winning_classes(grid: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The class whose logit is higher than every other's in each cell; where two are the highest, nobody wins.

    Args:
        grid: (K, rows, columns).

    Returns:
        (rows, columns) of class indices, -1 for nobody. A model with one logit has its class where that is positive.
    """
    if grid.shape[0] == 1:
        return np.where(grid[0] > 0, 0, -1).astype(np.intp)
    return winners_along(grid, 0)


def winners_along(logits: npt.NDArray[Any], axis: int) -> npt.NDArray[np.intp]:
    """The index of the one highest of at least two logits along an axis, -1 where several are equally high."""
    if axis == 0:
        found = _one_in_each(logits.reshape(len(logits), -1))
        if found is not None:
            return found.reshape(logits.shape[1:])
    best = np.expand_dims(logits.argmax(axis=axis), axis)
    tied = np.count_nonzero(logits == np.take_along_axis(logits, best, axis=axis), axis=axis) > 1
    return np.where(tied, -1, best.squeeze(axis)).astype(np.intp)


def _one_in_each(logits: npt.NDArray[Any]) -> npt.NDArray[np.intp] | None:
    """(P,): where the highest logit of each column of (K, P) is; None where a column has several, or is no number.

    An argmax along the first axis reads the array against its order, which takes several times as long.
    """
    classes, cells = np.divmod(np.flatnonzero(logits == logits.max(axis=0)), logits.shape[1])
    winners = np.full(logits.shape[1], -1, dtype=np.intp)
    winners[cells] = classes
    return winners if len(cells) == len(winners) and (winners >= 0).all() else None


def quick_certainty(grid: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """As `certainty`, in float32 where that is off by less than anybody would see.

    Args:
        grid: (K, rows, columns), float32 or float64.

    Returns:
        (rows, columns). Near `SURE` as float64 has it: whether a cell is sure does not hang on rounding.
    """
    if len(grid) == 1 or grid.dtype != np.float32:
        return certainty(grid.astype(np.float64))
    with np.errstate(invalid="ignore"):  # inf - inf: such a cell is not sure of anything
        share = (1 / np.exp(grid - grid.max(axis=0)).sum(axis=0)).astype(np.float64)
    near = np.abs(share - SURE) < _NEAR
    if near.any():
        share[near] = certainty(grid[:, near].astype(np.float64))
    return np.asarray(share)


def sure_cells(grid: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Cells whose best class has at least `SURE` of the cell's softmax (sigmoid, with one class).

    Args:
        grid: (K, rows, columns), float32 or float64.

    Returns:
        (rows, columns), as float64 decides.
    """
    return np.asarray(quick_certainty(grid) >= SURE)
