"""Which classes are taken for which: counts of images by label and answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx_gapmil.auditing.records import ImageRecord

#: Classes of a matrix, at the most: more cannot be read.
MATRIX_CLASSES = 40
#: Pairs that are listed instead.
WORST_PAIRS = 30


@dataclass(frozen=True)
class Confusion:
    """Images of one label with one answer.

    Attributes:
        label: the true class.
        answer: the class of the highest logit.
        images: how many.
        of: images with that label.
    """

    label: int
    answer: int
    images: int
    of: int


@dataclass(frozen=True)
class Confusions:
    """Labels against answers, of images with one label.

    Attributes:
        images: with one label.
        errors: of these, answered with another class.
        classes: that occur as label or answer, by index, if they are at most 40; else none.
        pairs: with `classes`, each label and answer that occur together, right ones included; without, the 30 most
            frequent errors. The most images first, then the surest answers.
    """

    images: int
    errors: int
    classes: tuple[int, ...]
    pairs: tuple[Confusion, ...]


def confusions_of(records: Iterable[ImageRecord]) -> Confusions:
    """Count labels against answers; images of several labels have no one class that was confused, and are left out."""
    counts: Counter[tuple[int, int]] = Counter()
    sure: dict[tuple[int, int], float] = {}
    for record in records:
        if len(record.measures.labels) == 1:
            key = (record.measures.labels[0], record.measures.prediction)
            counts[key] += 1
            sure[key] = sure.get(key, 0.0) + record.measures.confidence
    totals: Counter[int] = Counter()
    for (label, _), images in counts.items():
        totals[label] += images
    pairs = [Confusion(label, answer, images, totals[label]) for (label, answer), images in counts.items()]
    pairs.sort(key=lambda pair: (-pair.images, -sure[pair.label, pair.answer], pair.label, pair.answer))
    wrong = [pair for pair in pairs if pair.label != pair.answer]
    classes = sorted({index for pair in counts for index in pair})
    few = len(classes) <= MATRIX_CLASSES
    return Confusions(
        images=sum(totals.values()),
        errors=sum(pair.images for pair in wrong),
        classes=tuple(classes) if few else (),
        pairs=tuple(pairs if few else wrong[:WORST_PAIRS]),
    )
