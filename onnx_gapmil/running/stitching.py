"""A grid twice as fine at the size that the network was trained for: the image is shifted, and the grids interleaved.

The image runs once as it is, which gives the answer, and once for each of four shifts, by a quarter of the grid's step
up or down, and left or right, so that the cells of two shifts lie half a step apart. What comes in at the border
repeats the image's outermost pixels. Interleaved by their places the four grids are one of twice as many rows and
columns, which covers what the grid covers. Each of its cells is what the network says of an image of the usual size;
no pool of them is the model's answer, which stays that of the unshifted image. So a repooled model is stitched as the
vendor's is: its cells are the vendor's, and its own pool reads those of the unshifted image alone.

Shift and stitch is how OverFeat made dense maps (arXiv 1312.6229), and fully convolutional networks discuss it
(arXiv 1411.4038).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import InputError
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.running.grid_session import Batch, GridSession

if TYPE_CHECKING:
    from onnx_gapmil.images.input_spec import InputSpec
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.record import HeadRecord
    from onnx_gapmil.running.prediction_grid import PredictionGrid

#: How many times as fine a stitched grid is, along each axis.
FACTOR = 2
#: What is said of a stitched grid wherever it is shown.
NOT_THE_ANSWER = (
    "the grid is stitched of four shifted runs, twice as fine; pooled it is not the model's answer, which is that of "
    "the unshifted image"
)
#: Arrays of a grid that are interleaved; all else of a run is the unshifted one's.
_SPATIAL = ("grid", "features")
Shift = tuple[int, int]
Shifts = tuple[Shift, Shift]
"""By how many pixels the image is shifted: along rows, and along columns."""


class StitchedSession(GridSession):
    """A `GridSession` whose grids are stitched of shifted runs; logits are those of the unshifted image.

    A run takes five of a `GridSession`. What the graph reduces a grid to (argmax, scores, the best classes) would be of
    one run and is not fetched.

    Raises:
        InputError: the cells of a head have no places that can be interleaved, its weights are of positions, or half
            of its step is no whole number of pixels.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._shifts = [_shifts(head) for head in self._heads]
        self._heads = tuple(map(_stitched, self._heads))

    @property
    def stitch(self) -> int:
        """How many times as fine the grids are, along each axis."""
        return FACTOR

    def run(
        self, batch: Batch, *, features: bool = False, outputs: Collection[str] | None = None
    ) -> list[PredictionGrid]:
        """As `GridSession.run`, with the grids stitched: (N, K, 2H, 2W).

        Raises:
            InputError: something else than grids and features is asked for; see `GridSession.run` for the others.
        """
        wanted = {"grid", *(["features"] if features else [])} if outputs is None else set(outputs)
        if wanted - set(_SPATIAL) - {"placeless"}:
            others = ", ".join(sorted(wanted - set(_SPATIAL)))
            raise InputError(f"a stitched grid is given as it is or with its features; {others} would be of one run.")
        image = batch[self._input.name] if isinstance(batch, Mapping) else batch
        whole = super().run(batch, outputs=wanted)
        runs: dict[Shifts, list[list[PredictionGrid]]] = {}
        for shifts in dict.fromkeys(self._shifts):
            runs[shifts] = []
            for by in itertools.product(*shifts):
                moved = shifted(np.asarray(image), by, self._input)
                given = {**batch, self._input.name: moved} if isinstance(batch, Mapping) else moved
                runs[shifts].append(super().run(given, outputs=wanted))
        return [
            _with_stitched(grid, [run[place] for run in runs[shifts]])
            for place, (grid, shifts) in enumerate(zip(whole, self._shifts, strict=True))
        ]


def stitch_json(session: GridSession) -> dict[str, Any] | None:
    """What results say of a stitched grid; None where it is the model's own."""
    if session.stitch == 1:
        return None
    return {"factor": session.stitch, "runs": FACTOR**2 + 1, "border": "repeated", "note": NOT_THE_ANSWER}


def require_stitchable(wish: Emit) -> None:
    """Make sure that what is to be saved can be had of a stitched grid.

    Raises:
        InputError: it is made of one run's grid in the graph.
    """
    others = [word for word in wish.words if word not in _SPATIAL]
    if others:
        raise InputError(
            f"--emit {','.join(others)} with --stitch {FACTOR}: a stitched grid is put together outside of the graph, "
            "which cannot reduce it; save the grid, or leave --stitch out."
        )


def _with_stitched(whole: PredictionGrid, parts: Sequence[PredictionGrid]) -> PredictionGrid:
    """The unshifted answer with the grids of the four shifts."""
    grids = [part.grid for part in parts if part.grid is not None]
    features = [part.features for part in parts if part.features is not None]
    return replace(
        whole,
        grid=interleaved(grids) if grids else None,
        features=interleaved(features) if features else None,
    )


def shifted(images: npt.NDArray[Any], by: Shift, spec: InputSpec) -> npt.NDArray[Any]:
    """Images so moved that what lay at a pixel plus the shift lies at the pixel; the border is repeated.

    Args:
        images: (..., C, H, W) or (..., H, W, C), as the model's input says.
        by: rows and columns, of either sign.
        spec: the model's input.
    """
    first = images.ndim - (2 if spec.layout() == "NCHW" else 3)
    moved = images
    for axis, pixels in zip((first, first + 1), by, strict=True):
        places = np.clip(np.arange(images.shape[axis]) + pixels, 0, images.shape[axis] - 1)
        moved = np.take(moved, places, axis=axis)
    return np.ascontiguousarray(moved)


def interleaved(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Grids of four shifts as one.

    Args:
        parts: each (N, C, H, W): of the upper left, the upper right, the lower left and the lower right shift.

    Returns:
        (N, C, 2H, 2W).
    """
    count, channels, rows, columns = parts[0].shape
    stacked = np.stack(parts).reshape(FACTOR, FACTOR, count, channels, rows, columns)
    return stacked.transpose(2, 3, 4, 0, 5, 1).reshape(count, channels, FACTOR * rows, FACTOR * columns)


def _shifts(head: HeadRecord) -> Shifts:
    """By how many pixels the image is shifted for a head's grid.

    Raises:
        InputError: the head's cells cannot be interleaved.
    """
    of = f"--stitch {FACTOR}: the cells of output '{head.output}'"
    rows, columns = head.places.rows, head.places.columns
    if not head.arranged or not head.places.known or rows is None or columns is None or len(head.grid_shape) != 4:
        raise InputError(f"{of} have no known places in an image: {head.places.reason or head.note}".rstrip(": ") + ".")
    if head.position_dependent:
        raise InputError(f"{of} have weights of their own for each position, which a shifted image would not meet.")
    if head.resized_from is not None:
        raise InputError(f"{of} look at an image that the graph resizes itself: a shift is none of whole pixels.")
    return _halves(rows, of), _halves(columns, of)


def _halves(line: AxisPlaces, of: str) -> Shift:
    half = line.step / FACTOR
    whole = round(half)
    if whole < 1 or abs(half - whole) > 1e-6:
        raise InputError(f"{of} lie {line.step:g} pixels apart, and half of that is no whole number of pixels.")
    return -(whole // 2), whole - whole // 2


def _stitched(head: HeadRecord) -> HeadRecord:
    """The record of a head's stitched grid: twice as many cells, half a step apart."""
    batch, classes, rows, columns = head.grid_shape
    size = [side * FACTOR if isinstance(side, int) else side for side in (rows, columns)]
    down, across = _shifts(head)
    places: Places = replace(
        head.places,
        rows=_finer(head.places.rows, down),
        columns=_finer(head.places.columns, across),
        measured={},
    )
    note = "; ".join(part for part in (head.note, NOT_THE_ANSWER) if part)
    return replace(head, grid_shape=(batch, classes, *size), places=places, note=note)


def _finer(line: AxisPlaces | None, shifts: Shift) -> AxisPlaces | None:
    return None if line is None else AxisPlaces(line.first + shifts[0], line.step / FACTOR)
