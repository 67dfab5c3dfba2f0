"""The comparison itself: two streams of the same images side by side, records into the journal."""

from __future__ import annotations

import itertools
from array import array
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.errors import DataError, ImageError
from onnx_gapmil.files.packed import Chosen, PackedRecords, PlacedBatches, itself
from onnx_gapmil.files.wording import count
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.running.pipeline import batch_size, iterate, ordered_map
from onnx_gapmil.validation.comparing.dividing import shots_of
from onnx_gapmil.validation.comparing.measuring import Seen, measure_pair, seen_by
from onnx_gapmil.validation.comparing.records import PairRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from onnx_gapmil.running.pipeline import Answered
    from onnx_gapmil.validation.comparing.records import Record
    from onnx_gapmil.validation.comparing.resuming import Journal
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Shot, Sides

    Both = tuple[Answered | ImageError, Answered | ImageError]


@dataclass(frozen=True)
class Progress:
    """Where a comparison is.

    Attributes:
        done: images compared or kept out, those of earlier runs included.
        total: images of the run, or of the shard.
        failed: of those done, how many were kept out.
    """

    done: int
    total: int
    failed: int


@dataclass(frozen=True)
class Done:
    """Lines that are there.

    Attributes:
        batches: the records of each, by place.
        images: how many they have together.
        failed: how many of these were kept out.
    """

    batches: PlacedBatches[Record]
    images: int
    failed: int


def run(
    sides: Sides,
    journal: Journal,
    earlier: PlacedBatches[Record],
    places: Sequence[int],
    *,
    unit: int,
    batch: int | None,
    progress: Callable[[Progress], None],
) -> Done:
    """Compare every image that is not compared yet.

    Args:
        sides: both models and the images.
        journal: where records go.
        earlier: the records of an earlier run, by the place of their line; those of this one are put to them.
        places: of the lines that are to be there.
        unit: images in a line of the journal.
        batch: images at a time, as it was asked for.
        progress: is told after every line.

    Returns:
        The records of all lines.

    Raises:
        InputError: the disk will not do.
    """
    total = sum(len(shots_of(sides, unit, place)) for place in places)
    left = array("Q", (place for place in places if place not in earlier))
    known = earlier.records()
    images, failed = len(known), failures(known)
    rows = itertools.chain.from_iterable(range(place * unit, (place + 1) * unit) for place in left)
    last = len(sides.shots)
    measured = _measured(sides, Chosen(sides.shots, array("Q", (row for row in rows if row < last)), itself), batch)
    try:
        for place in left:
            new = tuple(itertools.islice(measured, len(shots_of(sides, unit, place))))
            journal.add(new)
            earlier.add(place, new)
            images, failed = images + len(new), failed + failures(new)
            progress(Progress(images, total, failed))
    finally:
        measured.close()
        journal.close()
    return Done(earlier, images, failed)


def records_of(done: Done) -> Sequence[Record]:
    """The records of all images, in order.

    Raises:
        DataError: not one image could be compared.
    """
    records = done.batches.records()
    first = records[0]
    if isinstance(first, Failure) and done.failed == len(records):
        raise DataError(f"Not one of the {count(len(records), 'image')} could be compared. The first: {first.error}")
    return records


def both_answers(
    sides: Sides, shots: Sequence[Shot], batch: int | None, *, keep_photos: bool = False
) -> Generator[Both, None, None]:
    """What both models say of each image, in order; memory does not grow with their number."""
    paths = Chosen(shots, None, attrgetter("image"))
    streams = [
        iterate(
            side.classifier.session,
            side.preprocess,
            paths,
            batch=batch_size(side.classifier.session, batch),
            outputs=("grid",),
            keep_photos=keep_photos and side is sides.old,
            fast_decode=side.asked.fast_decode,
        )
        for side in (sides.old, sides.new)
    ]
    with closing(streams[0]), closing(streams[1]):
        yield from zip(*streams, strict=True)


def both_seen(sides: Sides, shot: Shot, answers: Both) -> tuple[Seen, Seen]:
    """What both models say of an image, in the numbers that are compared.

    Raises:
        DataError, ImageError: the image cannot be read, or an answer is not finite.
    """
    seen = []
    for side, answer in zip((sides.old, sides.new), answers, strict=True):
        if isinstance(answer, ImageError):
            raise answer
        seen.append(_seen(side, answer, shot.name))
    return seen[0], seen[1]


def _seen(side: OpenedSide, answer: Answered, name: str) -> Seen:
    grids = answer.grids[side.classifier.place]
    if grids.grid is None:
        raise TypeError("a comparison needs the prediction grid of each image")
    return seen_by(side, grids.logits[0], grids.grid[0], answer.geometry, name)


def _measured(sides: Sides, shots: Sequence[Shot], batch: int | None) -> Generator[Record, None, None]:
    """The record of each image: a pool of threads measures while the models answer the next."""
    return ordered_map(
        lambda item: _record(sides, *item),
        _side_by_side(shots, both_answers(sides, shots, batch)),
        workers=thread_count(),
        ahead=4 * thread_count(),
        name="compare",
    )


def _side_by_side(shots: Sequence[Shot], answers: Generator[Both, None, None]) -> Iterator[tuple[Shot, Both]]:
    with closing(answers):
        yield from zip(shots, answers, strict=True)


def _record(sides: Sides, shot: Shot, answers: Both) -> Record:
    try:
        old, new = both_seen(sides, shot, answers)
        first = answers[0]
        if isinstance(first, ImageError):
            raise first
        return measure_pair(sides, shot, first.geometry.image_size, old, new)
    except (DataError, ImageError) as error:
        return Failure(shot.name, str(error))


def failures(records: Sequence[Record]) -> int:
    """How many images were kept out."""
    if isinstance(records, PackedRecords) and records.kinds <= {PairRecord}:
        return 0
    return sum(isinstance(record, Failure) for record in records)
