"""What an earlier run of the same audit left, and whether this one may go on with it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.journal import Decisions, Identity, Journal, Settings
from onnx_gapmil.errors import InputError
from onnx_gapmil.running.pipeline import batch_size
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.auditing.journal import Found
    from onnx_gapmil.auditing.preparation import PreparedData, Request, Subject
    from onnx_gapmil.auditing.records import Record

#: The journal's folder inside the result folder.
JOURNAL = ".audit"
_WORDS = {"sha256": "model file", "version": "version of onnx-gapmil", "used": "provider in use"}


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
        here, there = identity(request, subject), found.settings.request
        keys = [field.name for field in dataclasses.fields(Identity)]
        other = [key for key in keys if getattr(here, key) != getattr(there, key)]
        if other:
            raise InputError(
                f"{folder} holds an unfinished audit with another "
                f"{' and '.join(_WORDS.get(key, key) for key in other)}. Choose another folder, or begin anew with "
                "--restart."
            )
    return journal, found


def identity(request: Request, subject: Subject) -> Identity:
    """What has to be the same for a run to go on."""
    return Identity(
        model=str(request.model),
        data=str(request.data),
        labels=_text(request.labels),
        names=_text(request.names),
        class_map=_text(request.class_map),
        offset=request.offset,
        preprocess=request.preprocess,
        provider=request.provider,
        head=request.head,
        batch=batch_size(subject.session, request.batch),
        version=__version__,
        sha256=subject.rewrite.source.sha256,
        used=subject.session.provider["used"],
    )


def earlier_records(
    request: Request, subject: Subject, prepared: PreparedData, journal: Journal, found: Found | None
) -> list[Record]:
    """Make the journal ready for the next batch, and give the records of the batches that it has already.

    Args:
        request: what was asked for.
        subject: the model.
        prepared: the data set.
        journal: is begun, or cut off behind its last whole batch.
        found: what an earlier run left in it, or None.

    Raises:
        InputError: the data have changed since.
    """
    digest = _digest(prepared)
    if found is None:
        journal.start(Settings(identity(request, subject), _decisions(prepared, digest)))
        return []
    if found.settings.resolved.samples != digest:
        raise InputError(
            f"{request.data} has changed since the unfinished audit began. Begin anew with --restart, or choose "
            "another folder."
        )
    size = found.settings.request.batch
    records: list[Record] = []
    for place, batch in enumerate(found.batches):
        names = [sample.name for sample in prepared.samples[place * size : (place + 1) * size]]
        if [record.image for record in batch] != names:
            break
        records.extend(batch)
    journal.resume(-(-len(records) // size))
    return records


def _decisions(prepared: PreparedData, samples: str) -> Decisions:
    return Decisions(
        preprocess=prepared.preprocess.preprocess,
        source=prepared.preprocess.source,
        assumed=prepared.preprocess.assumed,
        offset=prepared.class_map.offset,
        class_map_source=prepared.class_map.source,
        samples=samples,
    )


def _digest(prepared: PreparedData) -> str:
    """A fingerprint of the labelled images, so that a run does not go on with other ones."""
    content = [
        [
            sample.name,
            sample.labels,
            [[box.box, box.classes] for box in sample.boxes],
            str(sample.mask) if sample.mask is not None else None,
        ]
        for sample in prepared.samples
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
