"""Which classes are taken for which: counts of images by label and answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx_gapmil.files.columns import Numbers
    from onnx_gapmil.metrics.columns import ImageNumbers

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


def confusions_of(images: ImageNumbers) -> Confusions:
    """Count labels against answers; images of several labels have no one class that was confused, and are left out."""
    labels, places = images.of_one_label()
    answers = images["prediction"][places]
    counts, sure = counted(labels, answers), counted(labels, answers, images["confidence"][places])
    totals: Counter[int] = Counter()
    for (label, _), times in counts.items():
        totals[label] += times
    pairs = [Confusion(label, answer, times, totals[label]) for (label, answer), times in counts.items()]
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


def counted(labels: Numbers, answers: Numbers, weights: Numbers | None = None) -> dict[tuple[int, int], Any]:
    """How many images each label and answer have together, or the sum of their weights, added in their order."""
    keys = labels.astype(np.int64) << 32 | answers
    kinds, place = np.unique(keys, return_inverse=True)
    sums = np.bincount(place, weights=weights, minlength=len(kinds))
    pairs = zip((kinds >> 32).tolist(), (kinds & 0xFFFFFFFF).tolist(), strict=True)
    return dict(zip(pairs, sums.tolist(), strict=True))
