"""Views of one image that lie elsewhere in it (crops, tiles, halves): the common lattice on which their cells lie.

A view's grid of n cells is laid onto the U cells of the lattice, zero where it does not look, and multiplied by U / n
(by U / (n * k) where each of its cells covers k of the lattice's), so that its mean over cells stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.images.places import AxisPlaces, Places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.lift.coordinates.judging import CellPlaces

#: Where a network looks is known to a quarter of a cell; views whose cells lie farther beside a lattice have none.
NEAR = 0.25
#: Two trunks see the same part of an image where their outermost cells end within this share of the coarser step.
_ALIKE = 0.76
#: A cell is divided into at most so many along each axis, to find a lattice on which all views lie.
_MOST_PARTS = 4
#: Views that are far apart, or much coarser than another, would leave mostly empty cells.
_MOST_CELLS = 1 << 16


@dataclass(frozen=True)
class Lattice:
    """What several views lie on.

    Attributes:
        places: where its cells look.
        size: (rows, columns).
        spans: for each view, along rows and columns, the first cell that it covers and how many each of its own covers.
    """

    places: Places
    size: tuple[int, int]
    spans: tuple[tuple[tuple[int, int], tuple[int, int]], ...]


def common_lattice(views: Sequence[CellPlaces]) -> Lattice | None:
    """The coarsest lattice on which the cells of all views lie; None if there is none.

    Args:
        views: known places of grids in reading order, of one input.
    """
    found: list[tuple[AxisPlaces | None, int, list[tuple[int, int]]]] = []
    for axis, name in enumerate(("rows", "columns")):
        lines = [getattr(view.places, name) for view in views]
        if all(line is None for line in lines):  # signals have columns alone
            found.append((None, 1, [(0, 1)] * len(views)))
            continue
        known = not any(line is None for line in lines)
        shared = _common_line(lines, [view.size[axis] for view in views]) if known else None
        if shared is None:
            return None
        found.append(shared)
    (rows, high, down), (columns, wide, across) = found
    if high * wide > _MOST_CELLS:
        return None
    spans = tuple(zip(down, across, strict=True))
    return Lattice(Places(True, views[0].places.input, rows, columns), (high, wide), spans)


def is_within(one: CellPlaces, two: CellPlaces) -> bool:
    """Whether a view sees a part of what another sees: beside its whole, a part is no view of its own."""
    ends = [(_ends(one, name), _ends(two, name)) for name in ("rows", "columns")]
    near = NEAR * min(line.step for cells in (one, two) for line in (cells.places.rows, cells.places.columns) if line)
    inside = all(inner[0] >= outer[0] - near and inner[1] <= outer[1] + near for inner, outer in ends)
    same = all(abs(side - other) <= near for inner, outer in ends for side, other in zip(inner, outer, strict=True))
    return inside and not same


def is_same_part(one: CellPlaces, two: CellPlaces) -> bool:
    """Whether two views begin and end at the same places, give or take what cells of windows without padding lack."""
    for name in ("rows", "columns"):
        lines = [getattr(cells.places, name) for cells in (one, two)]
        near = _ALIKE * max((line.step for line in lines if line is not None), default=0.0)
        pairs = zip(_ends(one, name), _ends(two, name), strict=True)
        if any(abs(side - other) > near for side, other in pairs):
            return False
    return True


def _ends(cells: CellPlaces, name: str) -> tuple[float, float]:
    """Where a view begins and ends along an axis, in pixels."""
    line = getattr(cells.places, name)
    if line is None:
        return 0.0, 0.0
    count = cells.size[int(name == "columns")]
    return line.first - line.step / 2, line.first + (count - 0.5) * line.step


def _common_line(
    lines: Sequence[AxisPlaces], counts: Sequence[int]
) -> tuple[AxisPlaces, int, list[tuple[int, int]]] | None:
    """Along one axis: the lattice, its number of cells, and for each view its first cell and how many it takes each."""
    base = min(line.step for line in lines)
    left = min(line.first - line.step / 2 for line in lines)
    for parts in range(1, _MOST_PARTS + 1):
        step, spans, far = base / parts, [], 0.0
        for line, count in zip(lines, counts, strict=True):
            copies = round(line.step / step)
            start = (line.first - line.step / 2 - left) / step
            end = start + count * line.step / step
            far = max(far, abs(start - round(start)), abs(end - (round(start) + count * copies)))
            spans.append((round(start), copies))
        if far <= NEAR:
            total = max(start + count * copies for (start, copies), count in zip(spans, counts, strict=True))
            return AxisPlaces(left + step / 2, step), total, spans
    return None


def selection(count: int, total: int, start: int, copies: int) -> np.ndarray:
    """Which of a view's lines each line of the lattice takes: (total, count), float64, in units that keep the mean.

    Args:
        count: lines of the view.
        total: lines of the lattice.
        start: the first line of the lattice that the view covers.
        copies: how many lines of the lattice each of its own covers.
    """
    chosen = np.zeros((total, count))
    for cell in range(count):
        chosen[start + cell * copies : start + (cell + 1) * copies, cell] = total / (count * copies)
    return chosen


def is_in_order(cells: CellPlaces) -> bool:
    """Whether a grid's places are known and its cells are in reading order."""
    return cells.places.known and not cells.code and cells.order is None
