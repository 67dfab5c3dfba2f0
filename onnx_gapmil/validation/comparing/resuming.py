"""What an unfinished comparison left, and whether this one may go on with it; if not, it begins anew and says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.auditing.journal import BatchJournal, FoundRun
from onnx_gapmil.auditing.line_places import LinePlaces
from onnx_gapmil.auditing.resuming import listed_digest
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.identity import stamp
from onnx_gapmil.files.libraries import library_versions
from onnx_gapmil.files.packed import PlacedBatches
from onnx_gapmil.graph.weights import weight_files
from onnx_gapmil.running import shards
from onnx_gapmil.validation.comparing.dividing import places_of, shots_of
from onnx_gapmil.validation.comparing.records import Record, read_record
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.data import Sample
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.running.shards import Shard
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Shot, Sides

_OfFile = Callable[[Source], list[Any]]
#: The form of the records that are written: what is measured on an image.
FORM = 2
#: The journal's folder inside the result folder.
JOURNAL = ".compare"


@dataclass(frozen=True)
class Settings:
    """What a comparison began with; the journal's first file.

    Attributes:
        identity: what has to be the same for it to go on, by the words that a user is told where it is not.
        shard: which part of the run it is, as ``i/N``; None of a whole run.
    """

    identity: Mapping[str, str]
    shard: str | None = None


class Journal(BatchJournal[Settings, Record]):
    """The journal of one comparison.

    Args:
        folder: made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Settings, read_record, "a comparison")


def open_journal(
    folder: Path, sides: Sides, unit: int, *, restart: bool, shard: Shard | None = None
) -> tuple[Journal, PlacedBatches[Record], str]:
    """Make the journal ready for the next batch.

    Args:
        folder: the result folder.
        sides: what is compared.
        unit: images in a line of the journal.
        restart: begin anew, whatever is there.
        shard: the part of the run that this one is.

    Returns:
        The journal; the records that it has already, by the place of their line; and why an unfinished run is not gone
        on with, "" where it is or there was none.

    Raises:
        InputError: the folder is none, cannot be written to, or holds another shard.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the results.")
    journal = Journal(folder / (JOURNAL if shard is None else shards.JOURNAL))
    here = identity(sides, unit)
    found = None if restart else journal.find()
    why = ""
    if found is not None:
        if shard is not None and found.settings.shard != str(shard):
            raise InputError(
                f"{folder} holds shard {found.settings.shard}. Choose another folder, or begin anew with --restart."
            )
        there = found.settings.identity
        other = [key for key in {**here, **there} if here.get(key) != there.get(key)]
        if not other:
            kept = batches_of(found, sides, unit, places_of(sides, unit, shard))
            journal.keep(kept.lines())
            return journal, kept, ""
        why = f"An unfinished comparison here is not gone on with: another {' and '.join(other)}."
    journal.start(Settings(here, None if shard is None else str(shard)))
    return journal, PlacedBatches(), why


def batches_of(
    found: FoundRun[Settings, Record], sides: Sides, unit: int, places: Sequence[int]
) -> PlacedBatches[Record]:
    """The lines of a journal by the place whose images they hold.

    Args:
        found: the journal.
        sides: what is compared.
        unit: images in a line of the journal.
        places: those that are looked for.
    """
    looked_for = LinePlaces(places, lambda place: tuple(shot.name for shot in shots_of(sides, unit, place)))
    batches = PlacedBatches(found.batches)
    for line, names in enumerate(found.images):
        place = looked_for.of(names)
        if place is not None and place not in batches:
            batches.put(place, line)
    return batches


def identity(sides: Sides, unit: int, *, stamped: bool = True) -> dict[str, str]:
    """What has to be the same for a run to go on.

    Args:
        sides: what is compared.
        unit: images in a line of the journal.
        stamped: with the times of files; without, it is the same wherever they were copied to.
    """
    of_file = _stamp if stamped else _size
    return {
        **_of_side("old", sides.old, of_file),
        **_of_side("new", sides.new, of_file),
        "classes": _digest([sides.alignment.pairs, sides.alignment.old_count, sides.alignment.new_count]),
        "images, labels, boxes or masks": listed_digest(_of_shot(shot, of_file) for shot in sides.shots),
        "batch": str(unit),
        "way to decode (--fast-decode)": str(sides.old.asked.fast_decode),
        "form of its records": str(FORM),
        "version of onnx-gapmil": __version__,
        "versions of libraries": library_versions(),
    }


def _of_side(which: str, side: OpenedSide, of_file: _OfFile) -> dict[str, str]:
    head, reading = side.classifier.head, side.classifier.reading
    return {
        f"{which} model file": side.classifier.rewrite.source.sha256,
        f"{which} model's weights": _digest(_weights(side.classifier.rewrite.source, of_file)),
        f"{which} preprocessing": _digest(side.preprocess.to_json()),
        f"{which} output": head.output,
        f"way to lift class tokens of the {which} model": str(head.class_token),
        f"{which} aggregator": side.aggregator.key,
        f"how fine the {which} model's grid is": str(side.classifier.session.stitch),
        f"threshold of a class of the {which} model": _digest([reading.kind, reading.said_thresholds]),
        f"{which} provider in use": side.classifier.session.provider["used"],
    }


def _stamp(path: Source) -> list[Any]:
    return [str(path), *astuple(stamp(path))]


def _size(path: Source) -> list[Any]:
    return [path.name, stamp(path).size]


def _of_shot(shot: Shot, of_file: _OfFile) -> list[Any]:
    seen = [_of_sample(sample, of_file) for sample in (shot.old, shot.new)]
    return [shot.name, of_file(shot.image), shot.columns, *seen]


def _of_sample(sample: Sample | None, of_file: _OfFile) -> list[Any] | None:
    if sample is None:
        return None
    mask = of_file(sample.mask) if sample.mask is not None else None
    return [sample.labels, [[box.box, box.classes] for box in sample.boxes], mask]


def _weights(model: LoadedModel, of_file: _OfFile) -> list[Any]:
    """What the files are that hold a model's weights."""
    folder = model.folder
    return [] if folder is None else [[name, of_file(folder / name)] for name in weight_files(model.proto)]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
