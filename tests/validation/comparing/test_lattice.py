"""Common places, against a raster so fine that every cell is many of its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.validation.comparing.lattice import common_lattice

FINE = 16
"""Pixels of the raster in one pixel of the photo."""


def window(x0: float, y0: float, x1: float, y1: float, photo: tuple[int, int] = (60, 80)) -> Geometry:
    """A grid whose cells divide a rectangle of a photo of (H, W) pixels."""
    return Geometry(photo, (y1 - y0, x1 - x0), photo, (y0, x0))


def painted(grid: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A grid of whole numbers of pixels a cell, on the raster of the photo; NaN where it has no cell."""
    height, width = geometry.image_size
    raster = np.full((height * FINE, width * FINE), np.nan)
    top, left = (round(offset * FINE) for offset in geometry.offset)
    rows, columns = (round(size * FINE / cells) for size, cells in zip(geometry.input_size, grid.shape, strict=True))
    for (row, column), value in np.ndenumerate(grid):
        raster[top + row * rows : top + (row + 1) * rows, left + column * columns : left + (column + 1) * columns] = (
            value
        )
    return raster


@pytest.mark.parametrize(
    ("old", "old_shape", "new", "new_shape", "shape"),
    [
        (window(0, 0, 80, 60), (6, 8), window(0, 0, 80, 60), (3, 4), (3, 4)),
        (window(0, 0, 80, 60), (6, 8), window(5, 5, 75, 55), (5, 7), (6, 8)),
        (window(0, 0, 80, 60), (6, 8), window(20, 10, 60, 50), (8, 8), (4, 4)),
        (window(0, 0, 80, 60), (3, 8), window(0, 0, 80, 60), (6, 4), (3, 4)),
        (window(10, 0, 70, 60), (4, 4), window(0, 0, 80, 60), (12, 16), (4, 4)),
    ],
)
def test_each_grid_is_its_mean_over_the_cells_of_the_coarser(
    old: Geometry, old_shape: tuple[int, int], new: Geometry, new_shape: tuple[int, int], shape: tuple[int, int]
) -> None:
    lattice = common_lattice(old, old_shape, new, new_shape)
    assert lattice is not None
    assert lattice.shape == shape
    rng = np.random.default_rng(0)
    grids = [rng.normal(size=old_shape), rng.normal(size=new_shape)]
    rasters = [painted(grid, geometry) for grid, geometry in zip(grids, (old, new), strict=True)]
    got = lattice.of_old(grids[0][None])[0], lattice.of_new(grids[1][None])[0]
    (top, left), (high, wide) = lattice.geometry.offset, lattice.geometry.input_size
    for (row, column), _ in np.ndenumerate(got[0]):
        y0, y1 = (round((top + high * (row + step) / shape[0]) * FINE) for step in (0, 1))
        x0, x1 = (round((left + wide * (column + step) / shape[1]) * FINE) for step in (0, 1))
        for raster, found in zip(rasters, got, strict=True):
            part = raster[max(y0, 0) : y1, max(x0, 0) : x1]
            assert found[row, column] == pytest.approx(np.nanmean(part), abs=1e-9)


def test_cells_that_differ_by_a_hundredth_are_the_same_and_lie_between() -> None:
    near, far = window(0.1, 0, 80.1, 60), window(0.3, 0, 80.3, 60)
    lattice = common_lattice(window(0, 0, 80, 60), (6, 8), near, (6, 8))
    assert lattice is not None
    assert lattice.same
    assert lattice.geometry.offset[1] == pytest.approx(0.05)
    other = common_lattice(window(0, 0, 80, 60), (6, 8), far, (6, 8))
    assert other is not None
    assert not other.same


def test_the_same_cells_are_left_as_they_are() -> None:
    lattice = common_lattice(window(0, 0, 80, 60), (6, 8), window(0, 0, 80, 60), (6, 8))
    assert lattice is not None
    assert lattice.same
    grid = np.random.default_rng(1).normal(size=(3, 6, 8)).astype(np.float32)
    assert np.array_equal(lattice.of_old(grid), grid)


def test_swapping_gives_the_same_lattice() -> None:
    sides = ((window(0, 0, 80, 60), (6, 8)), (window(5, 5, 75, 55), (5, 7)))
    there = common_lattice(*sides[0], *sides[1])
    back = common_lattice(*sides[1], *sides[0])
    assert there is not None
    assert back is not None
    assert there.geometry == back.geometry
    assert np.array_equal(there.rows.old, back.rows.new)
    assert np.array_equal(there.columns.new, back.columns.old)


def test_models_that_see_nothing_in_common_have_no_lattice() -> None:
    assert common_lattice(window(0, 0, 20, 60), (6, 2), window(60, 0, 80, 60), (6, 2)) is None
