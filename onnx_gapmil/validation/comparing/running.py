"""The comparison itself: two streams of the same images side by side, records into the journal."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.errors import DataError, ImageError
from onnx_gapmil.files.wording import count
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.running.pipeline import batch_size, iterate, ordered_map
from onnx_gapmil.validation.comparing.dividing import shots_of
from onnx_gapmil.validation.comparing.measuring import Seen, measure_pair, seen_by

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

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


def run(
    sides: Sides,
    journal: Journal,
    done: dict[int, tuple[Record, ...]],
    places: Sequence[int],
    *,
    unit: int,
    batch: int | None,
    progress: Callable[[Progress], None],
) -> dict[int, tuple[Record, ...]]:
    """Compare every image that is not compared yet.

    Args:
        sides: both models and the images.
        journal: where records go.
        done: the records of an earlier run, by the place of their line.
        places: of the lines that are to be there.
        unit: images in a line of the journal.
        batch: images at a time, as it was asked for.
        progress: is told after every line.

    Returns:
        The records of all lines, by place.

    Raises:
        InputError: the disk will not do.
    """
    found = dict(done)
    total = sum(len(shots_of(sides, unit, place)) for place in places)
    left = [place for place in places if place not in found]
    images, failed = sum(map(len, found.values())), sum(map(failures, found.values()))
    measured = _measured(sides, [shot for place in left for shot in shots_of(sides, unit, place)], batch)
    try:
        for place in left:
            new = tuple(itertools.islice(measured, len(shots_of(sides, unit, place))))
            journal.add(new)
            found[place] = new
            images, failed = images + len(new), failed + failures(new)
            progress(Progress(images, total, failed))
    finally:
        measured.close()
        journal.close()
    return found


def records_of(lines: Mapping[int, tuple[Record, ...]]) -> tuple[Record, ...]:
    """The records of all images, in order.

    Raises:
        DataError: not one image could be compared.
    """
    records = tuple(record for place in sorted(lines) for record in lines[place])
    first = records[0]
    if isinstance(first, Failure) and failures(records) == len(records):
        raise DataError(f"Not one of the {count(len(records), 'image')} could be compared. The first: {first.error}")
    return records


def both_answers(
    sides: Sides, shots: Sequence[Shot], batch: int | None, *, keep_photos: bool = False
) -> Generator[Both, None, None]:
    """What both models say of each image, in order; memory does not grow with their number."""
    paths = [shot.image for shot in shots]
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
    return sum(isinstance(record, Failure) for record in records)
