"""The proof of the cells of an exact head: each is the head's own answer to that cell.

The vendor's head is cut out and run on a map that has one cell's features everywhere: it must answer that cell's column
of the grid. A grid whose cells are exchanged has the same mean, and fails here.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.files.wording import count
from onnx_gapmil.rewriting.proof.algebra import WideGraph
from onnx_gapmil.rewriting.proof.alone import reason_of
from onnx_gapmil.rewriting.proof.by_class import relative
from onnx_gapmil.rewriting.proof.checks import Figure
from onnx_gapmil.rewriting.proof.cutting import cut_out
from onnx_gapmil.rewriting.proof.tolerances import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.rewriting.proof.alone import HeadAlone
    from onnx_gapmil.rewriting.record import FeatureGridRecord, HeadRecord

#: A mean over T equal numbers is off by up to T times this, by the bytes of the element type: every addition rounds the
#: same way. Half precision is added up in float32.
_HALF_ULP = {2: 2.0**-24, 4: 2.0**-24, 8: 2.0**-53}


def cells(alone: HeadAlone) -> Figure:
    """The head's own answer to a map that has one cell's features everywhere is that cell's column of the grid."""
    head = alone.head
    reason = _no_cells(head)
    if reason:
        return Figure(skipped=reason)
    try:
        origins = _origins(alone)
        feeds = alone.feeds()[0]
        logits, grid = alone.run(feeds)
        if grid.ndim < 4 or grid.shape[:2] != logits.shape:
            raise _NotFilledError("the grid is not of the logits' classes")
        chosen = _chosen(grid.shape[2:])
        answers = {cell: alone.run(_filled(alone, feeds, origins, cell, grid.shape[2:]))[0] for cell in chosen}
    except _NotFilledError as error:
        return Figure(skipped=str(error))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's and the evaluator's errors are of any kind
        return Figure(skipped=f"the head cannot be asked about one cell: {reason_of(error)}")
    allowed = max(TOLERANCE[alone.width], grid[0, 0].size * _HALF_ULP[alone.width])
    columns = {cell: np.moveaxis(grid, (0, 1), (-2, -1))[cell] for cell in chosen}
    errors = np.stack([relative(head, columns[cell], answers[cell], grid) for cell in chosen])
    measure = float(np.fmax.reduce(errors, axis=None, initial=0.0))
    detail = count(len(chosen), "cell")
    if measure <= allowed:
        return Figure(measure, allowed, detail=detail)
    place, _, which = np.unravel_index(int(np.nanargmax(errors)), errors.shape)
    said = (
        f"output '{head.output}': the head's own answer to cell {chosen[place]} alone differs from the grid there, in "
        f"class {which} by {measure:.2g} of the class's own cells; {allowed:.0e} is allowed."
    )
    return Figure(measure, allowed, failures=(said,), detail=detail)


def _no_cells(head: HeadRecord) -> str:
    """Why a cell is not claimed to be the head's own answer to it; "" where it is."""
    if head.verdict != "exact":
        return "the head is conditional: a cell's value depends on the whole image"
    if head.position_dependent:
        return "the head has weights of its own for each position"
    if head.quantized:
        return "the head's integers hold the range of pooled values, which single cells leave"
    return ""


class _NotFilledError(Exception):
    """A map cannot be filled with one cell's features; the message says why."""


def _origins(alone: HeadAlone) -> dict[str, np.ndarray]:
    """Which position of each of the vendor's maps each cell is, (cells,) int64, row-major along its position axes.

    Found by sending the positions' numbers through what brings the map to (N, C, H, W), whatever that is.
    """
    found: dict[str, np.ndarray] = {}
    for record, tensor in zip(alone.head.feature_grids, alone.features, strict=True):
        shape = alone.trace.shapes[record.source]
        lengths = _lengths(record, shape)
        places = np.arange(np.prod(lengths), dtype=np.float64).reshape(lengths)
        if record.frames:  # every clip of the batch has them all
            images = shape[0] // record.frames
            places = np.repeat(places, images, axis=0) if record.frames_outer else np.concatenate([places] * images)
        order = np.argsort(record.axes)  # rows and columns may be the other way round in the vendor's tensor
        aligned = [shape[axis] if axis in record.axes else 1 for axis in range(len(shape))]
        numbers = np.ascontiguousarray(np.broadcast_to(places.transpose(order).reshape(aligned), shape))
        if tensor != record.source:
            model = cut_out(alone.lift, [record.source], [tensor], alone.trace, alone.name)
            (numbers,) = WideGraph(model, alone.folder).run([tensor], {record.source: numbers})
        if numbers.ndim != 4 or tuple(numbers.shape[2:]) != tuple(record.size):
            raise _NotFilledError("its map cannot be followed to the cells")
        cell = numbers[0, 0].ravel()
        if not (numbers.reshape(*numbers.shape[:2], -1) == cell).all() or not np.array_equal(
            np.sort(cell), np.arange(cell.size)
        ):
            raise _NotFilledError("its cells are made of several positions of the vendor's map")
        if not np.array_equal(found.setdefault(record.source, cell), cell):
            raise _NotFilledError("it reads one map in two orders")
    return {source: cell.astype(np.int64) for source, cell in found.items()}


def _lengths(record: FeatureGridRecord, shape: tuple[int, ...]) -> list[int]:
    """Lengths of the axes of a map that are cells; of a batch of clips, its frames."""
    lengths = [shape[axis] for axis in record.axes]
    return [record.frames, *lengths[1:]] if record.frames else lengths


def _filled(
    alone: HeadAlone,
    feeds: Mapping[str, np.ndarray],
    origins: Mapping[str, np.ndarray],
    cell: tuple[int, ...],
    size: tuple[int, ...],
) -> dict[str, np.ndarray]:
    """Maps that have the features of one cell of a grid at every position."""
    number = int(np.ravel_multi_index(cell, size))
    result = {}
    for record in alone.head.feature_grids:
        if record.source not in feeds:  # it is made of another, which is filled
            continue
        array = feeds[record.source]
        at: list[Any] = [slice(None)] * array.ndim
        places = np.unravel_index(origins[record.source][number], _lengths(record, array.shape))
        for axis, place in zip(record.axes, places, strict=True):
            at[axis] = slice(int(place), int(place) + 1)
        if record.frames:  # of each clip the same frame
            clips = np.arange(array.shape[0] // record.frames)
            first = int(places[0])
            at[0] = first * len(clips) + clips if record.frames_outer else clips * record.frames + first
        taken = array[tuple(at)]
        if record.frames:
            repeat = (record.frames, *[1] * (array.ndim - 1))
            taken = np.tile(taken, repeat) if record.frames_outer else np.repeat(taken, record.frames, axis=0)
        result[record.source] = np.ascontiguousarray(np.broadcast_to(taken, array.shape))
    return result


def _chosen(size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The corners and the middle of a grid."""
    corners = itertools.product(*((0, length - 1) for length in size))
    return list(dict.fromkeys([*corners, tuple(length // 2 for length in size)]))
