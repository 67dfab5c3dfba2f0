"""Single cells that look elsewhere: what the mean of a row hides, of which some cells were exchanged with others.

A row of cells looks at a line of the image on average. Where the graph says where each cell looks, that is enough to
contradict it; where nothing but stripes says so, each cell has to look at its own place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def astray_by(
    moved: Sequence[np.ndarray],
    axis: Literal[0, 1],
    edges: np.ndarray,
    inside: np.ndarray,
    said: np.ndarray,
    step: float,
) -> np.ndarray:
    """How far each cell looks along one axis from where its line of cells is said to.

    Args:
        moved: of each base image what stripes along the axis move, (S, H, W).
        axis: of the map.
        edges: of the stripes, in pixels.
        inside: which lines along the axis are said to look into the image, bool (cells,).
        said: where stripes would see them, in pixels, (cells,).
        step: from one cell to the next, in pixels.

    Returns:
        For each cell of a line that looks into the image, in cells, or stripes where those are wider; infinite of what
        no stripe moves more than others.
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
    return np.asarray(gaps.ravel() / max(step, (edges[-1] - edges[0]) / len(middles)))
