"""Join lifts whose grids have other cells: coarser ones of the same places, or other places of the same image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.judging import COLOURS
from onnx_gapmil.lift.lifted import Laid
from onnx_gapmil.lift.placing import cells_of, difference_of
from onnx_gapmil.lift.views import NEAR, common_lattice, is_in_order, is_same_part, is_within, selection

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.judging import CellPlaces
    from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.views import Lattice


def align(node: gs.Node, walk: Lifting, lifts: list[Lifted]) -> list[Lifted]:
    """Bring lifts to grids of the same cells; the mean over cells stays what it is.

    Crops, tiles and other views that lie elsewhere in the image come to lie side by side (`onnx_gapmil.lift.views`). Of
    grids of different size that cover the same, the finest is taken: each of its cells gets the average of the coarser
    cells that it overlaps, by area.

    Whether they look at the same places then is judged when the head is lifted.

    Raises:
        HeadRefused: the sizes differ and the input's size is left open, the cells have no rows and columns, or they are
            patches with a class token among them.
    """
    sizes = {lifted.size for lifted in lifts}
    laid = _laid_out(walk, lifts)
    if laid is not None or len(sizes) == 1:
        return laid or lifts
    words = " and ".join("x".join(map(str, size)) for size in sorted(sizes))
    if any(entry.space_is_open for entry in walk.trace.inputs):
        raise walk.refuse("different-grids", node, f"it joins grids of {words} cells of an input whose size is open")
    if any(grid.prefix or grid.suffix for lifted in lifts for grid in lifted.features):
        # CrossViT's two branches. Tokens with a class token among them tell no extent that a finer grid could divide.
        said = f"it joins what grids of {words} patches bring, and no grid of cells holds both without dividing patches"
        raise walk.refuse("different-grids", node, said)
    if any(grid.note or grid.cells for lifted in lifts for grid in lifted.features):
        raise walk.refuse("different-grids", node, f"it joins grids of {words} cells, whose places do not correspond")
    target = (max(height for height, _ in sizes), max(width for _, width in sizes))
    return [_resampled(walk, lifted, target) for lifted in lifts]


def _laid_out(walk: Lifting, lifts: list[Lifted]) -> list[Lifted] | None:
    """Views that lie elsewhere in the image, side by side; None where they are no such views."""
    grids = {grid.name for lifted in lifts for grid in lifted.features}
    if len(grids) == 1 or any(entry.space_is_open for entry in walk.trace.inputs):
        return None
    if any(grid.cells or grid.fold is not None for lifted in lifts for grid in lifted.features):
        return None  # volumes and clips are joined where their cells are the same alone
    looks = [[cells_of(walk, grid) for grid in lifted.features] for lifted in lifts]
    views = [cells[0] for cells in looks]
    if any(not is_in_order(cells) or difference_of(own[0], cells) for own in looks for cells in own):
        return None  # a lattice would hide it, and what one lift alone mixes is refused where the head is placed
    if all(_cover_the_same(views[0], cells) for cells in views):
        return None  # the same places, however many cells see them
    if any(cells.beside for cells in views):
        return None  # several frames at the same rows and columns, which is refused where the head is placed
    if len({cells.places.input for cells in views}) > 1:
        return None
    # A union of views is as large as its parts are apart: each is compared by itself.
    single = [
        _own_view(grid, cells)
        for lifted, own in zip(lifts, looks, strict=True)
        for grid, cells in zip(lifted.features, own, strict=True)
    ]
    lattice = None if any(is_within(one, two) for one in single for two in single) else common_lattice(views)
    if lattice is None or not in_the_image(walk, lattice):
        return None
    return [
        _side_by_side(walk, lifted, own, lattice, view)
        for view, (lifted, own) in enumerate(zip(lifts, looks, strict=True))
    ]


def _cover_the_same(one: CellPlaces, two: CellPlaces) -> bool:
    """Whether two views look at the same places, with as many cells or with others."""
    if one.size == two.size:
        return not difference_of(one, two)
    return one.places.input == two.places.input and is_same_part(one, two)


def in_the_image(walk: Lifting, lattice: Lattice) -> bool:
    """Whether all cells of a lattice lie in the image: a view that was shifted beyond its edge is none of its parts."""
    shape = next(entry.traced for entry in walk.trace.inputs if entry.name == lattice.places.input)
    pixels = [dim for dim in shape[1:] if dim > COLOURS]
    lines = [line for line in (lattice.places.rows, lattice.places.columns) if line is not None]
    counts = lattice.size[-len(lines) :]
    if len(pixels) != len(lines):
        return False
    return all(
        line.first >= line.step * (0.5 - NEAR) and line.centre(count - 1) <= size - line.step * (0.5 - NEAR)
        for line, count, size in zip(lines, counts, pixels, strict=True)
    )


def _resampled(walk: Lifting, lifted: Lifted, size: tuple[int, int]) -> Lifted:
    if lifted.size == size:
        return lifted
    note = f"brought from {'×'.join(map(str, lifted.size))} cells to the finer grid"
    return _regridded(walk, lifted, [overlap(old, new) for old, new in zip(lifted.size, size, strict=True)], note)


def _side_by_side(walk: Lifting, lifted: Lifted, looks: list[CellPlaces], lattice: Lattice, view: int) -> Lifted:
    """A view's lift, and the features that it was made of, on the common lattice."""
    sizes = zip(lifted.size, lattice.size, lattice.spans[view], strict=True)
    before, after = ("×".join(map(str, size)) for size in (lifted.size, lattice.size))
    note = f"{before} cells of one view among the {after} of all"
    made = _regridded(walk, lifted, [selection(count, total, *span) for count, total, span in sizes], note)
    features = tuple(
        replace(grid, laid=Laid(lattice.places, _own_view(grid, cells)))
        for grid, cells in zip(made.features, looks, strict=True)
    )
    return replace(made, features=features)


def _own_view(grid: FeatureGrid, cells: CellPlaces) -> CellPlaces:
    """Where a grid looked before it was laid beside others."""
    return cells if grid.laid is None else grid.laid.view


def _regridded(walk: Lifting, lifted: Lifted, lines: list[np.ndarray], note: str) -> Lifted:
    """A lift and its features X as ``R_h X R_w'``, for R_h and R_w (new, old) whose columns have one sum each.

    That sum is the ratio of the numbers of lines, so that the mean over cells is kept.
    """

    def through(tensor: str, dtype: np.dtype) -> str:
        rows, columns = (each.astype(dtype) for each in lines)
        wide = walk.build.node("MatMul", [tensor, walk.build.constant(columns.T)])
        return walk.build.node("MatMul", [walk.build.constant(rows), wide])

    size = (len(lines[0]), len(lines[1]))
    features = tuple(
        replace(
            grid,
            name=through(grid.name, grid.dtype),
            size=size,
            note="; ".join(part for part in (grid.note, note) if part),
        )
        for grid in lifted.features
    )
    return replace(lifted, name=through(lifted.name, lifted.dtype), features=features)


def overlap(old: int, new: int) -> np.ndarray:
    """How much of each old cell lies in each new one, as a share of the new one: (new, old), float64."""
    edges_old, edges_new = np.linspace(0, 1, old + 1), np.linspace(0, 1, new + 1)
    start = np.maximum(edges_new[:-1, None], edges_old[None, :-1])
    end = np.minimum(edges_new[1:, None], edges_old[None, 1:])
    shares: np.ndarray = np.clip(end - start, 0, None) * new
    return shares
