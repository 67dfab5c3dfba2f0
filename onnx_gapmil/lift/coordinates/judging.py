"""`places_of`: where the cells of a feature grid look, or why that is not known, or why they are no places."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.lift.coordinates.fields import (
    CONFLICT,
    DECIDED,
    MIXED,
    NONE,
    POOLED,
    SAMPLED,
    UNKNOWN,
    Field,
    contract,
    is_number,
)
from onnx_gapmil.lift.coordinates.holes import constants_among
from onnx_gapmil.lift.coordinates.lattice import Lattice, Line, NoLattice, lattice
from onnx_gapmil.lift.coordinates.looks import Looks, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from onnx_gapmil.lift.coordinates.looks import Key

#: Axes of an input with at most so many elements hold colours.
COLOURS = 4
_RGB = 3


@dataclass(frozen=True)
class Spread:
    """Coarser cells that were spread over a finer grid by area, as if they divided the image evenly.

    Attributes:
        step: from one of them to the next, in pixels.
        width: of the part of the image that each was given.
    """

    step: float
    width: float


@dataclass(frozen=True)
class CellPlaces:
    """What is known of the places of a grid's cells.

    Attributes:
        places: rows and columns in reading order; depth or frames before them.
        size: how many rows and columns there are, or cells along each of more axes; the vendor's arrangement where
            places are not known.
        order: for each cell in reading order, its number in the vendor's; None where they are the same.
        code: a refusal's code, where the cells are no places or several; else "".
        spread: the coarser cells, down and to the right, that were spread over those of this grid; None without any.
        beside: where all of them look along the other axes of the input that are no colours: at one frame of a clip.
    """

    places: Places
    size: tuple[int, ...]
    order: np.ndarray | None = None
    code: str = ""
    spread: tuple[Spread, Spread] | None = None
    beside: Mapping[Key, float] = field(default_factory=dict)


class _Unknown(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, reason: str, code: str = "", *, settled: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.settled = settled


def places_of(
    looks: Looks | None,
    axes: tuple[int, ...],
    size: tuple[int, ...],
    inputs: Mapping[str, tuple[int, ...]],
    extent: Callable[[Key], tuple[float, float] | None] = lambda _: None,
    *,
    are_frames: bool = False,
    suffix: int = 0,
) -> CellPlaces:
    """Judge one grid.

    Args:
        looks: what the vendor's tensor sees that holds the cells; None if it was not followed.
        axes: its axes that are cells, in the order rows, columns. Tokens before the cells are left out.
        size: lengths of the axes of cells as the vendor arranges them.
        inputs: traced shapes of the graph's inputs.
        extent: from where to where what the tensor is made of reaches along an axis of an input, in pixels: one row of
            cells, made of all of it, lies in its middle.
        are_frames: whether the first of them are known to be frames.
        suffix: how many tokens behind the cells are left out.
    """
    try:
        if looks is None:
            raise _Unknown("what it is made of was not followed")
        if looks.rank <= max(axes):
            raise _Unknown(looks.why or "what it is made of was not followed")
        dims = tuple(looks.shape[axis] for axis in axes)
        own = size
        if math.prod(dims) - suffix < math.prod(size):
            own = (math.prod(dims[:-1]), dims[-1])  # brought to the finer grid of another trunk
        cells = _Cells(looks, axes, own, inputs, extent, are_frames=are_frames, suffix=suffix)
        return _resampled(_judge(cells, own), size, inputs)
    except _Unknown as unknown:
        places = Places.unknown(str(unknown), settled=unknown.settled)
        return CellPlaces(places, size, None, unknown.code)


def look_alike(
    looks: tuple[Looks | None, Looks | None],
    axes: tuple[tuple[int, ...], tuple[int, ...]],
    size: tuple[int, ...],
    inputs: Mapping[str, tuple[int, ...]],
    suffixes: tuple[int, int] = (0, 0),
) -> bool:
    """Whether two grids' cells, one by one, look at the same, where neither has places that can be told.

    Args:
        looks: what the vendor's tensors see that hold the cells; None if one was not followed.
        axes: of each its axes that are cells.
        size: lengths of the axes of cells, of both.
        inputs: traced shapes of the graph's inputs.
        suffixes: of each, how many tokens behind its cells are left out.
    """
    one, two = (
        _Cells(seen, own, size, inputs, lambda _: None, suffix=behind)
        if seen is not None and len(seen.views) == 1 and seen.rank > max(own)
        else None
        for seen, own, behind in zip(looks, axes, suffixes, strict=True)
    )
    if one is None or two is None or one.view.keys() != two.view.keys():
        return False
    places = one.keys()  # but for the batch
    arrays = ((one.array(key), two.array(key)) for key in places)
    return all(
        (first == first[:, :1]).all() and (second == first[:, :1]).all() and (first < UNKNOWN).all()
        for first, second in arrays
    )


def _resampled(found: CellPlaces, size: tuple[int, ...], inputs: Mapping[str, tuple[int, ...]]) -> CellPlaces:
    """The same extent in more cells."""
    if math.prod(found.size) == math.prod(size):
        return found
    rows, columns = found.places.rows, found.places.columns
    if found.order is not None or rows is None or columns is None:
        raise _Unknown("cells that are not in reading order are spread over another grid's", "different-views")
    scaled, spread = [], []
    spatial = [dim for dim in inputs[found.places.input][1:] if dim > COLOURS]
    for line, old, new in zip((rows, columns), found.size, size, strict=True):
        step = line.step * old / new
        scaled.append(AxisPlaces(line.first + (step - line.step) / 2, step))
        spread.append(Spread(line.step, max(spatial, default=1) / old))
    places = replace(found.places, rows=scaled[0], columns=scaled[1])
    return replace(found, places=places, size=size, spread=(spread[0], spread[1]))


def _judge(cells: _Cells, size: tuple[int, ...]) -> CellPlaces:
    if math.prod(size) == 1:
        return _one_cell(cells, size)
    cells.require_followed()
    placed = cells.placed()
    names = {name for name, _ in placed}
    if len(names) > 1:
        raise _Unknown(f"its cells look at several inputs ({', '.join(sorted(names))})", "different-views")
    if not placed:
        raise cells.no_places()
    name = names.pop()
    axes = cells.image_axes(name, sorted(axis for _, axis in placed))
    lines = [cells.line(name, axis) for axis in axes.values()]
    cells.require_told_apart(name, axes.values(), lines)
    if len(axes) == 1:  # a signal: one row of cells
        lines = [Line(None, 1.0, 1), *lines]
    if len(lines) <= 2 < len(size):  # windows of rows and columns, each of more axes
        size = (math.prod(size[:-1]), size[-1])
    try:
        found = lattice(lines, size)
    except NoLattice as error:
        raise _Unknown(str(error), "different-views" if error.twice else "") from error
    beside = cells.beside(name, axes)
    places = replace(_named(name, axes, found, len(cells.inputs[name])), attended=cells.attended)
    return CellPlaces(places, found.size, found.order, beside=beside)


def _named(name: str, axes: Mapping[str, int], found: Lattice, rank: int) -> Places:
    """Places by what each axis is."""
    lines = dict(zip(axes, found.lines[-len(axes) :], strict=True))
    rows, columns, depth, frames = (lines.get(title) for title in ("rows", "columns", "depth", "frames"))
    own = axes if set(axes) != {"rows", "columns"} or rank > 4 else {}
    return Places(True, name, rows, columns, depth=depth, frames=frames, axes=own)


def _one_cell(cells: _Cells, size: tuple[int, ...]) -> CellPlaces:
    """One cell sees the whole image, or the crop that it is made of."""
    name = next(iter(cells.inputs))
    spatial = cells.spatial_axes(name)
    if not 1 <= len(spatial) <= 4:
        raise _Unknown("there is one cell, and its input is no image")
    axes = cells.titled(name, spatial)
    found = lattice([cells.line(name, axis) for axis in spatial], (1,) * len(spatial))
    return CellPlaces(_named(name, axes, found, len(cells.inputs[name])), size)


class _Cells:
    """The coordinates of the cells of one grid."""

    def __init__(
        self,
        looks: Looks,
        axes: tuple[int, ...],
        size: tuple[int, ...],
        inputs: Mapping[str, tuple[int, ...]],
        extent: Callable[[Key], tuple[float, float] | None],
        *,
        are_frames: bool = False,
        suffix: int = 0,
    ) -> None:
        if len(looks.views) > 1:
            raise _Unknown("its cells are pairs of places, such as an attention's scores", "no-spatial-pool")
        self.view: View = looks.views[0]
        self.why = looks.why
        self.attended = looks.attended
        self.axes = axes
        self.inputs = inputs
        self._extent = extent
        self._shape = looks.shape
        self._size = size
        self._count = math.prod(size)
        self._suffix = suffix
        self._are_frames = are_frames
        self._kept = tuple(axis for axis in range(looks.rank) if axis not in axes)
        self._arrays: dict[Key, np.ndarray] = {}

    def array(self, key: Key) -> np.ndarray:
        """A coordinate, (cells, everything else)."""
        if key not in self._arrays:
            values = self.view[key].values
            full = np.broadcast_to(
                values, [self._shape[axis] if axis in self.axes else values.shape[axis] for axis in range(values.ndim)]
            )
            ahead = np.moveaxis(full, self.axes, range(len(self.axes)))
            flat = ahead.reshape(int(np.prod(ahead.shape[: len(self.axes)])), -1)
            # A mean or class token before the cells belongs to none of them, and neither do registers behind.
            end = len(flat) - self._suffix
            self._arrays[key] = flat[max(0, end - self._count) : end]
        return self._arrays[key]

    def differs(self, key: Key) -> bool:
        """Whether a coordinate is a number for some cells and not the same for all of them."""
        array = self.array(key)
        return bool(is_number(array).any()) and bool((array != array[:1]).any())

    def spatial_axes(self, name: str) -> list[int]:
        """Axes of an input that may be space or time: not the batch, not the colours."""
        shape = self.inputs[name]
        # One photo (H, W, 3), to which the graph itself adds a batch.
        if len(shape) == 3 and [self._is_seen((name, axis)) for axis in range(3)] == [True, True, False]:
            return [0, 1]
        axes = list(range(1, len(shape)))
        # Signals (N, C, T) and tokens (N, T, C) look alike: what the cells differ in tells.
        if len(axes) >= 3:
            # Colours are first in most files, last in TensorFlow's, and behind the frames in clips of photos.
            places = [1, *([len(shape) - 1] if len(shape) >= 4 else []), *([2] if len(shape) >= 5 else [])]
            # A small map that is fed as the input has no such axis; what the cells differ in is none.
            free = [axis for axis in places if not self._is_seen((name, axis))]
            likely = [axis for count in (3, 1, 4, 2) for axis in free if shape[axis] == count]
            colours = next(iter([*likely, *free]), None)
            axes = [axis for axis in axes if axis != colours]
        return axes

    def _is_seen(self, key: Key) -> bool:
        return key in self.view and self.differs(key)

    def _is_photo(self, name: str) -> bool:
        """Whether an input of three axes is one image without a batch."""
        shape = self.inputs[name]
        return len(shape) == 3 and 1 < shape[0] <= COLOURS and (name, 0) not in self._batch_keys()

    def _batch_keys(self) -> set[Key]:
        """Batch axes: where the batch of the tensor comes from."""
        return {key for key, found in self.view.items() if key[1] == 0 and 0 not in self.axes and found.varies(0)}

    def keys(self) -> list[Key]:
        """Coordinates that can be places."""
        batch = self._batch_keys()
        return [key for key in sorted(self.view) if key not in batch]

    def require_followed(self) -> None:
        """Nothing may stand against what the places say."""
        for key in self.keys():
            name, axis = key
            if axis not in self.spatial_axes(name):
                continue
            found = self.array(key)
            if (found == DECIDED).any():
                raise _Unknown(self.why or "the size of the input decides where its cells look", settled=True)
            if (found == SAMPLED).any():
                raise _Unknown(self.why or "the image decides where its cells look", "sampled-places")
            if (found == CONFLICT).any():
                why = self.why or "places that differ are joined"
                raise _Unknown(f"its cells look at several places of the image at once: {why}", "different-views")
            if (found == UNKNOWN).any():
                raise _Unknown(self.why or "an operator before it is not followed")

    def placed(self) -> list[Key]:
        """Coordinates in which the cells differ."""
        found = []
        for key in self.keys():
            if not self.differs(key):
                continue
            name, axis = key
            if axis == 0 and 0 not in self.spatial_axes(name):
                raise _Unknown("its cells are the images of a batch, or frames", "no-spatial-pool")
            found.append(key)
            if (self.array(key) == MIXED).any():
                raise _Unknown("some of its cells see places that are far apart, as at the seam of a rolled image")
            pixels = self.inputs[name][axis]
            if not is_number(self.array(key)).all() and constants_among(
                self.array(key), self._size, self.view[key].step, pixels
            ):
                # A mask before an activation, or numbers scattered over a map: the image decides all but those cells.
                raise _Unknown("some of its cells hold the same for every image: a mask, or a constant")
            if not is_number(self.array(key)).all():
                raise _Unknown("some of its cells look at no place of their own, such as a class token", "class-token")
        return found

    def line(self, name: str, axis: int | None) -> Line:
        """One coordinate of all cells."""
        pixels = self.inputs[name][axis] if axis is not None else 1
        if axis is None or (name, axis) not in self.view:
            return Line(None, 1.0, pixels)
        if not self.differs((name, axis)):
            ends = self._extent((name, axis))  # all of the image, or of a crop
            middle = None if ends is None else np.full(self._count, sum(ends) / 2)
            return Line(middle, 1.0 if ends is None else ends[1] - ends[0], pixels)
        field = self.view[name, axis]
        if 0 not in self.axes and field.varies(0):
            raise _Unknown("the images of its batch look at different places", "different-views")
        mean = contract(Field(self.array((name, axis)), field.step), (1,), CONFLICT).values
        mean = np.broadcast_to(mean, (self._count, 1))[:, 0]
        if not is_number(mean).all():
            raise _Unknown("its channels look at different places", "different-views")
        return Line(np.asarray(mean), field.step, pixels)

    def require_told_apart(self, name: str, axes: Iterable[int], lines: Sequence[Line]) -> None:
        """Cells that differ along an axis whose places a layer mixes may look anywhere along it, in any order.

        So may those that a matrix brings which the image makes: it weighs all places alike, or turns them.

        Raises:
            _Unknown: there are more cells than the other axes tell apart.
        """
        told, mixed = [], False
        for axis, line in zip(axes, lines, strict=True):
            if (name, axis) not in self.view:
                continue  # an axis of one pixel
            if self.differs((name, axis)) and line.values is not None:
                told.append(np.round(line.values / line.step, 3))
            else:
                mixed = mixed or bool(np.isin(self.array((name, axis)), (MIXED, POOLED)).any())
        if mixed and told and len(np.unique(np.stack(told), axis=1).T) < self._count:
            raise _Unknown("a layer over all positions mixes them")

    def beside(self, name: str, axes: Mapping[str, int]) -> dict[Key, float]:
        """Where all cells look along the other axes of an input: at one frame, or one slice."""
        found = {}
        for axis in self.spatial_axes(name):
            key = (name, axis)
            if axis not in axes.values() and key in self.view and is_number(self.array(key)).all():
                found[key] = float(self.array(key).mean())
        return found

    def titled(self, name: str, axes: Sequence[int]) -> dict[str, int]:
        """What the axes of an input are, the last two rows and columns: a signal has columns, a volume depth as well.

        What lies before rows and columns are frames where they were folded into a batch, where the colours of each
        stand behind them, or where the input has three colours, as no volume has; else it is depth.
        """
        shape, spatial = self.inputs[name], self.spatial_axes(name)
        colours = next((axis for axis in range(1, len(shape)) if axis not in spatial), None)
        behind = colours is not None and spatial[0] < colours < spatial[-1]
        clip = self._are_frames or behind or (colours is not None and shape[colours] == _RGB)
        before = ["frames", "depth"] if len(axes) > 3 else ["frames" if clip else "depth"]
        names = [*before, "rows", "columns"][-len(axes) :]
        return dict(zip(names, axes, strict=True))

    def image_axes(self, name: str, placed: list[int]) -> dict[str, int]:
        """The input's axes that are rows and columns, depth or frames, by what they are, in the grid's order.

        Raises:
            _Unknown: the cells are frames alone, or have too many axes.
        """
        shape, spatial = self.inputs[name], self.spatial_axes(name)
        if len(placed) > 4 or not set(placed) <= set(spatial):
            raise _Unknown(f"its cells lie along {len(placed)} axes of '{name}', not along rows and columns")
        if len(placed) > 2 or (len(placed) == 2 and len(spatial) == 3 and placed[0] == spatial[0]):
            return self.titled(name, spatial if len(spatial) == 3 else placed)
        if len(placed) == 2:
            return {"rows": placed[0], "columns": placed[1]}
        other = [axis for axis in spatial if axis != placed[0]]
        if not other or (len(shape) == 3 and not self._is_photo(name)):
            return {"columns": placed[0]}
        if len(shape) >= 5 and placed[0] == min(spatial):
            raise _Unknown(f"its cells are frames or slices of '{name}', pooled each by itself", "no-spatial-pool")
        nearest = min(other, key=lambda axis: abs(axis - placed[0]))
        rows, columns = sorted((nearest, placed[0]))
        return {"rows": rows, "columns": columns}

    def no_places(self) -> _Unknown:
        """Why the cells have no places."""
        keys = [key for key in self.keys() if key[1] in self.spatial_axes(key[0])]
        fields = [self.view[key] for key in keys]
        if any(found.varies(axis) and found.has_numbers for found in fields for axis in self._kept if axis > 0):
            return _Unknown("what is averaged are not places but channels, each of which has places", "no-spatial-pool")
        states = np.concatenate([np.ravel(found.values) for found in fields]) if fields else np.array([NONE])
        if (states == MIXED).any() or is_number(states).any():
            return _Unknown("a layer over all positions mixes them")
        if ((states == POOLED) | (states == NONE)).all():
            return _Unknown("its cells are made of all places alike, so they are no places", "no-spatial-pool")
        return _Unknown("its cells have no places")
