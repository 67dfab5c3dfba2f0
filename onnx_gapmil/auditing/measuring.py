"""The audit itself: batches through the model, records into the journal."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.preparation import PreparedData, Request, prepare
from onnx_gapmil.auditing.recording import record_batch
from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.auditing.resuming import earlier_records
from onnx_gapmil.errors import DataError
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.running.pipeline import batch_size, iterate_batches, ordered_map

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from onnx_gapmil.auditing.journal import Found, Journal
    from onnx_gapmil.auditing.records import Record
    from onnx_gapmil.data import Sample
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.running.pipeline import BatchAnswered


@dataclass(frozen=True)
class Progress:
    """Where an audit is.

    Attributes:
        done: images measured or kept out, those of earlier runs included.
        total: images of the data set.
        failed: of those done, how many were kept out.
    """

    done: int
    total: int
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
    records: tuple[Record, ...]


def run(
    request: Request,
    classifier: Classifier,
    journal: Journal,
    found: Found | None,
    announce: Callable[[PreparedData, int], None] = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Run:
    """Measure every image that is not measured yet.

    Args:
        request: what was asked for.
        classifier: the model.
        journal: where records go.
        found: what an earlier run left, or None.
        announce: is told what was decided, and how many images are measured already, before the next one is run.
        progress: is told after every batch.

    Raises:
        InputError: data set, labels, preprocessing or disk will not do, or not one image could be measured.
    """
    prepared = prepare(classifier, request, found.settings.resolved if found is not None else None)
    records = earlier_records(request, classifier, prepared, journal, found)
    announce(prepared, len(records))
    failed = _failures(records)
    measured = _measured(request, classifier, prepared, prepared.samples[len(records) :])
    try:
        for new in measured:
            journal.add(new)
            records.extend(new)
            failed += _failures(new)
            progress(Progress(len(records), len(prepared.samples), failed))
    finally:
        measured.close()
        journal.close()
    first = records[0]
    if failed == len(records) and isinstance(first, Failure):
        raise DataError(f"Not one of the {failed} images could be measured. The first: {first.error}")
    return Run(request, classifier, prepared, tuple(records))


def _failures(records: list[Record]) -> int:
    return sum(isinstance(record, Failure) for record in records)


def _measured(
    request: Request, classifier: Classifier, prepared: PreparedData, samples: tuple[Sample, ...]
) -> Generator[list[Record], None, None]:
    """The records of each batch: the model answers the next ones while a pool of threads measures these."""
    size = batch_size(classifier.session, request.batch)
    batches = iterate_batches(
        classifier.session,
        prepared.preprocess.preprocess,
        [sample.image for sample in samples],
        batch=size,
        outputs=("grid",),
    )
    parts = (list(samples[start : start + size]) for start in range(0, len(samples), size))
    return ordered_map(
        lambda pair: record_batch(
            *pair,
            head=classifier.place,
            independent=classifier.independent,
            arranged=classifier.arranged,
            places=classifier.head.places,
        ),
        _side_by_side(parts, batches),
        workers=thread_count(),
        ahead=2 * thread_count(),
        name="measure",
    )


def _side_by_side(
    parts: Iterator[list[Sample]], batches: Generator[BatchAnswered, None, None]
) -> Generator[tuple[list[Sample], BatchAnswered], None, None]:
    with closing(batches):
        yield from zip(parts, batches, strict=True)
