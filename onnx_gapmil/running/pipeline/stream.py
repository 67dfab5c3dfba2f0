"""Photos in; for each, in order, where it lies in the input and what every head says of it, or why it failed."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images.decode import read_reduced, read_samples
from onnx_gapmil.images.levels import depth_note
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.running.pipeline.ordered import ordered_map

if TYPE_CHECKING:
    from onnx_gapmil.files.blob import Source
    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.running.grid_session import GridSession
    from onnx_gapmil.running.prediction_grid import PredictionGrid

_CPU_BATCH, _ACCELERATOR_BATCH = 8, 32
_AHEAD = 2
"""Batches that are being decoded, or wait to be run."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that was read and prepared.

    Attributes:
        path: where it lies.
        place: its place among the paths, from 0.
        geometry: where the network's input lies in it; `geometry.image_size` is its (H, W), upright.
        pixels: (H, W, 3) RGB uint8, upright, as people see them; None unless `keep_photos`.
        note: what is to be said of its samples; "" where there is nothing.
    """

    path: Source
    place: int
    geometry: Geometry
    pixels: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    note: str = ""


@dataclass(frozen=True, eq=False)
class Answered(Photo):
    """A photo and what the model says of it.

    Attributes:
        grids: one `PredictionGrid` for each head, in the session's order; the first axis of each array is 1. They
            are views of the batch: copy what is to live long.
    """

    grids: tuple[PredictionGrid, ...] = ()


@dataclass(frozen=True, eq=False)
class BatchAnswered:
    """Consecutive photos and what the model says of them.

    Attributes:
        entries: one for each path, in order; an `ImageError` where the photo cannot be read.
        grids: one `PredictionGrid` for each head; row i belongs to the i-th `Photo` of `photos`. Empty if no photo
            could be read.
    """

    entries: tuple[Photo | ImageError, ...]
    grids: tuple[PredictionGrid, ...]

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The entries that could be read."""
        return tuple(entry for entry in self.entries if isinstance(entry, Photo))

    def one(self, photo: Photo, row: int) -> Answered:
        """The answer to one photo.

        Args:
            photo: one of `photos`.
            row: its place in `photos`.
        """
        grids = tuple(_rows(grid, slice(row, row + 1)) for grid in self.grids)
        return Answered(photo.path, photo.place, photo.geometry, photo.pixels, photo.note, grids)


def iterate(
    session: GridSession,
    preprocess: Preprocess,
    paths: Sequence[Source],
    *,
    batch: int | None = None,
    workers: int | None = None,
    keep_photos: bool = False,
    outputs: Collection[str] | None = None,
    fast_decode: bool = False,
) -> Generator[Answered | ImageError, None, None]:
    """Run photos through a model, one answer for each path, in order.

    Photos are decoded and prepared by threads while the model runs in another; what nobody has taken yet is bounded
    by a few batches, so memory does not grow with the number of photos.

    Args:
        session: the model.
        preprocess: how a photo becomes its input.
        paths: where the images lie.
        batch: photos at a time; see `batch_size`.
        workers: threads that decode; by default as many as cores that this process may use.
        keep_photos: hand the decoded pixels on, for drawing or cropping.
        outputs: what to fetch of each head beside its logits: names of `PredictionGrid`'s arrays, such as "grid". None
            fetches all that the session emits, features only where its ``emit`` names them.
        fast_decode: decode large JPEGs smaller than they are; see `read_reduced`.

    Yields:
        An `Answered`, or the `ImageError` of a photo that cannot be read, in its place.

    Raises:
        ModelError: the model cannot be run.
    """
    batches = iterate_batches(
        session,
        preprocess,
        paths,
        batch=batch,
        workers=workers,
        keep_photos=keep_photos,
        outputs=outputs,
        fast_decode=fast_decode,
    )
    with closing(batches):
        for answered in batches:
            rows = itertools.count()
            for entry in answered.entries:
                yield entry if isinstance(entry, ImageError) else answered.one(entry, next(rows))


def iterate_batches(
    session: GridSession,
    preprocess: Preprocess,
    paths: Sequence[Source],
    *,
    batch: int | None = None,
    workers: int | None = None,
    keep_photos: bool = False,
    outputs: Collection[str] | None = None,
    fast_decode: bool = False,
) -> Generator[BatchAnswered, None, None]:
    """As `iterate`, a batch at a time: for work that is quicker on whole arrays.

    Each batch has one shape: the last one, and those with photos that cannot be read, are filled up where the
    provider takes long over a new shape, and run as they are on the CPU.
    """
    size = batch_size(session, batch)
    if session.fixed_batch is None:
        size = max(1, min(size, len(paths)))
    threads = workers or thread_count()
    buffers = _Buffers(preprocess, size)
    ahead = max(_AHEAD * size, 2 * threads)
    decoded = ordered_map(
        partial(_prepare, preprocess, keep_photos, fast_decode),
        buffers.assign(paths),
        workers=threads,
        ahead=ahead,
        name="decode",
    )
    padded = session.provider["used"] != "cpu"
    answer = partial(_answer, session, buffers, padded, outputs)
    # A session of several lanes has them idle at a batch's end, unless another batch is at hand.
    running = 1 if session.lanes == 1 else 2
    yield from ordered_map(answer, _batches(decoded, size), workers=running, ahead=running + 1, name="infer")


def batch_size(session: GridSession, asked: int | None = None) -> int:
    """Photos at a time.

    Args:
        session: the model. One with a fixed batch keeps it, and runs one in each of its lanes.
        asked: for another model; None for what keeps the hardware busy without much memory.
    """
    if session.fixed_batch is not None:
        return session.fixed_batch * session.lanes
    if asked is not None:
        return max(1, asked)
    return max(_CPU_BATCH, session.lanes) if session.provider["used"] == "cpu" else _ACCELERATOR_BATCH


@dataclass(frozen=True, eq=False)
class _Task:
    """A photo to prepare, and the row of the batch that it goes to."""

    path: Source
    place: int
    buffer: npt.NDArray[Any]
    row: int


@dataclass(frozen=True, eq=False)
class _Prepared:
    task: _Task
    entry: Photo | ImageError


class _Buffers:
    """Arrays of a whole batch, used again when their batch has run."""

    def __init__(self, preprocess: Preprocess, size: int) -> None:
        self._shape = (size, *preprocess.input_shape)
        self._dtype = preprocess.input_dtype
        self._free: list[npt.NDArray[Any]] = []

    def assign(self, paths: Iterable[Source]) -> Iterator[_Task]:
        """Give each photo its row."""
        size = self._shape[0]
        places = itertools.count()
        remaining = iter(paths)
        while part := list(itertools.islice(remaining, size)):
            buffer = self._free.pop() if self._free else np.empty(self._shape, self._dtype)
            for row, path in enumerate(part):
                yield _Task(path, next(places), buffer, row)

    def release(self, buffer: npt.NDArray[Any]) -> None:
        """The batch has run."""
        self._free.append(buffer)


def _prepare(preprocess: Preprocess, keep_photo: bool, fast_decode: bool, task: _Task) -> _Prepared:
    """Decode a photo and write its input into its row."""
    size: tuple[int, int] | None = None
    try:
        if fast_decode:
            samples, size = read_reduced(task.path, preprocess.least_size)
        else:
            samples = read_samples(task.path)
        geometry = preprocess.prepare(samples, task.buffer[task.row], task.path, size)
    except ImageError as error:
        return _Prepared(task, error)
    pixels = _whole(preprocess.shown(samples), size) if keep_photo else None
    note = depth_note(samples, preprocess.full_scale)
    return _Prepared(task, Photo(task.path, task.place, geometry, pixels, note))


def _whole(pixels: npt.NDArray[np.uint8], size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """A photo that was decoded smaller, as large as it is."""
    if size is None or pixels.shape[:2] == size:
        return pixels
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _batches(decoded: Generator[_Prepared, None, None], size: int) -> Iterator[list[_Prepared]]:
    with closing(decoded):  # else its threads would live as long as the traceback of what went wrong here
        while part := list(itertools.islice(decoded, size)):
            yield part


def _answer(
    session: GridSession, buffers: _Buffers, padded: bool, outputs: Collection[str] | None, part: list[_Prepared]
) -> BatchAnswered:
    buffer = part[0].task.buffer
    good = [prepared.task.row for prepared in part if isinstance(prepared.entry, Photo)]
    grids: tuple[PredictionGrid, ...] = ()
    if good:
        found = session.run(_dense(buffer, good, padded), outputs=outputs)
        grids = tuple(grid.first(len(good)) for grid in found)
    buffers.release(buffer)
    return BatchAnswered(tuple(prepared.entry for prepared in part), grids)


def _dense(buffer: npt.NDArray[Any], good: list[int], padded: bool) -> npt.NDArray[Any]:
    """The readable photos' rows, moved to the front; filled up with the last of them if `padded`.

    Filled with a photo and not with zeros: models that choose their integers' range as they run would choose another.
    """
    for row, source in enumerate(good):
        if row != source:
            buffer[row] = buffer[source]
    if not padded:
        return buffer[: len(good)]
    buffer[len(good) :] = buffer[len(good) - 1]
    return buffer


def _rows(grid: PredictionGrid, rows: slice) -> PredictionGrid:
    """Some rows of every array, as views."""
    return type(grid)(**{entry.name: _cut(getattr(grid, entry.name), rows) for entry in fields(grid)})


def _cut(value: Any, rows: slice) -> Any:
    if isinstance(value, np.ndarray):
        return value[rows]
    if isinstance(value, dict):
        return {key: _cut(entry, rows) for key, entry in value.items()}
    return value
