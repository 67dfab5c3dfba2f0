"""Which cells of the grid lie on the object: the geometry under every measure that speaks of a place.

A cell is a rectangle of the photo (`Geometry.cell_rectangle`): one of H x W equal parts of the network's input, mapped
back through resize and crop and clipped to the photo. Its *overlap* is the share of that area that lies inside the
object. A cell of no area, all of it letterbox padding, has overlap 0.

With several boxes there are two questions. How much of the cell shows an object at all: the union of the boxes, each
area counted once (`cell_overlap`). And is this a foreground cell: at least half of it lies in *one* box (the highest of
`cell_overlaps`). Two boxes that each cut off a corner make no foreground cell.

Cells and boxes are axis-aligned, so all of this is exact up to rounding: no pixel is sampled.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import InputError
from onnx_gapmil.images.geometry import Geometry, Rectangle

HALF = 0.5 - 1e-9
"""A cell is foreground from half of its area on; the rest is room for the rounding of an area that is just half."""

Array = npt.NDArray[np.float64]


class ObjectBox(Protocol):
    """A labelled box, such as `onnx_gapmil.data.Box`."""

    @property
    def box(self) -> Rectangle:
        """(x0, y0, x1, y1) in pixels of the upright photo; edges, not centres of pixels."""

    @property
    def classes(self) -> tuple[int, ...]:
        """The model's classes that all mean this object; empty for the labels of the image."""


@functools.lru_cache(maxsize=64)
def cell_edges(geometry: Geometry, grid_shape: tuple[int, int]) -> tuple[Array, Array]:
    """The edges of columns and rows of cells in the photo, clipped to it.

    Remembered, since photos of a data set share few sizes and every measure asks; the arrays are not to be written to.

    Args:
        geometry: where the input lies in the photo.
        grid_shape: (H, W) of the grid.

    Returns:
        x of the W + 1 edges and y of the H + 1 edges, in pixels of the photo, ascending.
    """
    (rows, cols), (height, width) = grid_shape, geometry.input_size
    x = (np.arange(cols + 1) * width / cols + geometry.offset[1]) * geometry.image_size[1] / geometry.resized_size[1]
    y = (np.arange(rows + 1) * height / rows + geometry.offset[0]) * geometry.image_size[0] / geometry.resized_size[0]
    x, y = np.clip(x, 0.0, geometry.image_size[1]), np.clip(y, 0.0, geometry.image_size[0])
    x.flags.writeable = y.flags.writeable = False
    return x, y


@functools.lru_cache(maxsize=64)
def cell_areas(geometry: Geometry, grid_shape: tuple[int, int]) -> Array:
    """(H, W): the area of each cell in square pixels of the photo; 0 for one in padding; not to be written to."""
    x, y = cell_edges(geometry, grid_shape)
    areas = np.outer(np.diff(y), np.diff(x))
    areas.flags.writeable = False
    return areas


def cell_overlap(boxes: Sequence[Rectangle], geometry: Geometry, grid_shape: tuple[int, int]) -> Array:
    """The share of each cell's area in the photo that lies inside the union of boxes.

    The plane is cut along every edge of a cell and of a box. Each piece is then wholly in a cell, and wholly inside or
    outside the union; the pieces inside are summed.

    Args:
        boxes: (x0, y0, x1, y1) each, in pixels of the photo. Parts outside the photo do not count, nor do boxes of no
            area.
        geometry: where the input lies in the photo.
        grid_shape: (H, W) of the grid.

    Returns:
        (H, W) in 0..1; 0 for a cell that lies in padding.
    """
    kept = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
    if len(kept) <= 1:
        alone: Array = cell_overlaps(kept, geometry, grid_shape).sum(axis=0)
        return alone
    return _shares(_union(kept, *cell_edges(geometry, grid_shape)), cell_areas(geometry, grid_shape))


def cell_overlaps(boxes: Sequence[Rectangle], geometry: Geometry, grid_shape: tuple[int, int]) -> Array:
    """As `cell_overlap`, for each box by itself: (boxes, H, W)."""
    x, y = cell_edges(geometry, grid_shape)
    areas = cell_areas(geometry, grid_shape)
    found = np.zeros((len(boxes), *grid_shape))
    for place, (x0, y0, x1, y1) in enumerate(boxes):
        found[place] = _shares(np.outer(overlaps(y, y0, y1), overlaps(x, x0, x1)), areas)
    return found


def overlaps(edges: Array, low: float, high: float) -> Array:
    """The length of the overlap of [low, high] with each of the n intervals between n + 1 ascending edges."""
    lengths: Array = np.maximum(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0)
    return lengths


def cell_overlap_of_mask(mask: npt.NDArray[np.bool_], geometry: Geometry, grid_shape: tuple[int, int]) -> Array:
    """The share of each cell's area in the photo that lies in a mask.

    A pixel is a unit square, so the integral of the mask up to a point between pixels is bilinear in that point: the
    integral image, interpolated, is exact for cells whose edges cut through pixels.

    Args:
        mask: (h, w) of the upright photo, true on the object.
        geometry: where the input lies in the photo.
        grid_shape: (H, W) of the grid.

    Returns:
        (H, W) in 0..1; 0 for a cell that lies in padding.

    Raises:
        InputError: the mask's size is not the photo's.
    """
    if mask.shape != geometry.image_size:
        raise InputError(
            f"The mask has {mask.shape[1]} x {mask.shape[0]} pixels and its image has {geometry.image_size[1]} x "
            f"{geometry.image_size[0]}; a mask must have the size of the image, upright."
        )
    x, y = cell_edges(geometry, grid_shape)
    integral = cv2.integral(np.ascontiguousarray(mask, dtype=np.uint8))
    row, down = _split(y, mask.shape[0])
    strips = integral[row] * (1.0 - down)[:, None] + integral[row + 1] * down[:, None]
    col, right = _split(x, mask.shape[1])
    corners = strips[:, col] * (1.0 - right) + strips[:, col + 1] * right
    return _shares(np.diff(np.diff(corners, axis=0), axis=1), cell_areas(geometry, grid_shape))


def foreground_cells(overlap: Array) -> npt.NDArray[np.bool_] | None:
    """The cells that show the object: at least half of the cell lies in it; if none does, the one of most overlap.

    Args:
        overlap: (H, W): the highest of `cell_overlaps`, or `cell_overlap_of_mask`.

    Returns:
        (H, W), true for foreground; None where no cell overlaps the object, which the crop has then cut away. Of
        several cells of equal most overlap, the first in reading order.
    """
    chosen = overlap >= HALF
    if chosen.any():
        return chosen
    best = int(overlap.argmax())
    if overlap.flat[best] <= 0.0:
        return None
    chosen.flat[best] = True
    return chosen


def _union(boxes: list[Rectangle], x: Array, y: Array) -> Array:
    """(H, W): the area of each cell inside the union of boxes."""
    sides = np.asarray(boxes, dtype=np.float64)
    xs = np.unique(np.concatenate([x, np.clip(sides[:, 0::2].ravel(), x[0], x[-1])]))
    ys = np.unique(np.concatenate([y, np.clip(sides[:, 1::2].ravel(), y[0], y[-1])]))
    covered = np.zeros((ys.size - 1, xs.size - 1))
    left, right = np.searchsorted(xs, sides[:, 0]), np.searchsorted(xs, sides[:, 2])
    top, bottom = np.searchsorted(ys, sides[:, 1]), np.searchsorted(ys, sides[:, 3])
    for x0, y0, x1, y1 in zip(left, top, right, bottom, strict=True):
        covered[y0:y1, x0:x1] = 1.0
    return _pieces(ys, y) @ covered @ _pieces(xs, x).T


def _pieces(cuts: Array, edges: Array) -> Array:
    """(cells, pieces): the length of each piece between cuts where it lies in a cell, else 0."""
    cell = np.searchsorted(edges, cuts[:-1], side="right") - 1
    lengths = np.zeros((edges.size - 1, cuts.size - 1))
    lengths[np.minimum(cell, edges.size - 2), np.arange(cuts.size - 1)] = np.diff(cuts)
    return lengths


def _split(positions: Array, size: int) -> tuple[npt.NDArray[np.intp], Array]:
    """The pixel that each position lies in, and how far into it."""
    pixel = np.minimum(positions.astype(np.intp), size - 1)
    return pixel, positions - pixel


def _shares(inside: Array, areas: Array) -> Array:
    return np.clip(np.divide(inside, areas, out=np.zeros_like(areas), where=areas > 0.0), 0.0, 1.0)
