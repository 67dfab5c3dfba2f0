"""What an audit knows of one image: a line of its journal, a row of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from onnx_gapmil.files.packed import Chosen, PackedRecords, itself
from onnx_gapmil.files.serial import from_json
from onnx_gapmil.metrics import ImageMeasures
from onnx_gapmil.metrics.multilabel import Answered


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image that was measured.

    Attributes:
        image: its name in the data set.
        size: (width, height) of the upright photo in pixels.
        top: the image's first five classes with their probabilities, best first.
        aggregators: by aggregator, the rank of each label, from 0.
        measures: everything else.
        answered: of a multi-label head, what is present, and the scores of the classes that are judged.
    """

    image: str
    size: tuple[int, int]
    top: tuple[tuple[int, float], ...]
    aggregators: Mapping[str, tuple[int, ...]]
    measures: ImageMeasures
    answered: Answered | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that is kept out.

    Attributes:
        image: its name in the data set.
        error: why, in one sentence.
    """

    image: str
    error: str


Record = ImageRecord | Failure


def read_record(value: object) -> Record:
    """A record from its JSON form.

    Raises:
        ValueError: it is none.
    """
    failed = isinstance(value, Mapping) and "error" in value
    return from_json(Failure, value) if failed else from_json(ImageRecord, value)


def measured(records: Sequence[Record]) -> Sequence[ImageRecord]:
    """Those that were not kept out."""
    if isinstance(records, PackedRecords) and records.kinds <= {ImageRecord}:
        return records
    places = [place for place, record in enumerate(records) if isinstance(record, ImageRecord)]
    return Chosen(records, places, itself)


def measures_of(records: Sequence[ImageRecord], places: Sequence[int] | None = None) -> Sequence[ImageMeasures]:
    """What was measured of each image, or of those in some places."""
    return Chosen(records, places, attrgetter("measures"))
