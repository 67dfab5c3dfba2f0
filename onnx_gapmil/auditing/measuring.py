"""The audit itself: batches through the model, records into the journal, and what an earlier run knew first."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx_gapmil.auditing.journal import Journal
from onnx_gapmil.auditing.preparation import Exhibit, Request, Subject, prepare
from onnx_gapmil.auditing.recording import record_batch
from onnx_gapmil.errors import DataError, InputError
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.running.pipeline import batch_size, iterate_batches, ordered_map
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from onnx_gapmil.auditing.journal import Found, Record
    from onnx_gapmil.data import Sample
    from onnx_gapmil.running.pipeline import BatchAnswered

#: The journal's folder inside the result folder.
JOURNAL = ".audit"


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
        subject: the model.
        exhibit: the data set.
        records: one for each of the exhibit's samples, in order.
        resumed: how many of them an earlier run had measured.
    """

    request: Request
    subject: Subject
    exhibit: Exhibit
    records: tuple[Record, ...]
    resumed: int = 0


def open_journal(request: Request, subject: Subject, folder: Path, *, restart: bool) -> tuple[Journal, Found | None]:
    """The journal of the result folder, and what an unfinished run of the same audit left in it.

    Raises:
        InputError: the folder holds the unfinished run of another audit.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the results.")
    journal = Journal(folder / JOURNAL)
    found = None if restart else journal.find()
    if found is not None:
        expected = _identity(request, subject)
        other = [key for key in expected if found.request.get(key) != expected[key]]
        if other:
            raise InputError(
                f"{folder} holds an unfinished audit with another "
                f"{' and '.join(_WORDS.get(key, key) for key in other)}. Choose another folder, or begin anew with "
                "--restart."
            )
    return journal, found


_WORDS = {"sha256": "model file", "version": "version of onnx-gapmil", "used": "provider in use"}


def _identity(request: Request, subject: Subject) -> dict[str, Any]:
    """What has to be the same for a run to go on."""
    return {
        **request.to_json(),
        "version": __version__,
        "sha256": subject.rewrite.source.sha256,
        "used": subject.session.provider["used"],
        "batch": _batch(request, subject),
    }


def _batch(request: Request, subject: Subject) -> int:
    return batch_size(subject.session, request.batch)


def run(
    request: Request,
    subject: Subject,
    journal: Journal,
    found: Found | None,
    announce: Callable[[Exhibit, int], None] = lambda *_: None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Run:
    """Measure every image that is not measured yet.

    Args:
        request: what was asked for.
        subject: the model.
        journal: where records go.
        found: what an earlier run left, or None.
        announce: is told what was decided, and how many images are measured already, before the next one is run.
        progress: is told after every batch.

    Raises:
        InputError: data set, labels, preprocessing or disk will not do, or not one image could be measured.
    """
    exhibit = prepare(subject, request, found.resolved if found is not None else None)
    samples, size = exhibit.samples, _batch(request, subject)
    digest = _digest(exhibit)
    records: list[Record] = []
    if found is not None and found.resolved.get("samples") == digest:
        for place, batch in enumerate(found.batches):
            names = [sample.name for sample in samples[place * size : (place + 1) * size]]
            if [record.get("name") for record in batch] != names:
                break
            records.extend(batch)
        journal.resume(-(-len(records) // size))
    elif found is not None:
        raise InputError(
            f"{request.data} has changed since the unfinished audit began. Begin anew with --restart, or choose "
            "another folder."
        )
    else:
        journal.start(_identity(request, subject), {**exhibit.to_json(), "samples": digest})
    resumed = len(records)
    announce(exhibit, resumed)
    failed = sum("error" in record for record in records)
    remaining = list(samples[resumed:])
    batches = iterate_batches(
        subject.session,
        exhibit.preprocess.preprocess,
        [sample.image for sample in remaining],
        batch=size,
        outputs=("grid",),
    )
    parts = (remaining[start : start + size] for start in range(0, len(remaining), size))
    measured = ordered_map(
        lambda pair: record_batch(subject, *pair),
        _side_by_side(parts, batches),
        workers=thread_count(),
        ahead=2 * thread_count(),
        name="measure",
    )
    try:
        for new in measured:
            journal.add(new)
            records.extend(new)
            failed += sum("error" in record for record in new)
            progress(Progress(len(records), len(samples), failed))
    finally:
        measured.close()
        journal.close()
    if failed == len(records):
        raise DataError(f"Not one of the {failed} images could be measured. The first: {records[0]['error']}")
    return Run(request, subject, exhibit, tuple(records), resumed)


def _side_by_side(
    parts: Iterator[list[Sample]], batches: Generator[BatchAnswered, None, None]
) -> Generator[tuple[list[Sample], BatchAnswered], None, None]:
    with closing(batches):
        yield from zip(parts, batches, strict=True)


def _digest(exhibit: Exhibit) -> str:
    """A fingerprint of the labelled images, so that a run does not go on with other ones."""
    content = [
        [
            sample.name,
            sample.labels,
            [[box.box, box.classes] for box in sample.boxes],
            str(sample.mask) if sample.mask is not None else None,
        ]
        for sample in exhibit.samples
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
