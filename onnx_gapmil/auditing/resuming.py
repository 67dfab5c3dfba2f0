"""What an earlier run of the same audit left, and how much of it this one may go on with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.auditing.earlier_samples import entry_of, some, with_gone
from onnx_gapmil.auditing.journal import FORM, Decisions, Identity, Journal, Settings
from onnx_gapmil.auditing.line_places import LinePlaces
from onnx_gapmil.auditing.preparation import AUTO, prepare
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.identity import is_unchanged
from onnx_gapmil.files.libraries import library_versions
from onnx_gapmil.files.packed import PlacedBatches
from onnx_gapmil.files.urls import said
from onnx_gapmil.running import shards
from onnx_gapmil.running.pipeline import batch_size
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from onnx_gapmil.auditing.journal import Found
    from onnx_gapmil.auditing.preparation import PreparedData, Request
    from onnx_gapmil.auditing.records import Record
    from onnx_gapmil.data import Sample
    from onnx_gapmil.files.blob import Source
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.running.shards import Shard

#: The journal's folder inside the result folder.
JOURNAL = ".audit"
#: Of what has to be the same, the words that a user is told where it is not; of the same audit, begun anew.
IDENTITY_WORDS = {
    "sha256": "model file",
    "version": "version of onnx-gapmil",
    "used": "provider in use",
    "weights": "size of the model's weights",
    "class_names": "class names",
    "class_table": "content of the class map",
    "preprocessing": "preprocessing",
    "libraries": "versions of libraries",
    "thresholds": "threshold of a class",
    "form": "form of its records",
    "by_size": "set of sizes to compare",
}
#: The same of what was asked for, where the option's name is not the word: with another one it is another audit.
ASKED_WORDS = {
    "class_map": "class map",
    "offset": "label offset",
    "provider": "provider asked for",
    "batch": "number of images in a batch (--batch)",
    "class_token": "way to lift class tokens (--class-token)",
    "fast_decode": "way to decode (--fast-decode)",
    "stitch": "grid (--stitch)",
}


@dataclass(frozen=True)
class Earlier:
    """What a run begins with.

    Attributes:
        prepared: the data set; images that are gone since stand where they stood.
        batches: the records of the batches that need not be measured again, by place.
        size: images in a batch.
        shard: the part of the run that this one is; None of a whole run.
    """

    prepared: PreparedData
    batches: PlacedBatches[Record]
    size: int
    shard: Shard | None = None

    @property
    def count(self) -> int:
        """Batches of the whole data set."""
        return -(-len(self.prepared.samples) // self.size)

    @property
    def places(self) -> Sequence[int]:
        """Of the batches that this run measures."""
        if self.shard is None:
            return range(self.count)
        return self.shard.places([self.of(place)[0].name for place in range(self.count)])

    def names(self, place: int) -> tuple[str, ...]:
        """Of the images of a batch."""
        return tuple(sample.name for sample in self.of(place))

    def of(self, place: int) -> tuple[Sample, ...]:
        """The samples of a batch."""
        return tuple(self.prepared.samples[place * self.size : (place + 1) * self.size])


def open_journal(
    request: Request,
    classifier: Classifier,
    folder: Path,
    *,
    restart: bool,
    note: Callable[[str], None] = lambda _: None,
    shard: Shard | None = None,
) -> tuple[Journal, Found | None]:
    """The journal of the result folder, and what an unfinished run of the same audit left in it.

    Args:
        request: what was asked for.
        classifier: the model.
        folder: the result folder.
        restart: begin anew, whatever is there.
        note: is told why an unfinished run is not gone on with.
        shard: the part of the run that this one is.

    Raises:
        InputError: the folder holds the unfinished run of another audit, or another shard.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the results.")
    journal = Journal(folder / (JOURNAL if shard is None else shards.JOURNAL))
    found = None if restart else journal.find()
    if found is not None:
        if shard is not None and found.settings.shard != str(shard):
            raise InputError(
                f"{folder} holds shard {found.settings.shard}. Choose another folder, or begin anew with --restart."
            )
        here, there = identity(request, classifier), found.settings.request
        keys = [field.name for field in dataclasses.fields(Identity)]
        other = [key for key in keys if getattr(here, key) != getattr(there, key)]
        asked = [key for key in other if key not in IDENTITY_WORDS]
        if asked:
            raise InputError(
                f"{folder} holds an unfinished audit with another "
                f"{' and '.join(ASKED_WORDS.get(key, key) for key in asked)}. Choose another folder, or begin anew "
                "with --restart."
            )
        if other:
            note(f"The audit begins anew, since there is another {' and '.join(IDENTITY_WORDS[key] for key in other)}.")
            found = None
    return journal, found


def identity(request: Request, classifier: Classifier) -> Identity:
    """What has to be the same for a run to go on."""
    source = classifier.rewrite.source
    return Identity(
        model=said(request.model),
        data=said(request.data),
        labels=_text(request.labels),
        names=_text(request.names),
        class_map=_text(request.class_map),
        offset=request.offset,
        preprocess=said(request.preprocess) if request.preprocess is not None else None,
        provider=request.provider,
        head=request.head,
        batch=batch_size(classifier.session, request.batch),
        version=__version__,
        sha256=source.sha256,
        used=classifier.session.provider["used"],
        weights=source.size,
        class_names=_digest(classifier.class_names.names),
        class_table=_content(request.class_map) if request.class_map is not None else None,
        class_token=request.class_token,
        fast_decode=request.fast_decode,
        preprocessing=None if request.preprocess == AUTO else _digest(classifier.preprocess.preprocess.to_json()),
        libraries=library_versions(),
        thresholds=_digest([classifier.reading.kind, classifier.reading.said_thresholds]),
        form=FORM,
        size=request.size,
        stitch=request.stitch,
        by_size=request.by_size,
    )


def earlier_batches(
    request: Request,
    classifier: Classifier,
    journal: Journal,
    found: Found | None,
    note: Callable[[str], None] = lambda _: None,
    shard: Shard | None = None,
    given: PreparedData | None = None,
) -> Earlier:
    """Prepare the data set, and the journal for the next batch, with what an earlier run knows already.

    Single images whose content changed are measured again, with their batches; images that are gone count as failed;
    where anything else of the data set changed, or the images decided how they are to be read, the audit begins anew.

    Args:
        request: what was asked for.
        classifier: the model.
        journal: is begun, or keeps what still holds.
        found: what an earlier run left in it, or None.
        note: is told what has changed.
        shard: the part of the run that this one is.
        given: the data set, where it is prepared already; not asked for where an earlier run is gone on with.

    Raises:
        InputError: data set, labels or preprocessing will not do.
    """
    size = batch_size(classifier.session, request.batch)
    if found is not None:
        prepared = prepare(classifier, request, found.settings.resolved)
        whole, changed = with_gone(prepared, found.samples, note)
        if whole is not None:
            earlier = _kept(whole, found, size, journal, note, request)
            if earlier is not None:
                return dataclasses.replace(earlier, shard=shard)
        else:
            note(f"The audit begins anew, since the data set has changed: {changed}.")
    prepared = given if given is not None else prepare(classifier, request)
    settings = Settings(identity(request, classifier), _decisions(prepared), None if shard is None else str(shard))
    journal.start(settings, map(entry_of, prepared.samples))
    return Earlier(prepared, PlacedBatches(), size, shard)


def _kept(
    prepared: PreparedData, found: Found, size: int, journal: Journal, note: Callable[[str], None], request: Request
) -> Earlier | None:
    """What still holds; None where the images that changed may have decided how all are read."""
    earlier = Earlier(prepared, PlacedBatches(found.batches), size)
    places = LinePlaces(range(earlier.count), earlier.names)
    changed: list[str] = []
    for line, (names, files) in enumerate(zip(found.images, found.files, strict=True)):
        place = places.of(names)
        if place is None or place in earlier.batches:
            continue
        moved = _moved(earlier.of(place), files)
        changed += moved
        if not moved:
            earlier.batches.put(place, line)
    if changed:
        investigated = request.preprocess == AUTO or (
            request.offset is None and found.settings.resolved.offset is not None
        )
        what = f"{some(changed, len(changed))} changed since"
        if investigated:
            note(f"The audit begins anew, since {what}, and the images may have decided how they are to be read.")
            return None
        note(f"Measured again, since they changed: {some(changed, len(changed))}.")
    journal.keep(earlier.batches.lines())
    return earlier


def _moved(samples: Sequence[Sample], files: Sequence[Any]) -> list[str]:
    """The images whose content, or whose mask's, is another than when their batch was measured."""
    paths = measured_files(samples)
    if len(files) != len(paths):
        return [sample.name for sample in samples]
    owners = [*samples, *(sample for sample in samples if sample.mask is not None)]
    return [owner.name for owner, path, file in zip(owners, paths, files, strict=True) if not is_unchanged(path, file)]


def measured_files(samples: Iterable[Sample]) -> list[Source]:
    """The files that a batch is measured on: its images, then their masks."""
    listed = list(samples)
    return [*(sample.image for sample in listed), *(sample.mask for sample in listed if sample.mask is not None)]


def _decisions(prepared: PreparedData) -> Decisions:
    return Decisions(
        preprocess=prepared.preprocess.preprocess,
        source=prepared.preprocess.source,
        assumed=prepared.preprocess.assumed,
        guessed=prepared.preprocess.guessed,
        offset=prepared.class_map.offset,
        class_map_source=prepared.class_map.source,
        samples=listed_digest(map(entry_of, prepared.samples)),
    )


def listed_digest(entries: Iterable[object]) -> str:
    """SHA-256 of the JSON list of entries, which are never all there at once."""
    digest = hashlib.sha256(b"[")
    for place, entry in enumerate(entries):
        digest.update(((", " if place else "") + json.dumps(entry)).encode())
    digest.update(b"]")
    return digest.hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _content(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # whoever reads it says so
        return None


def _text(path: Path | str | None) -> str | None:
    return said(path) if path is not None else None
