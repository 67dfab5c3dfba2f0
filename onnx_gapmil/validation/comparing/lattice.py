"""Common places of two grids: the cells of the coarser one that both see, and each grid's mean over them.

Everything is in pixels of the photo, where both models' places lie whatever their sizes, crops and strides. Along each
axis the lattice is made of the cells of the grid whose cells are larger there; a cell belongs to it where the other
grid covers at least half of it. A grid's value in a cell of the lattice is the mean of its own cells, each weighted by
the area that lies in it: the coarser grid is not changed by that, and where both have the same cells nothing is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry

Array = npt.NDArray[np.float64]
#: Share of a cell by which two cells' edges may differ and be the same: where a cell looks is found from its kernels,
#: and those of an integer model differ from the float one's in the third digit.
_SAME = 0.02
#: Share by which two steps may differ and be the same.
_LEVEL = 1e-6
#: Share of a cell of the lattice that the finer grid must cover.
_COVERED = 0.5


@dataclass(frozen=True)
class _Axis:
    """The lattice along one axis.

    Attributes:
        start: its first edge, in pixels of the photo.
        step: the width of its cells.
        old: (cells, cells of the old grid): what each of these weighs in it; rows sum to 1.
        new: the same of the new grid.
        same: whether both grids have these cells.
    """

    start: float
    step: float
    old: Array
    new: Array
    same: bool


@dataclass(frozen=True)
class Lattice:
    """The common places of two grids of one photo.

    Attributes:
        rows: along the photo's height.
        columns: along its width.
        geometry: of the lattice's cells in the photo.
    """

    rows: _Axis
    columns: _Axis
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the lattice."""
        return len(self.rows.old), len(self.columns.old)

    @property
    def same(self) -> bool:
        """Whether both grids have these very cells, so that neither is averaged."""
        return self.rows.same and self.columns.same

    def of_old(self, grid: npt.NDArray[Any]) -> Array:
        """The old model's grid (K, H, W) on the lattice, (K, rows, columns), float64."""
        return _resampled(grid, self.rows.old, self.columns.old, self.same)

    def of_new(self, grid: npt.NDArray[Any]) -> Array:
        """The new model's grid on the lattice."""
        return _resampled(grid, self.rows.new, self.columns.new, self.same)


@functools.lru_cache(maxsize=64)
def common_lattice(
    old: Geometry, old_shape: tuple[int, int], new: Geometry, new_shape: tuple[int, int]
) -> Lattice | None:
    """The common places of two grids; None where they share none, or a grid is mirrored.

    Args:
        old: of the old model's cells, as `Geometry.of_cells` gives it.
        old_shape: (H, W) of its grid.
        new: of the new model's cells.
        new_shape: (H, W) of its grid.
    """
    rows = _axis(_edges(old, 0, old_shape[0]), _edges(new, 0, new_shape[0]))
    columns = _axis(_edges(old, 1, old_shape[1]), _edges(new, 1, new_shape[1]))
    if rows is None or columns is None:
        return None
    size = (rows.step * len(rows.old), columns.step * len(columns.old))
    return Lattice(rows, columns, Geometry(old.image_size, size, old.image_size, (rows.start, columns.start)))


def _edges(geometry: Geometry, axis: int, cells: int) -> Array:
    """(cells + 1,): the edges of cells along an axis, in pixels of the photo, not clipped to it."""
    inside = np.arange(cells + 1) * geometry.input_size[axis] / cells
    edges: Array = (inside + geometry.offset[axis]) * geometry.image_size[axis] / geometry.resized_size[axis]
    return edges


def _axis(old: Array, new: Array) -> _Axis | None:
    widths = (old[-1] - old[0]) / (len(old) - 1), (new[-1] - new[0]) / (len(new) - 1)
    if min(widths) <= 0:
        return None
    larger = max(widths)
    if len(old) == len(new) and float(np.abs(old - new).max()) <= _SAME * larger:
        whole, middle = np.eye(len(old) - 1), (old + new) / 2
        return _Axis(float(middle[0]), float(middle[-1] - middle[0]) / (len(old) - 1), whole, whole, True)
    # Of two steps that are the same, the grid that begins first gives the cells, whichever model's it is.
    level = abs(widths[0] - widths[1]) <= _LEVEL * larger
    by_old = old[0] <= new[0] if level else widths[0] > widths[1]
    coarse, fine = (old, new) if by_old else (new, old)
    shares = _overlaps(coarse, fine)
    kept = np.flatnonzero(shares.sum(axis=1) >= _COVERED * np.diff(coarse))
    if kept.size == 0:
        return None
    weights = shares[kept] / shares[kept].sum(axis=1, keepdims=True)
    own = np.eye(len(coarse) - 1)[kept]
    first = float(coarse[kept[0]])
    return _Axis(first, larger, own if by_old else weights, weights if by_old else own, False)


def _overlaps(coarse: Array, fine: Array) -> Array:
    """(coarse cells, fine cells): the length of each overlap."""
    low = np.maximum(coarse[:-1, None], fine[None, :-1])
    high = np.minimum(coarse[1:, None], fine[None, 1:])
    lengths: Array = np.maximum(high - low, 0.0)
    return lengths


def _resampled(grid: npt.NDArray[Any], rows: Array, columns: Array, same: bool) -> Array:
    cells = np.asarray(grid, dtype=np.float64)
    if same:
        return cells
    found: Array = rows @ (cells @ columns.T)
    return found
