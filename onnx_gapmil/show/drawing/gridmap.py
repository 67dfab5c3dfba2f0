"""A prediction grid as pixels: which cell a pixel of the picture lies in, which cells belong together."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_gapmil.images.geometry import Geometry, Rectangle

_PIXELATE_FROM = 4.0
"""Enlarged more than this, a photo shows its pixels rather than a blur."""

_LUMA = np.array([0.299, 0.587, 0.114])


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
        photo: (H, W, 3), RGB, uint8.
        geometry: where the network's input lies in the photo.
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
        self._rows = self._cells_along(0)
        self._cols = self._cells_along(1)
        self.seen = (self._rows >= 0)[:, None] & (self._cols >= 0)[None, :]

    def spread(self, cells: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Give every pixel its cell's value: (h, w) to (height, width); without meaning where not `seen`."""
        return cells[self._rows[:, None], self._cols[None, :]]

    def dimmed(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Fade what the network does not see."""
        faded = blend(pixels, np.array([255.0, 255.0, 255.0]), 0.72)
        return np.where(self.seen[:, :, None], pixels, faded)

    def grey(self) -> npt.NDArray[np.uint8]:
        """The photo without colour and with less contrast, as a ground for colours."""
        luma = self.photo @ _LUMA
        return np.repeat((90 + luma * (250 - 90) / 255)[:, :, None], 3, axis=2).astype(np.uint8)

    def rectangle(self, rows: tuple[int, int], cols: tuple[int, int]) -> Rectangle:
        """The box around cells, [first, last + 1) in both directions, in pixels of the panel."""
        x0, y0, _, _ = self._geometry.cell_rectangle(rows[0], cols[0], self._grid_shape)
        _, _, x1, y1 = self._geometry.cell_rectangle(rows[1] - 1, cols[1] - 1, self._grid_shape)
        across, down = (
            self.size[1] / self._geometry.image_size[1],
            self.size[0] / self._geometry.image_size[0],
        )
        return x0 * across, y0 * down, x1 * across, y1 * down

    def _cells_along(self, axis: int) -> npt.NDArray[np.intp]:
        """Row (axis 0) or column (axis 1) of each line of pixels; -1 outside the network's input."""
        length, photo = self.size[axis], self._geometry.image_size[axis]
        window, cells = self._geometry.input_size[axis], self._grid_shape[axis]
        centres = (np.arange(length) + 0.5) * photo / length
        inside = [self._geometry.to_input(float(c), float(c))[1 - axis] for c in centres]
        index = np.floor(np.array(inside) * cells / window).astype(np.intp)
        return np.where((index < 0) | (index >= cells), -1, index)


def blend(
    pixels: npt.NDArray[np.uint8], color: npt.NDArray[np.generic], alpha: float | npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """`pixels` with `alpha` of `color` over it; both are broadcast to the shape of `pixels`."""
    return np.rint(pixels * (1 - alpha) + color.astype(np.float64) * alpha).astype(np.uint8)


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
    scale = width / photo.shape[1]
    if scale >= _PIXELATE_FROM:
        how = Image.Resampling.NEAREST
    else:
        how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(photo).resize((width, height), how, reducing_gap=3.0), dtype=np.uint8)
