"""A prediction grid as pixels: which cell a pixel of the picture lies in, which cells belong together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry, Rectangle

_PIXELATE_FROM = 4.0
"""Enlarged more than this, a photo shows its pixels rather than a blur."""

_DARKEST, _LIGHTEST = 90, 250
_FADED = 0.72
_GREYS = np.arange(256, dtype=np.uint8)
_LOOKED_UP_FROM = 400
"""Pixels of a cell from which a table of its colours pays."""
_HALVED_FROM = 4
"""A photo this many times larger than its panel is halved first, which is quicker than one step and as good."""


@dataclass(frozen=True, slots=True)
class Region:
    """Connected cells (sharing edges) with the same value.

    Attributes:
        value: theirs.
        cells: how many.
        rows: first and last row + 1 of the box around them.
        cols: first and last column + 1.
    """

    value: int
    cells: int
    rows: tuple[int, int]
    cols: tuple[int, int]


class Panel:
    """The photo at its size on the page, and each pixel's cell.

    Args:
        photo: (H, W, 3), RGB, uint8; one that was made smaller will do.
        geometry: where the window that the cells divide lies in the photo, of its full size.
        grid_shape: (h, w) of the grid.
        size: (height, width) of the panel.
    """

    def __init__(
        self,
        photo: npt.NDArray[np.uint8],
        geometry: Geometry,
        grid_shape: tuple[int, int],
        size: tuple[int, int],
    ) -> None:
        self.size = size
        self._geometry = geometry
        self._grid_shape = grid_shape
        self.photo = _fit(photo, size)
        rows, cols = self._cells_along(0), self._cells_along(1)
        self._down, self._across = _stretch(rows), _stretch(cols)
        self._rows, self._cols = rows[self._down], cols[self._across]

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """(height, width), whether a pixel is in some cell."""
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[self._down, self._across] = True
        return mask

    @property
    def all_seen(self) -> bool:
        """Whether every pixel is in some cell."""
        return (len(self._rows), len(self._cols)) == self.size

    @property
    def cell_size(self) -> float:
        """Of a cell's shorter side, in pixels."""
        (top, left), (bottom, right) = (0.0, 0.0), self._geometry.input_size
        x0, y0 = self._geometry.to_image(left, top)
        x1, y1 = self._geometry.to_image(right, bottom)
        across, down = self._scale
        return min((x1 - x0) * across / self._grid_shape[1], (y1 - y0) * down / self._grid_shape[0])

    def spread(self, cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give every pixel that is seen its cell's value: (h, w, ...) to the (height, width, ...) of that window."""
        return cells[self._rows][:, self._cols]

    def tinted(
        self, colors: npt.NDArray[Any], strength: npt.NDArray[np.floating], lines: npt.NDArray[np.intp] | None
    ) -> npt.NDArray[np.uint8]:
        """The photo without its colours, each cell in a colour of its own; faded where no cell is.

        Args:
            colors: (h, w, 3), RGB, 0..255.
            strength: (h, w), how much of them covers the photo, 0..1.
            lines: (h, w); between cells of different value there are white lines, where cells are large enough for
                them. None for no lines.
        """
        grey = cv2.cvtColor(self.grey, cv2.COLOR_GRAY2RGB)
        covered = (colors * strength[:, :, None] + 0.5).astype(np.float32)
        inside = self._covered(grey[self._down, self._across], covered, (1 - strength).astype(np.float32))
        width = 0 if lines is None or self.cell_size < 12 else 1 if self.cell_size < 24 else 2
        if lines is not None and width:
            inside[borders(self.spread(lines), width)] = 255
        return self._over(grey, inside)

    def _covered(
        self, window: npt.NDArray[np.uint8], covered: npt.NDArray[np.float32], left: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.uint8]:
        """The window of cells with ``grey * left + covered`` of its cell for each pixel.

        Of a cell all pixels of one grey become one colour. Where a cell has many pixels, that is looked up.
        """
        if covered.shape[0] * covered.shape[1] * _LOOKED_UP_FROM > window.shape[0] * window.shape[1]:
            colours = window * self.spread(left)[:, :, None] + self.spread(covered)
            return np.asarray(colours.astype(np.uint8))
        inside = np.empty_like(window)
        for row, down in _stretches(self._rows):
            for col, across in _stretches(self._cols):
                levels = ((_GREYS * left[row, col])[:, None] + covered[row, col]).astype(np.uint8)
                inside[down, across] = cv2.LUT(window[down, across], levels[None])
        return inside

    @cached_property
    def grey(self) -> npt.NDArray[np.uint8]:
        """(height, width), the photo without colour and with less contrast, as a ground for colours."""
        luma = cv2.cvtColor(self.photo, cv2.COLOR_RGB2GRAY)
        levels = (_DARKEST + np.arange(256) * (_LIGHTEST - _DARKEST) / 255).astype(np.uint8)
        return np.asarray(cv2.LUT(luma, levels), dtype=np.uint8)

    def faded_photo(self) -> npt.NDArray[np.uint8]:
        """The photo; faded where no cell is."""
        return self._over(self.photo, self.photo[self._down, self._across])

    def rectangle(self, rows: tuple[int, int], cols: tuple[int, int]) -> Rectangle:
        """The box around cells, [first, last + 1) in both directions, in pixels of the panel."""
        x0, y0, _, _ = self._geometry.cell_rectangle(rows[0], cols[0], self._grid_shape)
        _, _, x1, y1 = self._geometry.cell_rectangle(rows[1] - 1, cols[1] - 1, self._grid_shape)
        across, down = self._scale
        return x0 * across, y0 * down, x1 * across, y1 * down

    def _over(self, around: npt.NDArray[np.uint8], inside: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if self.all_seen:
            return inside
        white = np.full_like(around, 255)
        found = np.asarray(cv2.addWeighted(around, 1 - _FADED, white, _FADED, 0), dtype=np.uint8)
        found[self._down, self._across] = inside
        return found

    @property
    def _scale(self) -> tuple[float, float]:
        """Pixels of the panel for one of the photo, across and down."""
        height, width = self._geometry.image_size
        return self.size[1] / width, self.size[0] / height

    def _cells_along(self, axis: int) -> npt.NDArray[np.intp]:
        """Row (axis 0) or column (axis 1) of each line of pixels; -1 outside the network's input."""
        length, photo = self.size[axis], self._geometry.image_size[axis]
        window, cells = self._geometry.input_size[axis], self._grid_shape[axis]
        scale, offset = self._geometry.resized_size[axis] / photo, self._geometry.offset[axis]
        inside = (np.arange(length) + 0.5) * photo / length * scale - offset
        index = np.floor(inside * cells / window).astype(np.intp)
        return np.where((index < 0) | (index >= cells), -1, index)


def _stretches(cells: npt.NDArray[np.intp]) -> list[tuple[int, slice]]:
    """The cells along an axis, each with the lines of pixels that are in it."""
    ends = [*(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(cells)] if len(cells) else []
    return [(int(cells[start]), slice(start, end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _stretch(cells: npt.NDArray[np.intp]) -> slice:
    """The lines of pixels that are in some cell: they follow each other."""
    inside = np.flatnonzero(cells >= 0)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def borders(values: npt.NDArray[np.generic], width: int) -> npt.NDArray[np.bool_]:
    """Mask of lines, `width` pixels thick, between pixels of different value."""
    edge = np.zeros(values.shape, dtype=np.uint8)
    edge[:, 1:] |= values[:, 1:] != values[:, :-1]
    edge[1:, :] |= values[1:, :] != values[:-1, :]
    return np.asarray(cv2.dilate(edge, np.ones((width, width), dtype=np.uint8)), dtype=np.bool_)


def regions(cells: npt.NDArray[np.intp]) -> list[Region]:
    """The connected regions of an (h, w) grid of values, the largest first."""
    found: list[Region] = []
    for value in np.unique(cells):
        mask = (cells == value).astype(np.uint8)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for left, top, width, height, area in boxes[1:count].tolist():
            found.append(Region(int(value), area, (top, top + height), (left, left + width)))
    return sorted(found, key=lambda region: (-region.cells, region.rows, region.cols, region.value))


def _fit(photo: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    height, width = size
    source = np.ascontiguousarray(photo)
    while source.shape[0] >= _HALVED_FROM * height and source.shape[1] >= _HALVED_FROM * width:
        half = (source.shape[1] // 2, source.shape[0] // 2)
        source = cv2.resize(source[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    scale = width / photo.shape[1]
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    how = cv2.INTER_NEAREST if scale >= _PIXELATE_FROM else smooth
    return np.asarray(cv2.resize(source, (width, height), interpolation=how), dtype=np.uint8)
