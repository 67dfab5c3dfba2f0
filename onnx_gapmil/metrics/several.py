"""Several objects in one photo: how many does the grid name that the image-level prediction cannot?

An image-level answer is one list for the whole photo. A cell answers for its own place. For photos whose boxes carry
classes of their own, of at least two kinds: an object counts as found

- by the grid, if one of its classes has the highest logit in a cell that lies at least half in one of its boxes (if
  no cell does, in the cell of most overlap);
- by the image, if one of its classes is the image's top-1, among its top-5, or among its top-m, where m is the number
  of objects in the photo: the list just long enough to name them all.

Objects of equal classes are one (`Target`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.overlap import cell_overlaps, foreground_cells
from onnx_gapmil.metrics.targets import Target


@dataclass(frozen=True, slots=True)
class Several:
    """How many objects of one photo are found.

    Attributes:
        objects: how many there are.
        grid: found by the grid.
        top1: by the image's first class.
        top5: by its first five.
        top_m: by as many as there are objects.
    """

    objects: int
    grid: int
    top1: int
    top5: int
    top_m: int


def several_objects(
    logits: npt.NDArray[np.float64],
    winners: npt.NDArray[np.intp],
    targets: Sequence[Target],
    geometry: Geometry,
    grid_shape: tuple[int, int],
) -> Several | None:
    """Measure one photo.

    Args:
        logits: (K,) of the image.
        winners: (cells,), the class that wins each cell, -1 for nobody.
        targets: the objects, from `targets_of`.
        geometry: where the input lies in the photo.
        grid_shape: (H, W).

    Returns:
        None for a photo with less than two kinds of objects that the network sees.
    """
    if len(targets) < 2:
        return None
    seen = []
    for target in targets:
        chosen = foreground_cells(cell_overlaps(target.boxes, geometry, grid_shape).max(axis=0))
        if chosen is not None:
            seen.append((target, chosen.ravel()))
    if len(seen) < 2:
        return None
    order = np.argsort(-logits, kind="stable")

    def named(first: int) -> int:
        return sum(not set(target.classes).isdisjoint(order[:first].tolist()) for target, _ in seen)

    found = sum(not set(target.classes).isdisjoint(winners[cells].tolist()) for target, cells in seen)
    return Several(len(seen), found, named(1), named(5), named(len(seen)))
