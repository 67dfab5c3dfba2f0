"""Foreground recovery: do the cells on the object know what it is, also where the image-level prediction is wrong?

That they do is the claim of arXiv 2606.14555. A foreground cell shows the object (`foreground_cells`). A cell is
*right* if the class of its highest logit is a true one: for a background cell, any label of the image; for a foreground
cell, one of the labels whose boxes lie there, where boxes carry labels of their own.

Checked by eye: in a photo with 12 foreground cells of which 9 have the true class on top, `any_top1` and `most_top1`
hold and `cell_share` is 0.75.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.cells import winners_along

Logits = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the cells of one image know.

    Attributes:
        any_top1: some foreground cell is right.
        any_top5: some foreground cell has a true class among its five highest.
        most_top1: more than half of the foreground cells are right.
        most_top5: the same for the five highest.
        cell_share: the share of foreground cells that are right.
        background_share: the share of the other cells that are; None if there are no others.
    """

    any_top1: bool
    any_top5: bool
    most_top1: bool
    most_top5: bool
    cell_share: float
    background_share: float | None


def foreground_recovery(
    cells: Logits,
    labels: Sequence[int],
    foreground: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_] | None = None,
    winners: npt.NDArray[np.intp] | None = None,
) -> Recovery:
    """Measure one image.

    Args:
        cells: (cells, K), of any real type.
        labels: the L true classes.
        foreground: of ``cells`` elements in any shape, true for foreground; at least one is.
        allowed: (L, cells), which labels count in which foreground cell; all by default.
        winners: (cells,), the class that wins each cell, if it is known already.
    """
    inside = foreground.ravel()
    if winners is None:
        winners = winners_along(cells, 1)
    right = right_cells(winners, labels, inside, allowed)
    seen = best_ranks(cells[inside], labels, allowed[:, inside] if allowed is not None else None) < 5
    share5 = seen.mean()
    share = right[inside].mean()
    outside = right[~inside]
    return Recovery(
        any_top1=bool(share > 0),
        any_top5=bool(share5 > 0),
        most_top1=bool(share > 0.5),
        most_top5=bool(share5 > 0.5),
        cell_share=float(share),
        background_share=float(outside.mean()) if outside.size else None,
    )


def best_ranks(
    cells: Logits, labels: Sequence[int], allowed: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.intp]:
    """(cells,): how many classes come before the best of some labels in each cell; K where none is allowed there.

    One pass over the classes however many labels there are: one label of a coarse data set may mean a hundred classes.

    Args:
        cells: (cells, K).
        labels: L classes.
        allowed: (L, cells), which labels count in which cell; all by default.
    """
    order = np.argsort(labels, kind="stable")  # of equal logits the lower class comes first
    ascending = np.asarray(labels, dtype=np.intp)[order]
    scores = cells[:, ascending]
    if allowed is not None:
        scores = np.where(allowed[order].T, scores, -np.inf)
    best = scores.argmax(axis=1)
    own = np.take_along_axis(scores, best[:, None], axis=1)
    ranks: npt.NDArray[np.intp] = np.count_nonzero(cells > own, axis=1)
    equal = cells == own
    if np.count_nonzero(equal) > np.count_nonzero(own > -np.inf):  # more than the best labels themselves
        ranks += np.count_nonzero(equal & (np.arange(cells.shape[1]) < ascending[best][:, None]), axis=1)
    return ranks


def right_cells(
    winners: npt.NDArray[np.intp],
    labels: Sequence[int],
    foreground: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """(cells,): whether each cell's winner is a true class there; arguments as `foreground_recovery`, flat."""
    hits = winners == np.asarray(labels)[:, None]
    if allowed is not None:
        hits &= allowed | ~foreground
    right: npt.NDArray[np.bool_] = hits.any(axis=0)
    return right
