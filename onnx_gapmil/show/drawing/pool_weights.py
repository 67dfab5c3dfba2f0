"""The weights of a pool beside the grid: a map of its cells, with sign, zeros and scale."""

from __future__ import annotations

import numpy as np

from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.show.drawing.canvas import Canvas
from onnx_gapmil.show.drawing.names import one_line
from onnx_gapmil.show.drawing.palette import HAIRLINE, INK, MUTED, OTHER, diverging
from onnx_gapmil.show.drawing.typesetting import width as text_width

#: Of the longer side of a map, and of a cell.
_SIDE, _LARGEST = 184, 40
_GAP = 20
_BAR = 90
#: Cells of fewer pixels have neither lines between them nor signs on them.
_LINED, _SIGNED = 6, 10


def draw_pool_weights(page: Canvas, xy: tuple[int, int], width: int, pool: WeightedPool) -> int:
    """Draw the map of a pool that has one.

    Blue is below 0 and orange above, on a scale that is as long on both sides; a cell below 0 has a bar, too, where
    there is room for one, and one that is 0 is grey.

    Args:
        page: to draw on.
        xy: top left corner.
        width: room for it.
        pool: the pool.

    Returns:
        Where it ends.
    """
    if pool.map is None:
        raise ValueError(f"the pool {pool.pool} has no map")
    values = np.array(pool.map)
    most = float(np.abs(values).max()) or 1.0
    x, y = xy[0], xy[1] + 18
    page.text((x, y), "Weights of the pool", 21, bold=True)
    right, bottom = _cells(page, (x, y + 16), values, most)
    beside, room = right + _GAP, x + width - right - _GAP
    page.text((beside, y + 30), one_line(pool.pool), 16, color=MUTED, room=room)
    about = f"{pool.map_is}; 1 is a plain mean's. {pool.figures[:1].upper()}{pool.figures[1:]}."
    y += 54 + page.paragraph((beside, y + 54), about, 16, color=MUTED, room=room)
    return max(bottom, _scale(page, (beside, y), values, most))


def _cells(page: Canvas, corner: tuple[int, int], values: np.ndarray, most: float) -> tuple[int, int]:
    """Returns their right and lower ends."""
    rows, columns = values.shape
    side = min(_SIDE / max(rows, columns), _LARGEST)
    line = 1 if side >= _LINED else 0
    colors = diverging(values / most)
    x, y = corner
    page.box((x, y, x + columns * side + line, y + rows * side + line), fill=HAIRLINE)
    for row, column in np.ndindex(rows, columns):
        left, top, right, bottom = (
            round(value) for value in (x + column * side, y + row * side, x + (column + 1) * side, y + (row + 1) * side)
        )
        red, green, blue = (int(level) for level in colors[row, column])
        fill = OTHER if values[row, column] == 0 else (red, green, blue)
        page.box((left + line, top + line, right, bottom), fill=fill)
        if values[row, column] < 0 and side >= _SIGNED:
            middle, centre, reach = (top + bottom) // 2, (left + right) // 2, round(side / 5)
            page.box((centre - reach, middle - 1, centre + reach + 1, middle + 2), fill=_ink(fill))
    return round(x + columns * side + line), round(y + rows * side + line)


def _ink(fill: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever is plainer on a colour."""
    return INK if np.dot(fill, (0.299, 0.587, 0.114)) > 120 else (255, 255, 255)


def _scale(page: Canvas, corner: tuple[int, int], values: np.ndarray, most: float) -> int:
    """The scale with its ends and 0, and what a grey cell is; returns where it ends."""
    x, y = corner
    low = -most if (values < 0).any() else 0.0
    start = x + round(text_width(_number(low), 16)) + 10
    levels = np.linspace(low / most, 1.0, _BAR)
    page.text((x, y + 14), _number(low), 16)
    page.paste((start, y), np.tile(diverging(levels), (16, 1, 1)))
    page.text((start + _BAR + 10, y + 14), _number(most), 16)
    if low < 0:
        zero = start + _BAR // 2
        page.box((zero - 1, y - 4, zero + 1, y + 20), fill=INK)
        page.text((zero, y + 34), "0", 14, anchor="middle")
        y += 18
    if (values == 0).any():
        y += 28
        page.box((x, y, x + 16, y + 16), fill=OTHER)
        page.text((x + 26, y + 14), "exactly 0", 16, color=MUTED)
    return y + 22


def _number(value: float) -> str:
    return f"{value:.3g}"
