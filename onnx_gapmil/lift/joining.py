"""Join lifts on grids of different size, as long as their cells are places of the same image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


def align(node: gs.Node, walk: Lifting, lifts: list[Lifted]) -> list[Lifted]:
    """Bring lifts on grids of different size to the finest of them; the mean over cells stays what it is.

    A cell of the finer grid gets the average of the coarser cells that it overlaps, by area.

    Whether they look at the same places is judged when the head is lifted.

    Raises:
        HeadRefused: the sizes differ and the input's size is left open, or the cells have no rows and columns.
    """
    sizes = {lifted.size for lifted in lifts}
    if len(sizes) == 1:
        return lifts
    words = " and ".join("x".join(map(str, size)) for size in sorted(sizes))
    if any(entry.space_is_open for entry in walk.trace.inputs):
        raise walk.refuse("different-grids", node, f"it joins grids of {words} cells of an input whose size is open")
    if any(grid.note or grid.cells for lifted in lifts for grid in lifted.features):
        raise walk.refuse("different-grids", node, f"it joins grids of {words} cells, whose places do not correspond")
    target = (max(height for height, _ in sizes), max(width for _, width in sizes))
    return [_resampled(walk, lifted, target) for lifted in lifts]


def _resampled(walk: Lifting, lifted: Lifted, size: tuple[int, int]) -> Lifted:
    if lifted.size == size:
        return lifted
    before = "×".join(map(str, lifted.size))
    features = tuple(
        replace(
            grid,
            name=_by_area(walk, grid.name, grid.size, size, grid.dtype),
            size=size,
            note=f"{grid.note}{'; ' if grid.note else ''}brought from {before} cells to the finer grid",
        )
        for grid in lifted.features
    )
    name = _by_area(walk, lifted.name, lifted.size, size, lifted.dtype)
    return replace(lifted, name=name, features=features)


def _by_area(walk: Lifting, tensor: str, before: tuple[int, int], after: tuple[int, int], dtype: np.dtype) -> str:
    """``R_h X R_w'``: every row of R sums to 1, every column to the ratio of the sizes, so the mean is kept."""
    rows, columns = (overlap(old, new).astype(dtype) for old, new in zip(before, after, strict=True))
    wide = walk.build.node("MatMul", [tensor, walk.build.constant(columns.T)])
    return walk.build.node("MatMul", [walk.build.constant(rows), wide])


def overlap(old: int, new: int) -> np.ndarray:
    """How much of each old cell lies in each new one, as a share of the new one: (new, old), float64."""
    edges_old, edges_new = np.linspace(0, 1, old + 1), np.linspace(0, 1, new + 1)
    start = np.maximum(edges_new[:-1, None], edges_old[None, :-1])
    end = np.minimum(edges_new[1:, None], edges_old[None, 1:])
    shares: np.ndarray = np.clip(end - start, 0, None) * new
    return shares
