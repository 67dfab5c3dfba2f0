"""What an unfinished comparison left, and whether this one may go on with it; if not, it begins anew and says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.auditing.journal import BatchJournal
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.identity import stamp
from onnx_gapmil.files.libraries import library_versions
from onnx_gapmil.graph.weights import weight_files
from onnx_gapmil.validation.comparing.records import Record, read_record
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.data import Sample
    from onnx_gapmil.graph.loading import LoadedModel
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Shot, Sides

#: The form of the records that are written: what is measured on an image.
FORM = 2
#: The journal's folder inside the result folder.
JOURNAL = ".compare"


@dataclass(frozen=True)
class Settings:
    """What a comparison began with; the journal's first file.

    Attributes:
        identity: what has to be the same for it to go on, by the words that a user is told where it is not.
    """

    identity: Mapping[str, str]


class Journal(BatchJournal[Settings, Record]):
    """The journal of one comparison.

    Args:
        folder: the result folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / JOURNAL, Settings, read_record, "a comparison")


def open_journal(folder: Path, sides: Sides, unit: int, *, restart: bool) -> tuple[Journal, list[Record], str]:
    """Make the journal ready for the next batch.

    Args:
        folder: the result folder.
        sides: what is compared.
        unit: images in a line of the journal.
        restart: begin anew, whatever is there.

    Returns:
        The journal; the records that it has already; and why an unfinished run is not gone on with, "" where it is or
        there was none.

    Raises:
        InputError: the folder is none, or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the results.")
    journal = Journal(folder)
    here = identity(sides, unit)
    found = None if restart else journal.find()
    why = ""
    if found is not None:
        there = found.settings.identity
        other = [key for key in {**here, **there} if here.get(key) != there.get(key)]
        if not other:
            records: list[Record] = []
            for place, batch in enumerate(found.batches):
                names = [shot.name for shot in sides.shots[place * unit : (place + 1) * unit]]
                if [record.image for record in batch] != names:
                    break
                records.extend(batch)
            journal.resume(-(-len(records) // unit))
            return journal, records, ""
        why = f"An unfinished comparison here is not gone on with: another {' and '.join(other)}."
    journal.start(Settings(here))
    return journal, [], why


def identity(sides: Sides, unit: int) -> dict[str, str]:
    """What has to be the same for a run to go on."""
    return {
        **_of_side("old", sides.old),
        **_of_side("new", sides.new),
        "classes": _digest([sides.alignment.pairs, sides.alignment.old_count, sides.alignment.new_count]),
        "images, labels, boxes or masks": _digest([_of_shot(shot) for shot in sides.shots]),
        "batch": str(unit),
        "form of its records": str(FORM),
        "version of onnx-gapmil": __version__,
        "versions of libraries": library_versions(),
    }


def _of_side(which: str, side: OpenedSide) -> dict[str, str]:
    head, reading = side.classifier.head, side.classifier.reading
    return {
        f"{which} model file": side.classifier.rewrite.source.sha256,
        f"{which} model's weights": _digest(_stamps(side.classifier.rewrite.source)),
        f"{which} preprocessing": _digest(side.preprocess.to_json()),
        f"{which} output": head.output,
        f"{which} aggregator": side.aggregator.key,
        f"how fine the {which} model's grid is": str(side.classifier.session.stitch),
        f"threshold of a class of the {which} model": _digest([reading.kind, reading.said_thresholds]),
        f"{which} provider in use": side.classifier.session.provider["used"],
    }


def _of_shot(shot: Shot) -> list[Any]:
    return [shot.name, astuple(stamp(shot.image)), shot.columns, _of_sample(shot.old), _of_sample(shot.new)]


def _of_sample(sample: Sample | None) -> list[Any] | None:
    if sample is None:
        return None
    mask = [str(sample.mask), astuple(stamp(sample.mask))] if sample.mask is not None else None
    return [sample.labels, [[box.box, box.classes] for box in sample.boxes], mask]


def _stamps(model: LoadedModel) -> list[Any]:
    """Names, sizes and times of the files that hold a model's weights."""
    folder = model.folder
    return [] if folder is None else [[name, astuple(stamp(folder / name))] for name in weight_files(model.proto)]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
