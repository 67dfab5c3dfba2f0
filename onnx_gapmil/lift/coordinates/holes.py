"""Cells that are constants among cells with places: a mask before an activation, numbers put in place of others."""

from __future__ import annotations

import numpy as np

from onnx_gapmil.lift.coordinates.fields import NONE, is_number


def constants_among(array: np.ndarray, size: tuple[int, ...], step: float, pixels: int) -> bool:
    """Whether some cells are constants where all others lie as the rows and columns of a map do.

    A learned token in front of patches of which one was dropped moves all of them on by one: they make no such lines,
    or one that begins outside the image.

    Args:
        array: one coordinate of the cells, (cells, everything else).
        size: lengths of the axes of cells.
        step: distance of neighbouring places, in pixels.
        pixels: of the image along that coordinate.
    """
    known = is_number(array)
    if not (known | (array == NONE)).all():
        return False
    if max(size) == len(array):
        return all(_in_line(column, step / 2, pixels) for column in np.unique(array, axis=1).T)
    cells = np.ma.masked_array(array, ~known).reshape(*size, -1)
    others = [tuple(set(range(len(size))) - {axis}) for axis in range(len(size))]
    return any(bool((np.ma.ptp(cells, axis=along) < step / 2).all()) for along in others)


def _in_line(values: np.ndarray, within: float, pixels: int) -> bool:
    """Whether the places that some of a row of cells look at are those of evenly spaced cells, all within the image."""
    at = np.flatnonzero(is_number(values))
    if len(at) < 2:
        return True
    slope, first = np.polyfit(at, values[at], 1)
    ends = first + slope * np.array([0, len(values) - 1])
    inside = bool((ends >= 0).all() and (ends <= pixels).all())
    return inside and bool(np.abs(values[at] - slope * at - first).max() < within)
