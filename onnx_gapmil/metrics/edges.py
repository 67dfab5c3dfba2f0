"""Artefacts of edges and padding: does the outermost ring of cells speak louder than its share of cells?

Convolutions with zero padding see a border that no photo has, and some networks keep global information there. The
ring of an H x W grid holds 2 (H + W) - 4 cells (24 of 49). Without an artefact, and without objects that lie at the
edge, each share below is near or under the ring's share of cells.

The *energy* of a cell is the variance of its logits over the classes, times K: ``sum_k (G[k, p] - mean_k G[k, p])^2``.
It is large where the cell says anything at all, about whatever class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Edges:
    """One image's ring.

    Attributes:
        ring_cells: the ring's share of cells.
        evidence: its share of the evidence for the predicted class; None if there is no evidence.
        winners: its share of the cells that the predicted class wins; None if it wins none.
        energy: its share of the energy; None if all cells are flat.
        best_cell: whether the best cell of the predicted class lies in it.
        padding: the share of the evidence that lies in letterbox padding; None if there is no padding or no evidence.
    """

    ring_cells: float
    evidence: float | None
    winners: float | None
    energy: float | None
    best_cell: bool
    padding: float | None


def ring(grid_shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W): true for the outermost cells."""
    inside = np.ones(grid_shape, dtype=np.bool_)
    inside[1:-1, 1:-1] = False
    return inside


def photo_share(geometry: Geometry, grid_shape: tuple[int, int]) -> Array:
    """(H, W): the share of each cell, on the input, that shows the photo and not padding."""
    (rows, cols), (height, width) = grid_shape, geometry.input_size
    x0, y0, x1, y1 = geometry.photo_region
    shares = []
    for count, length, low, high in ((rows, height, y0, y1), (cols, width, x0, x1)):
        sides = np.arange(count + 1) * (length / count)
        shares.append(np.maximum(np.minimum(sides[1:], high) - np.maximum(sides[:-1], low), 0.0) * (count / length))
    return np.minimum(np.outer(shares[0], shares[1]), 1.0)


def edge_artefacts(
    speaking: Array,
    won: npt.NDArray[np.bool_],
    energy: Array,
    best_cell: int,
    grid_shape: tuple[int, int],
    geometry: Geometry,
) -> Edges | None:
    """Measure one image.

    Args:
        speaking: (cells,), the evidence for the predicted class.
        won: (cells,), where the predicted class has the highest logit.
        energy: (cells,), see the top of this module.
        best_cell: flat index of the predicted class's best cell.
        grid_shape: (H, W).
        geometry: where the input lies in the photo.

    Returns:
        None for a grid that is all ring: H or W is below 3.
    """
    if min(grid_shape) < 3:
        return None
    outer = ring(grid_shape).ravel()
    padded = None
    if geometry.photo_region != (0, 0, geometry.input_size[1], geometry.input_size[0]):
        padded = _share(speaking, 1.0 - photo_share(geometry, grid_shape).ravel())
    return Edges(
        ring_cells=float(outer.mean()),
        evidence=_share(speaking, outer),
        winners=_share(won.astype(np.float64), outer),
        energy=_share(energy, outer),
        best_cell=bool(outer[best_cell]),
        padding=padded,
    )


def _share(values: Array, weights: npt.NDArray[Any]) -> float | None:
    total = float(values.sum())
    return float(min((values * weights).sum() / total, 1.0)) if total > 0.0 else None
