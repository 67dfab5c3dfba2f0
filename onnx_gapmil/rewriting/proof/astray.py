"""Single cells that look elsewhere: what the mean of a row hides, of which some cells were exchanged with others.

A row of cells looks at a line of the image on average. Where the graph says where each cell looks, that is enough to
contradict it; where nothing but stripes says so, each cell has to look at its own place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

#: So many cells away, or stripes where those are wider, a cell looks elsewhere.
_AWAY = 1.0


def astray(
    moved: Sequence[np.ndarray],
    axis: Literal[0, 1],
    edges: np.ndarray,
    inside: np.ndarray,
    said: np.ndarray,
    step: float,
) -> float:
    """The share of cells that look elsewhere along one axis than their line of cells is said to.

    Args:
        moved: of each base image what stripes along the axis move, (S, H, W).
        axis: of the map.
        edges: of the stripes, in pixels.
        inside: which lines along the axis are said to look into the image, bool (cells,).
        said: where stripes would see them, in pixels, (cells,).
        step: from one cell to the next, in pixels.
    """
    found = []
    for change in moved:
        usual = change.mean(axis=0)
        found.append(np.divide(change, usual, out=np.ones_like(change), where=usual > 0))
    mean = np.mean(found, axis=0)
    # What a stripe moves everywhere is no cell's own.
    own = np.maximum(mean - np.median(mean, axis=(1, 2), keepdims=True), 0)
    middles, total = (edges[:-1] + edges[1:]) / 2, own.sum(axis=0)
    seen = np.divide(np.tensordot(middles, own, 1), total, out=np.full_like(total, np.inf), where=total > 0)
    gaps = np.abs(np.moveaxis(seen, axis, 0)[inside] - said[inside, None])
    return float((gaps > _AWAY * max(step, (edges[-1] - edges[0]) / len(middles))).mean()) if gaps.size else 0.0
