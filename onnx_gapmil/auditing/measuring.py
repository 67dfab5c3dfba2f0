"""The audit itself: batches through the model, records into the journal."""

from __future__ import annotations

import itertools
from array import array
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.columns import RunColumns
from onnx_gapmil.auditing.multi_label import judged_classes
from onnx_gapmil.auditing.recording import record_batch
from onnx_gapmil.auditing.records import Failure, measured
from onnx_gapmil.auditing.resuming import earlier_batches, measured_files
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.identity import identify
from onnx_gapmil.files.packed import Chosen, PlacedBatches
from onnx_gapmil.files.wording import count
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.running.pipeline import iterate_batches, ordered_map

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from onnx_gapmil.auditing.journal import Found, Journal
    from onnx_gapmil.auditing.preparation import PreparedData, Request
    from onnx_gapmil.auditing.records import Record
    from onnx_gapmil.auditing.resuming import Earlier
    from onnx_gapmil.data import Sample
    from onnx_gapmil.files.identity import FileIdentity
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.running.pipeline import BatchAnswered
    from onnx_gapmil.running.shards import Shard


@dataclass(frozen=True)
class Progress:
    """Where an audit is.

    Attributes:
        done: images measured or kept out, those of earlier runs included.
        total: images of the run, or of the shard.
        failed: of those done, how many were kept out.
    """

    done: int
    total: int
    failed: int


@dataclass(frozen=True)
class Measured:
    """Batches that are measured.

    Attributes:
        prepared: the data set.
        batches: the records of each, by place; of a shard none, which nobody needs before all are put together.
        images: how many they have together.
        failed: how many of these were kept out.
    """

    prepared: PreparedData
    batches: PlacedBatches[Record]
    images: int
    failed: int


@dataclass(frozen=True)
class Run:
    """An audit whose images are all measured.

    Attributes:
        request: what was asked for.
        classifier: the model.
        prepared: the data set.
        records: one for each of its samples, in order.
    """

    request: Request
    classifier: Classifier
    prepared: PreparedData
    records: Sequence[Record]

    @cached_property
    def columns(self) -> RunColumns:
        """The records in columns."""
        return RunColumns.of(self.records)


def run_of(request: Request, classifier: Classifier, found: Measured) -> Run:
    """A run of all batches.

    Raises:
        DataError: not one image could be measured.
    """
    records = found.batches.records()
    first = records[0]
    if isinstance(first, Failure) and found.failed == len(records):
        raise DataError(f"Not one of the {count(len(records), 'image')} could be measured. The first: {first.error}")
    return Run(request, classifier, found.prepared, records)


def measure(
    request: Request,
    classifier: Classifier,
    journal: Journal,
    found: Found | None,
    announce: Callable[[PreparedData, int, int], None] = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    shard: Shard | None = None,
    given: PreparedData | None = None,
) -> Measured:
    """Measure every image of the run, or of a shard of it, that is not measured yet.

    Args:
        request: what was asked for.
        classifier: the model.
        journal: where records go.
        found: what an earlier run left, or None.
        announce: is told what was decided, how many images are measured already, and how many are to be, before the
            next one is run.
        progress: is told after every batch.
        note: is told what changed since an earlier run.
        shard: the part of the run that is measured; all of it if None.
        given: the data set, where it is prepared already.

    Raises:
        InputError: data set, labels, preprocessing or disk will not do.
    """
    earlier = earlier_batches(request, classifier, journal, found, note, shard, given)
    prepared, batches = earlier.prepared, earlier.batches
    known = batches.records()
    failed, done = failures(known), len(known)
    own = earlier.places
    total = len(prepared.samples) if shard is None else sum(len(earlier.of(place)) for place in own)
    announce(prepared, done, total)
    places = array("Q", (place for place in own if place not in batches))
    running = _measured(request, classifier, earlier, places)
    try:
        for place, (new, files) in zip(places, running, strict=True):
            journal.add(new, files)
            if shard is None:
                batches.add(place, new)
            done += len(new)
            failed += failures(new)
            progress(Progress(done, total, failed))
    finally:
        running.close()
        journal.close()
    return Measured(prepared, batches if shard is None else PlacedBatches(), done, failed)


def failures(records: Sequence[Record]) -> int:
    """How many images were kept out."""
    return len(records) - len(measured(records))


def _measured(
    request: Request, classifier: Classifier, earlier: Earlier, places: Sequence[int]
) -> Generator[tuple[list[Record], list[FileIdentity]], None, None]:
    """The records of each batch: the model answers the next ones while a pool of threads measures these."""
    prepared, size = earlier.prepared, earlier.size
    rows = itertools.chain.from_iterable(range(place * size, (place + 1) * size) for place in places)
    last = len(prepared.samples)
    batches = iterate_batches(
        classifier.session,
        prepared.preprocess.preprocess,
        Chosen(prepared.samples, array("Q", (row for row in rows if row < last)), attrgetter("image")),
        batch=size,
        outputs=("grid",),
        fast_decode=request.fast_decode,
    )

    judged = judged_classes(prepared.samples)

    def record(pair: tuple[tuple[Sample, ...], BatchAnswered]) -> tuple[list[Record], list[FileIdentity]]:
        files = [identify(path) for path in measured_files(pair[0])]
        records = record_batch(
            *pair,
            head=classifier.place,
            reading=classifier.reading,
            judged=judged,
            arranged=classifier.arranged,
            places=classifier.head.places,
            stitched=classifier.session.stitch > 1,
            by_size=request.by_size,
        )
        return records, files

    return ordered_map(
        record,
        _side_by_side(map(earlier.of, places), batches),
        workers=thread_count(),
        ahead=2 * thread_count(),
        name="measure",
    )


def _side_by_side(
    parts: Iterable[tuple[Sample, ...]], batches: Generator[BatchAnswered, None, None]
) -> Generator[tuple[tuple[Sample, ...], BatchAnswered], None, None]:
    with closing(batches):
        yield from zip(parts, batches, strict=True)
