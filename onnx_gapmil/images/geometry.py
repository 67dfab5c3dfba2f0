"""Where the network's input lies in the photo, so that a cell of the grid maps back to its pixels.

One affine map covers all resize rules. The photo, W x H pixels, is resized to w x h; the network sees a
window of that whose top left corner is at `offset`: positive where a margin was cropped, negative where one
was padded. So

    image_x = (input_x + offset_x) * W / w        image_y = (input_y + offset_y) * H / h

Coordinates are continuous, with pixel (i, j) covering [j, j+1) x [i, i+1): edges, not centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images.places import AxisPlaces, Places

ResizeRule = Literal["squash", "shortest", "letterbox"]
RESIZE_RULES: tuple[str, ...] = get_args(ResizeRule)

Rectangle = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of the photo, x to the right, y down, x0 <= x1, y0 <= y1."""

#: Pixels of the input within which two places are one.
_SAME = 1e-3

MAX_RESIZED_PIXELS = 2**27
"""A photo one pixel high and 100,000 wide would grow to billions when its shorter side is resized."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The map between the photo, upright as `read_image` gives it, and the network's input.

    Attributes:
        image_size: (H, W) of the photo in pixels.
        input_size: (H, W) of the window in pixels: the network's input, or what a grid's cells divide (`of_grid`).
        resized_size: (H, W) of the whole photo after resizing, before cropping or padding.
        offset: (y, x) of the window's top left corner in the resized photo, in pixels; negative is padding.
    """

    image_size: tuple[int, int]
    input_size: tuple[float, float]
    resized_size: tuple[int, int]
    offset: tuple[float, float]

    @classmethod
    def plan(
        cls, image_size: tuple[int, int], input_size: tuple[int, int], rule: ResizeRule, crop: float = 1.0
    ) -> Geometry:
        """Choose sizes and offsets for a photo.

        The target of the resize is `floor(input_size / crop)`; then

        - `squash` resizes both sides to the target and ignores the aspect ratio;
        - `shortest` keeps the aspect ratio and covers the target: for a square target the shorter side
          becomes the target and the longer one `int(target * long / short)`, as torchvision's `Resize(int)`;
          for another target both sides are rounded, as timm's `ResizeKeepRatio`;
        - `letterbox` keeps the aspect ratio and fits into the target, both sides rounded.

        The input is the centre of that: cropped at `round(difference / 2)` (halves to even) and padded by
        `difference // 2` at the top and left, as torchvision's `CenterCrop` does both.

        Args:
            image_size: (H, W) of the photo.
            input_size: (H, W) of the network's input.
            rule: how to resize.
            crop: the share of the resized photo that is kept along each side, in (0, 1].

        Raises:
            ImageError: the photo is so long and thin that resizing it would take more than
                `MAX_RESIZED_PIXELS`.
        """
        target = (math.floor(input_size[0] / crop), math.floor(input_size[1] / crop))
        resized = _resized_size(image_size, target, rule)
        if resized[0] * resized[1] > MAX_RESIZED_PIXELS:
            raise ImageError(
                f"An image of {image_size[1]} x {image_size[0]} pixels would grow to "
                f"{resized[1]} x {resized[0]} under the resize rule {rule!r}: it is too long and thin; "
                "crop it first."
            )
        offset = (_centre(resized[0], input_size[0]), _centre(resized[1], input_size[1]))
        return cls(image_size, input_size, resized, offset)

    def of_grid(self, rows: AxisPlaces, columns: AxisPlaces, grid_shape: tuple[int, int]) -> Geometry:
        """The same map for the window that a grid's cells divide evenly, each a step wide around its centre.

        A network that crops its input, pads it, or convolves without padding has cells that do not divide the input:
        their window is then another, smaller or larger.

        Args:
            rows: where the grid's rows look, in pixels of the input.
            columns: where its columns look.
            grid_shape: (H, W) of the grid.

        Returns:
            The geometry itself where the cells divide the whole input.
        """
        axes = tuple(zip((rows, columns), grid_shape, strict=True))
        start = tuple(axis.first - axis.step / 2 for axis, _ in axes)
        size = tuple(axis.step * cells for axis, cells in axes)
        if all(abs(found) < _SAME for found in start) and all(
            abs(found - whole) < _SAME for found, whole in zip(size, self.input_size, strict=True)
        ):
            return self
        offset = (self.offset[0] + start[0], self.offset[1] + start[1])
        return replace(self, input_size=(size[0], size[1]), offset=offset)

    def of_cells(self, places: Places, grid_shape: tuple[int, int]) -> Geometry:
        """As `of_grid`, for a head's places; the geometry itself where they are not known.

        Args:
            places: where the head's cells look.
            grid_shape: (H, W) of the grid.
        """
        if not places.known or places.rows is None or places.columns is None:
            return self
        return self.of_grid(places.rows, places.columns, grid_shape)

    @property
    def photo_region(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) in pixels of the *input*: the part of it that shows the photo, not padding."""
        (height, width), (top, left) = self.resized_size, self.offset
        return (
            max(0, -left),
            max(0, -top),
            min(self.input_size[1], width - left),
            min(self.input_size[0], height - top),
        )

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the input, in its pixels, to the photo, in its pixels; not clipped."""
        return (
            (x + self.offset[1]) * self.image_size[1] / self.resized_size[1],
            (y + self.offset[0]) * self.image_size[0] / self.resized_size[0],
        )

    @property
    def window(self) -> Rectangle:
        """(x0, y0, x1, y1) of the input in pixels of the photo, not clipped to it."""
        return (*self.to_image(0.0, 0.0), *self.to_image(float(self.input_size[1]), float(self.input_size[0])))

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the photo, in its pixels, to the input, in its pixels: the inverse of `to_image`."""
        return (
            x * self.resized_size[1] / self.image_size[1] - self.offset[1],
            y * self.resized_size[0] / self.image_size[0] - self.offset[0],
        )

    def cell_rectangle(self, row: int, col: int, grid_shape: tuple[int, int]) -> Rectangle:
        """The rectangle of one cell in the photo, clipped to it.

        The grid divides the window evenly: cell (row, col) of an (H, W) grid is one part in H x W of it. What
        a cell's value depends on, its receptive field, is larger and centred there.

        Args:
            row: 0 at the top.
            col: 0 at the left.
            grid_shape: (H, W) of the grid.

        Returns:
            (x0, y0, x1, y1) in pixels of the photo; of no area for a cell that lies in letterbox padding.

        Raises:
            IndexError: the cell is not in the grid.
        """
        rows, cols = grid_shape
        if not (0 <= row < rows and 0 <= col < cols):
            raise IndexError(f"cell ({row}, {col}) is not in a grid of {rows} x {cols}")
        height, width = self.input_size
        return self._rectangle(
            col * width / cols, row * height / rows, (col + 1) * width / cols, (row + 1) * height / rows
        )

    def _rectangle(self, x0: float, y0: float, x1: float, y1: float) -> Rectangle:
        height, width = self.image_size
        left, top = self.to_image(x0, y0)
        right, bottom = self.to_image(x1, y1)
        return (
            min(max(left, 0.0), float(width)),
            min(max(top, 0.0), float(height)),
            min(max(right, 0.0), float(width)),
            min(max(bottom, 0.0), float(height)),
        )


def _centre(length: int, window: int) -> int:
    return round((length - window) / 2) if length >= window else -((window - length) // 2)


def _resized_size(image_size: tuple[int, int], target: tuple[int, int], rule: ResizeRule) -> tuple[int, int]:
    height, width = image_size
    if rule == "squash":
        return target
    if rule == "shortest" and target[0] == target[1]:
        if height <= width:
            return target[0], int(target[0] * width / height)
        return int(target[0] * height / width), target[0]
    ratios = (height / target[0], width / target[1])
    ratio = min(ratios) if rule == "shortest" else max(ratios)
    return max(1, round(height / ratio)), max(1, round(width / ratio))
