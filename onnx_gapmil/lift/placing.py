"""Where the cells of a lifted head look: judged for each of its grids, compared, and turned into reading order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.images.places import Places
from onnx_gapmil.lift.coordinates.judging import CellPlaces
from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.lift.verdict import ADVICE, Refusal

if TYPE_CHECKING:
    from onnx_gapmil.images.places import AxisPlaces
    from onnx_gapmil.lift.coordinates.judging import Spread
    from onnx_gapmil.lift.lifted import FeatureGrid, Lifted
    from onnx_gapmil.lift.lifting import Lifting

#: Two trunks see the same places where their cells lie within this part of a step: as in a join within one trunk.
_SAME = 0.76
#: Grids with a flip and a turn: their reading order can be restored at any size.
_TURNS = [(swap, rows, columns) for swap in (False, True) for rows in (False, True) for columns in (False, True)]


@dataclass(frozen=True)
class PlacedHead:
    """A lifted head in reading order.

    Attributes:
        lifted: its grid and its features, turned where that was needed.
        places: where the cells look.
        cells: how the vendor's cells came into that order; None where their places are not known.
    """

    lifted: Lifted
    places: Places
    cells: CellPlaces | None = None


def place(walk: Lifting, lifted: Lifted) -> PlacedHead | Refusal:
    """Where a head's cells look, its grid and features in reading order; or why they are no places."""
    for grid in lifted.features:
        if grid.fold is not None and not grid.fold.averaged:
            reason = "a layer behind it mixes frames that it pools each by itself, so that its cells are of no frame"
            return _refusal(walk, lifted, grid, "spatial-mixing-after-pool", reason)
    found = [cells_of(walk, grid) for grid in lifted.features]
    for grid, cells in zip(lifted.features, found, strict=True):
        if cells.code:
            return _refusal(walk, lifted, grid, cells.code, cells.places.reason)
    unknown = [cells for cells in found if not cells.places.known]
    if unknown:
        worst = next((cells for cells in unknown if cells.places.settled), unknown[0])
        return PlacedHead(unarranged(walk, lifted), worst.places)
    for grid, cells in zip(lifted.features[1:], found[1:], strict=True):
        if difference := difference_of(found[0], cells):
            reason = f"it is joined with a grid of other places: {difference}"
            return _refusal(walk, lifted, grid, "different-views", reason)
    attended = any(cells.places.attended for cells in found)
    cells = replace(found[0], places=replace(found[0].places, attended=attended))
    before = lifted.features[0].shape
    if cells.order is None and cells.size == before:
        features = tuple(replace(grid, note=_arranged(grid.note)) for grid in lifted.features)
        return PlacedHead(replace(lifted, features=features), cells.places, cells)
    turn = _Turn(walk, cells, before)
    if not turn.is_possible:
        why = "its cells are not in reading order, and the size of the input is left open"
        return PlacedHead(unarranged(walk, lifted), Places.unknown(why))
    features = tuple(
        replace(
            grid,
            name=turn.apply(grid.name, grid.channels),
            size=turn.size,
            cells=cells.size if len(cells.size) > 2 else (),
            note=_arranged(grid.note),
        )
        for grid in lifted.features
    )
    name = turn.apply(lifted.name, lifted.channels)
    return PlacedHead(replace(lifted, name=name, features=features), cells.places, cells)


def cells_of(walk: Lifting, grid: FeatureGrid) -> CellPlaces:
    """Where a grid's cells look."""
    if grid.laid is not None:
        return CellPlaces(grid.laid.places, grid.size)
    return walk.places(grid.source, grid.axes, grid.shape, grid.fold, grid.suffix)


def _refusal(walk: Lifting, lifted: Lifted, grid: FeatureGrid, code: str, reason: str) -> Refusal:
    """The refusal of a head that was lifted: the walk came to its pool."""
    steps = reversed(walk.chain(lifted.step.output))
    walked = tuple(walk.describe(walk.graph.producer(step.output)) for step in steps)
    return Refusal(code, grid.pool, f"{grid.pool}: {reason}", ADVICE[code], walked)


class _Turn:
    """Brings tensors (N, C, H, W) into reading order, by nodes that cost nothing to speak of."""

    def __init__(self, walk: Lifting, cells: CellPlaces, before: tuple[int, ...]) -> None:
        self._build = walk.build
        flat = len(cells.size) > 2  # the cells of a volume lie in one row until they are emitted
        self.size: tuple[int, int] = (1, math.prod(cells.size)) if flat else (cells.size[0], cells.size[1])
        self._order = np.arange(math.prod(before)) if cells.order is None else cells.order
        self._open = any(entry.space_is_open for entry in walk.trace.inputs)
        simple = walk.graph.opset >= 10 and not flat and len(before) == 2
        self._simple = self._simple_turn((before[0], before[1])) if simple else None
        self.is_possible = not self._open or self._simple is not None

    def _simple_turn(self, before: tuple[int, int]) -> tuple[bool, bool, bool] | None:
        """Whether rows and columns are exchanged, and then which of them are turned over."""
        numbers = np.arange(before[0] * before[1]).reshape(before)
        for swap, rows, columns in _TURNS:
            turned = numbers.T if swap else numbers
            turned = turned[:: -1 if rows else 1, :: -1 if columns else 1]
            if turned.shape == self.size and np.array_equal(turned.ravel(), self._order):
                return swap, rows, columns
        return None

    def apply(self, tensor: str, channels: int) -> str:
        """The same cells in reading order."""
        build = self._build
        if self._simple is not None:
            swap, rows, columns = self._simple
            if swap:
                tensor = build.node("Transpose", [tensor], perm=[0, 1, 3, 2])
            axes = [axis for axis, turned in ((2, rows), (3, columns)) if turned]
            if axes:
                count = len(axes)
                bounds = (build.ints(values) for values in ([-1] * count, [-(1 << 31)] * count, axes, [-1] * count))
                tensor = build.node("Slice", [tensor, *bounds])
            return tensor
        flat = build.reshape(tensor, [0, channels, -1])
        taken = build.node("Gather", [flat, build.ints(self._order.tolist())], axis=2)
        return build.reshape(taken, [0, channels, *self.size])


def _arranged(note: str) -> str:
    return "; ".join(part for part in note.split("; ") if part and part != UNARRANGED)


def unarranged(walk: Lifting, lifted: Lifted) -> Lifted:
    """The same with a note that its cells have no known places, so that no picture is made."""
    first, *others = lifted.features
    if UNARRANGED in first.note:
        return lifted
    note = f"{first.note}{'; ' if first.note else ''}{UNARRANGED}"
    # Windows of an image, whose axes are no depth.
    if first.cells and not any(len(entry.traced) > 4 for entry in walk.trace.inputs):
        first, *others = (replace(grid, cells=()) for grid in lifted.features)
    return replace(lifted, features=(replace(first, note=note), *others))


def difference_of(one: CellPlaces, two: CellPlaces) -> str:
    """In what the places of two grids differ, for people; "" if they are the same."""
    if one.places.input != two.places.input:
        return f"those of the inputs '{one.places.input}' and '{two.places.input}'"
    first_order, second_order = (
        np.arange(math.prod(cells.size)) if cells.order is None else cells.order for cells in (one, two)
    )
    if one.size != two.size or not np.array_equal(first_order, second_order):
        return "one of them is mirrored or turned"
    for key in one.beside.keys() & two.beside.keys():
        if abs(one.beside[key] - two.beside[key]) > _SAME:
            return f"elements {one.beside[key]:g} and {two.beside[key]:g} of axis {key[1]} of '{key[0]}'"
    if one.places.lines.keys() != two.places.lines.keys():
        return "their axes are not the same"
    for at, (name, first) in enumerate(reversed(one.places.lines.items())):
        second, axis = two.places.lines[name], -1 - at
        last, spread = one.size[axis] - 1, [cells.spread[axis] for cells in (one, two) if cells.spread is not None]
        if not _same(first, second, last, spread):
            spans = [f"from {line.first:g} to {line.centre(last):g}" for line in (first, second)]
            return f"{name} {' and '.join(spans)}"
    return ""


def _same(one: AxisPlaces, two: AxisPlaces, last: int, spread: list[Spread]) -> bool:
    """Whether the first cells and the last ones lie together; of cells that were spread over others, the middle too.

    Coarser cells that do not reach the edges, such as those of windows without padding, are drawn wider than they are.
    """
    steps = [one.step, two.step]
    ends, middle = max(*steps, *(cells.width for cells in spread)), max(*steps, *(cells.step for cells in spread))
    allowed = {0.0: ends, float(last): ends, last / 2: middle}
    return all(abs(one.centre(cell) - two.centre(cell)) <= _SAME * step for cell, step in allowed.items())
