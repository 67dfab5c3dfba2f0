"""From the coordinates of a grid's cells to rows and columns in the image's reading order, evenly spaced."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """Cells as rows and columns of an image, or with more axes.

    Attributes:
        lines: where the cells of each axis are.
        size: how many there are of each.
        order: for each cell in reading order, its number in the given order; None where they are the same.
    """

    lines: tuple[AxisPlaces, ...]
    size: tuple[int, ...]
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


def lattice(lines: Sequence[Line], size: tuple[int, ...]) -> Lattice:
    """Find rows and columns, or the axes of a volume.

    Args:
        lines: of all cells in row-major order: down the image and to the right; in volumes and clips with the depth or
            the frames before.
        size: how the vendor arranges them.

    Raises:
        NoLattice: there are none, or they are not evenly spaced.
    """
    cells = math.prod(size)
    found = [_labels(line, cells) for line in lines]
    lengths = tuple(len(places) for places, _ in found)
    numbers = np.zeros(cells, dtype=np.int64)
    for length, (_, labels) in zip(lengths, found, strict=True):
        numbers = numbers * length + labels
    if math.prod(lengths) == cells and len(np.unique(numbers)) == cells:
        order = np.argsort(numbers)
        even = tuple(_even(places, line) for (places, _), line in zip(found, lines, strict=True))
        return Lattice(even, lengths, None if _is_sorted(order) else order)
    return _stairs(lines, size, numbers, found)


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
    lines: Sequence[Line], size: tuple[int, ...], numbers: np.ndarray, found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Lattice:
    """Cells in runs that look at one place: nearest upsampling, pixel shuffles. A run is divided among its cells."""
    labels = [own.reshape(size) for _, own in found] if len(size) == len(lines) else []
    along = [np.moveaxis(own, axis, 0).reshape(size[axis], -1) for axis, own in enumerate(labels)]
    if not along or any((own != own[:, :1]).any() for own in along):
        if (np.unique(numbers, return_counts=True)[1] > 1).any():
            raise NoLattice("some of its cells look at the same place", twice=True)
        raise NoLattice("its cells are no rows and columns of the image")
    divided, order = [], np.zeros((1,) * len(size), dtype=np.int64)
    for axis, (line, own, (places, _)) in enumerate(zip(lines, along, found, strict=True)):
        count, run = size[axis], size[axis] // len(places)
        ordered = np.argsort(own[:, 0], kind="stable")
        if run * len(places) != count or (own[ordered, 0] != np.repeat(np.arange(len(places)), run)).any():
            raise NoLattice("some of its cells look at the same place", twice=True)
        if (np.diff(own[:, 0]) != 0).sum() != len(places) - 1:
            raise NoLattice("some of its cells look at the same place", twice=True)
        whole = _even(places, line)
        step = whole.step / run
        divided.append(_rounded(whole.first + step * (0.5 - run / 2), step))
        order = order * count + ordered.reshape([-1 if axis == other else 1 for other in range(len(size))])
    return Lattice(tuple(divided), size, None if _is_sorted(order.ravel()) else order.ravel())


def _is_sorted(order: np.ndarray) -> bool:
    return bool((order == np.arange(len(order))).all())


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
