"""Several labels at once: average precision of each class, and precision, recall and F1 at its threshold.

What top-1 is to a softmax these are to sigmoids: every class is a question of its own, answered yes where its logit
is above its threshold. Only classes that label some image of the data set are judged, since of the others nobody said
where they are; images without any label are negatives for all.

- *Average precision* of a class: the mean over its images, ranked by the class's score among all images, of the
  precision down to each: ``sum_n (R_n - R_(n-1)) P_n`` over the distinct scores, without interpolation
  (scikit-learn's ``average_precision_score``). A ranking by chance has the class's share of the images, its
  *prevalence*.
- *mAP*: the mean over classes, each weighing the same; its chance is the mean prevalence.
- *Precision* ``TP / (TP + FP)``, *recall* ``TP / (TP + FN)``, *F1* ``2 TP / (2 TP + FP + FN)``: ``micro`` of the sums
  over classes, ``macro`` the mean over classes; a class that is never said to be present has no precision and is left
  out of that mean alone.
- *Exact*: the share of images whose present classes are their labels, no more and no fewer: of all classes of the
  model, also those that label no image.

Intervals draw images with replacement and compute each figure anew; a class that a draw has no image of is left out
of its mAP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.clustered import drawn_weights
from onnx_gapmil.metrics.intervals import Interval

Array = npt.NDArray[np.float64]

#: Draws of the images, and how many numbers all draws may take to rank: large data sets get fewer, 200 at the least.
_RESAMPLES = 2000
_WORK = 200_000_000
#: Draws that are held at once, in numbers.
_CHUNK = 4_000_000
_LEVEL = 0.95
_SEED = 1


@dataclass(frozen=True)
class Detection:
    """Precision, recall and F1; None where there is nothing to divide by."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """One class that labels at least one image.

    Attributes:
        images: that it labels.
        prevalence: their share of all: the average precision of a ranking by chance.
        threshold: the probability above which it is said to be present.
        present: images of which it is said.
        right: of those, how many it labels.
        precision: share of `present` that is right; None where it is never said.
        recall: share of `images` of which it is said.
        f1: their harmonic mean.
        average_precision: of the ranking of all images by its score.
    """

    images: int
    prevalence: float
    threshold: float
    present: int
    right: int
    precision: float | None
    recall: float
    f1: float
    average_precision: float


@dataclass(frozen=True, kw_only=True)
class MultiLabelFigures:
    """What a data set says of a model whose classes are present each by itself.

    Attributes:
        images: that were measured.
        labels: of all of them.
        present: classes that are said to be present, of all of them, among those that are judged.
        classes: that label an image and are judged.
        unlabelled: classes of the model that label none and are not judged.
        mean_average_precision: the mean over `by_class`.
        chance: that of rankings by chance: the mean prevalence.
        micro: of the sums over classes.
        macro: the means over classes.
        exact: share of images whose present classes, of all of the model's, are their labels.
        without_label: images without any label.
        none_right: how many of those have no class present.
        none_present: images with no class present.
        by_class: by the class's number, as text.
    """

    images: int
    labels: int
    present: int
    classes: int
    unlabelled: int
    mean_average_precision: float
    chance: float
    micro: Detection
    macro: Detection
    exact: float
    without_label: int
    none_right: int
    none_present: int
    by_class: Mapping[str, LabelFigures]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model says of one image, as far as classes that are judged go.

    Attributes:
        present: the classes, of all of the model's, that are above their threshold.
        scores: the logit of each class that is judged.
        pooled: the same by other aggregators; empty where these were not kept.
    """

    present: tuple[int, ...]
    scores: tuple[float, ...]
    pooled: Mapping[str, tuple[float, ...]]


def average_precision(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """The average precision of a ranking.

    Args:
        scores: (N,), equal ones count as one place in the ranking.
        positive: (N,), at least one.

    Raises:
        ValueError: none is positive.
    """
    numbers, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    if not truth.any():
        raise ValueError("no image has the label")
    return float(_average_precisions(numbers, truth, np.ones((1, len(numbers))))[0])


def mean_average_precision(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """The mean over classes of `average_precision`.

    Args:
        scores: (N, C).
        truth: (N, C), whether the class labels the image; at least once each.
    """
    numbers, positive = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.bool_)
    return float(np.mean([average_precision(*pair) for pair in zip(numbers.T, positive.T, strict=True)]))


def precision_difference(
    new: npt.ArrayLike, old: npt.ArrayLike, truth: npt.ArrayLike, groups: npt.NDArray[np.intp] | None = None
) -> Interval:
    """95 % interval of ``new - old`` mean average precision on the same images, drawn alike for both.

    Args:
        new: (N, C).
        old: (N, C).
        truth: (N, C), whether the class labels the image; at least once each.
        groups: (N,), the group of each image, of which whole ones are drawn (`onnx_gapmil.metrics.clustered`); None
            draws images.
    """
    positive = np.asarray(truth, dtype=np.bool_)
    images, classes = positive.shape
    resamples = int(min(_RESAMPLES, max(200, _WORK / (images * classes))))
    pair = [np.asarray(scores, dtype=np.float64) for scores in (new, old)]
    drawn: list[Array] = []
    for weights in drawn_weights(np.arange(images) if groups is None else groups, resamples, _SEED):
        one, other = (
            np.array([_average_precisions(scores[:, at], positive[:, at], weights) for at in range(classes)])
            for scores in pair
        )
        drawn.append(_mean(one, 0) - _mean(other, 0))
    low, high = np.nanquantile(np.concatenate(drawn), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def truth_of(labels: Sequence[Sequence[int]], classes: Sequence[int]) -> npt.NDArray[np.bool_]:
    """(N, C): which of some classes each image has."""
    place = {index: column for column, index in enumerate(classes)}
    found = np.zeros((len(labels), len(classes)), dtype=np.bool_)
    for row, own in enumerate(labels):
        found[row, [place[index] for index in own if index in place]] = True
    return found


def multilabel_figures(
    labels: Sequence[Sequence[int]],
    present: Sequence[Sequence[int]],
    scores: npt.ArrayLike,
    classes: Sequence[int],
    thresholds: Sequence[float],
    *,
    total: int,
) -> tuple[MultiLabelFigures, dict[str, Interval]]:
    """The figures of a data set, and 95 % intervals by their place in the summary.

    Args:
        labels: of each image; may be none.
        present: the classes that the model says are there.
        scores: (N, C) of the classes that are judged.
        classes: their C numbers: all that label an image, and at least one.
        thresholds: the probability above which each of them is present.
        total: classes of the model.
    """
    truth, said = truth_of(labels, classes), truth_of(present, classes)
    numbers = np.asarray(scores, dtype=np.float64)
    precisions = [average_precision(numbers[:, column], truth[:, column]) for column in range(len(classes))]
    rows = {
        str(index): _row(truth[:, column], said[:, column], precisions[column], thresholds[column])
        for column, index in enumerate(classes)
    }
    pairs = zip(labels, present, strict=True)
    equal = np.array([set(own) == set(found) for own, found in pairs], dtype=np.bool_)
    unlabelled = ~truth.any(axis=1)
    silent = np.array([not own for own in present], dtype=np.bool_)
    counts = np.array([(truth & said).sum(), (~truth & said).sum(), (truth & ~said).sum()], dtype=np.float64)
    own = [row.precision for row in rows.values() if row.precision is not None]
    figures = MultiLabelFigures(
        images=len(truth),
        labels=int(truth.sum()),
        present=int(said.sum()),
        classes=len(classes),
        unlabelled=total - len(classes),
        mean_average_precision=float(np.mean(precisions)),
        chance=float(truth.mean()),
        micro=Detection(*(None if np.isnan(value) else float(value) for value in _detection(*counts))),
        macro=Detection(
            float(np.mean(own)) if own else None,
            float(np.mean([row.recall for row in rows.values()])),
            float(np.mean([row.f1 for row in rows.values()])),
        ),
        exact=float(equal.mean()),
        without_label=int(unlabelled.sum()),
        none_right=int((unlabelled & silent).sum()),
        none_present=int(silent.sum()),
        by_class=rows,
    )
    return figures, _intervals(truth, said, numbers, equal)


def _row(truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_], precision: float, threshold: float) -> LabelFigures:
    right = int((truth & said).sum())
    of = _detection(float(right), float((~truth & said).sum()), float((truth & ~said).sum()))
    return LabelFigures(
        images=int(truth.sum()),
        prevalence=float(truth.mean()),
        threshold=threshold,
        present=int(said.sum()),
        right=right,
        precision=None if np.isnan(of[0]) else float(of[0]),
        recall=float(of[1]),
        f1=float(of[2]),
        average_precision=precision,
    )


def _detection(right: Any, false: Any, missed: Any) -> tuple[Any, Any, Any]:
    """Precision, recall and F1 of counts, or of arrays of counts; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            np.divide(right, right + false),
            np.divide(right, right + missed),
            np.divide(2 * right, 2 * right + false + missed),
        )


def _average_precisions(scores: Array, positive: npt.NDArray[np.bool_], weights: Array) -> Array:
    """(R,): of each of R draws the average precision; NaN where a draw has no positive image.

    Args:
        scores: (N,).
        positive: (N,).
        weights: (R, N), how often each draw has each image.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], positive[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # equal scores are one place
    drawn = weights[:, order]
    right = np.cumsum(drawn * hits, axis=1)[:, ends]
    seen = np.cumsum(drawn, axis=1)[:, ends]
    gained = np.diff(right, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen > 0, right / seen, 0.0)
        return np.asarray((gained * precision).sum(axis=1) / right[:, -1])


def _intervals(
    truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_], scores: Array, equal: npt.NDArray[np.bool_]
) -> dict[str, Interval]:
    images, classes = truth.shape
    resamples = int(min(_RESAMPLES, max(200, _WORK / (images * classes))))
    rng = np.random.default_rng(_SEED)
    counts = [(truth & said), (~truth & said), (truth & ~said)]
    drawn: dict[str, list[Array]] = {}
    step = max(1, _CHUNK // images)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size=rows).astype(np.float64)
        own = np.array([_average_precisions(scores[:, at], truth[:, at], weights) for at in range(classes)])
        sums = [weights @ each.astype(np.float64) for each in counts]
        parts = {"mean_average_precision": _mean(own, 0), "exact": weights @ equal.astype(np.float64) / images}
        kinds = ("precision", "recall", "f1")
        parts |= {
            f"micro.{name}": value
            for name, value in zip(kinds, _detection(*(each.sum(axis=1) for each in sums)), strict=True)
        }
        parts |= {f"macro.{name}": _mean(value, 1) for name, value in zip(kinds, _detection(*sums), strict=True)}
        for name, values in parts.items():
            drawn.setdefault(name, []).append(values)
    found = {name: np.concatenate(values) for name, values in drawn.items()}
    ends = ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2)
    return {
        f"multi_label.{name}": (float(low), float(high))
        for name, values in found.items()
        if not np.isnan(values).all()
        for low, high in [np.nanquantile(values, ends)]
    }


def _mean(values: Array, axis: int) -> Array:
    """The mean along an axis of what is a number; NaN where nothing is."""
    known = ~np.isnan(values)
    number = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))
