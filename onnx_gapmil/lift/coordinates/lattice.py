"""From the coordinates of a grid's cells to rows and columns in the image's reading order, evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_gapmil.images.places import AxisPlaces

#: Coordinates that differ by less than this part of a step are one row.
_ONE_ROW = 0.05
#: By which part of a step a row may lie beside an even spacing.
_EVEN = 0.05
#: Decimals of a pixel that are kept: what sums of kernels leave beyond them is rounding.
_DIGITS = 6


@dataclass(frozen=True)
class Lattice:
    """Cells as rows and columns of the image.

    Attributes:
        rows: where the rows are.
        columns: where the columns are.
        size: how many there are of each.
        order: for each cell in reading order, its number in the given order; None where they are the same.
    """

    rows: AxisPlaces
    columns: AxisPlaces
    size: tuple[int, int]
    order: np.ndarray | None


@dataclass(frozen=True)
class Line:
    """Coordinates of all cells along one axis of the image.

    Attributes:
        values: (cells,) in pixels; None where the axis has one row of cells.
        step: distance of neighbouring places.
        pixels: length of the image along it.
    """

    values: np.ndarray | None
    step: float
    pixels: int


class NoLattice(Exception):  # noqa: N818 - an answer, not an error
    """The cells are no rows and columns of the image; says what they are.

    Attributes:
        twice: whether cells that differ look at the same place.
    """

    def __init__(self, reason: str, *, twice: bool = False) -> None:
        super().__init__(reason)
        self.twice = twice


def lattice(rows: Line, columns: Line, size: tuple[int, int]) -> Lattice:
    """Find rows and columns.

    Args:
        rows: of all cells in row-major order, down the image.
        columns: to the right.
        size: how the vendor arranges them.

    Raises:
        NoLattice: there are none, or they are not evenly spaced.
    """
    cells = size[0] * size[1]
    (heights, row), (widths, column) = (_labels(line, cells) for line in (rows, columns))
    high, wide = len(heights), len(widths)
    numbers = row * wide + column
    if high * wide == cells and len(np.unique(numbers)) == cells:
        order = np.argsort(numbers)
        same = bool((order == np.arange(cells)).all())
        return Lattice(_even(heights, rows), _even(widths, columns), (high, wide), None if same else order)
    return _stairs(rows, columns, size, (heights, row), (widths, column))


def _labels(line: Line, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows there are, and the number of each cell's."""
    if line.values is None:
        return np.array([line.pixels / 2]), np.zeros(cells, dtype=np.int64)
    order = np.argsort(line.values, kind="stable")
    ordered = line.values[order]
    starts = np.concatenate([[True], np.diff(ordered) > _ONE_ROW * line.step])
    found = np.empty(cells, dtype=np.int64)
    found[order] = np.cumsum(starts) - 1
    return ordered[starts], found


def _stairs(
    rows: Line,
    columns: Line,
    size: tuple[int, int],
    high: tuple[np.ndarray, np.ndarray],
    wide: tuple[np.ndarray, np.ndarray],
) -> Lattice:
    """Cells in runs that look at one place: nearest upsampling, pixel shuffles. A run is divided among its cells."""
    row, column = high[1].reshape(size), wide[1].reshape(size)
    if (row != row[:, :1]).any() or (column != column[:1]).any():
        counts = np.unique(high[1] * len(wide[0]) + wide[1], return_counts=True)[1]
        if (counts > 1).any():
            raise NoLattice("some of its cells look at the same place", twice=True)
        raise NoLattice("its cells are no rows and columns of the image")
    lines, orders = [], []
    for line, found, labels, count in ((rows, high[0], row[:, 0], size[0]), (columns, wide[0], column[0], size[1])):
        run = count // len(found)
        ordered = np.argsort(labels, kind="stable")
        if run * len(found) != count or (labels[ordered] != np.repeat(np.arange(len(found)), run)).any():
            raise NoLattice("some of its cells look at the same place", twice=True)
        if (np.diff(labels) != 0).sum() != len(found) - 1:
            raise NoLattice("some of its cells look at the same place", twice=True)
        whole = _even(found, line)
        step = whole.step / run
        lines.append(_rounded(whole.first + step * (0.5 - run / 2), step))
        orders.append(ordered)
    order = (orders[0][:, None] * size[1] + orders[1][None, :]).ravel()
    same = bool((order == np.arange(len(order))).all())
    return Lattice(lines[0], lines[1], size, None if same else order)


def _even(found: np.ndarray, line: Line) -> AxisPlaces:
    """First and step of rows that are evenly spaced; the plain tiling where the first is within a quarter cell."""
    if line.values is None:
        return AxisPlaces.tiling(1, line.pixels)
    step = float(found[-1] - found[0]) / (len(found) - 1) if len(found) > 1 else line.step
    first = float(found.mean()) - step * (len(found) - 1) / 2
    if (np.abs(found - first - step * np.arange(len(found))) > _EVEN * step).any():
        raise NoLattice("its cells are not evenly spaced in the image")
    # Where a trained network looks within its window is known to a quarter of a cell.
    first = step / 2 if abs(first - step / 2) <= step / 4 else first
    return _rounded(first, step)


def _rounded(first: float, step: float) -> AxisPlaces:
    return AxisPlaces(round(first, _DIGITS), round(step, _DIGITS))
