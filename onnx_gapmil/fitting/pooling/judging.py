"""What a fit is worth on images that it did not see: vendor, calibrated only and fitted side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.clustered import clustered_difference, clustered_mean, grouped
from onnx_gapmil.metrics.intervals import Interval, bootstrap_mean
from onnx_gapmil.metrics.multilabel import mean_average_precision, precision_difference
from onnx_gapmil.metrics.paired import images_to_resolve, paired_difference

if TYPE_CHECKING:
    from onnx_gapmil.aggregate.reading import Reading
    from onnx_gapmil.fitting.pooling.likelihood import Likelihood, Rows

Array = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]

#: Which is compared with which.
_PAIRS = (("calibrated", "vendor"), ("fitted", "vendor"), ("fitted", "calibrated"))


@dataclass(frozen=True)
class Figures:
    """What one of the three is worth.

    Attributes:
        accuracy: share of images whose answer is right; of several labels at once, whose present classes are their
            labels, no more and no fewer, among the classes that are judged.
        log_likelihood: of the labels of an image, in nats, on average.
        mean_average_precision: of several labels at once; None of others.
    """

    accuracy: float
    log_likelihood: float
    mean_average_precision: float | None


@dataclass(frozen=True)
class Difference:
    """Two of the three on the same images.

    Attributes:
        figure: ``accuracy``, ``log_likelihood`` or ``mean_average_precision``.
        new: which.
        old: is subtracted.
        value: the difference.
        interval: 95 %, paired.
        images_to_resolve: how many images would tell such a difference from 0; None where it is 0.
    """

    figure: str
    new: str
    old: str
    value: float
    interval: Interval
    images_to_resolve: int | None


@dataclass(frozen=True)
class Judgement:
    """Vendor, calibrated only and fitted, on images that no fit has seen.

    Attributes:
        images: how many.
        figures: of each.
        differences: of each pair, figure by figure.
        main: the figure that decides.
        classes: classes whose average precision is in the mean; None of others.
        groups: how many groups of images the intervals draw; None where they are of images that are a group each.
    """

    images: int
    figures: Mapping[str, Figures]
    differences: tuple[Difference, ...]
    main: str
    classes: int | None = None
    groups: int | None = None

    def difference(self, figure: str, new: str = "fitted", old: str = "vendor") -> Difference:
        """One of the differences."""
        return next(found for found in self.differences if (found.figure, found.new, found.old) == (figure, new, old))

    def to_json(self) -> dict[str, Any]:
        """The judgement as the report has it."""
        return {
            "images": self.images,
            "main": self.main,
            "classes": self.classes,
            "groups": self.groups,
            **{name: vars(found) for name, found in self.figures.items()},
            "differences": [{**vars(found), "interval": list(found.interval)} for found in self.differences],
        }


def judge(
    answers: Mapping[str, Array], likelihood: Likelihood, rows: Rows, reading: Reading, groups: Groups | None = None
) -> Judgement:
    """Compare.

    Args:
        answers: logits (n, K) of ``vendor``, ``calibrated`` and ``fitted``.
        likelihood: of all images.
        rows: (n,), the images.
        reading: how logits are read.
        groups: (n,), the group of each image: where some are of one group, the intervals draw groups and not images.
    """
    if groups is not None and not grouped(groups):
        groups = None
    truth = likelihood.truth[rows]
    judged = _judged(likelihood, truth, reading)
    costs = {name: likelihood.cost(rows, logits) for name, logits in answers.items()}
    right = {name: _right(logits, truth, reading, likelihood.judged) for name, logits in answers.items()}
    figures = {name: figures_of(logits, likelihood, rows, reading) for name, logits in answers.items()}
    differences: list[Difference] = []
    for new, old in _PAIRS:
        spans = {
            "accuracy": share_difference(right[new], right[old], groups),
            "log_likelihood": _mean_interval(costs[old] - costs[new], groups),
        }
        if judged is not None:
            spans["mean_average_precision"] = precision_difference(
                answers[new][:, judged], answers[old][:, judged], truth[:, judged], groups
            )
        for figure, interval in spans.items():
            value = float(getattr(figures[new], figure) - getattr(figures[old], figure))
            needed = images_to_resolve(value, interval, len(rows))
            differences.append(Difference(figure, new, old, value, interval, needed))
    main = "mean_average_precision" if judged is not None else "accuracy"
    return Judgement(
        len(rows),
        figures,
        tuple(differences),
        main,
        int(judged.sum()) if judged is not None else None,
        len(np.unique(groups)) if groups is not None else None,
    )


def figures_of(logits: Array, likelihood: Likelihood, rows: Rows, reading: Reading) -> Figures:
    """The figures of one set of answers.

    Args:
        logits: (n, K).
        likelihood: of all images.
        rows: (n,), the images.
        reading: how logits are read.
    """
    truth = likelihood.truth[rows]
    judged = _judged(likelihood, truth, reading)
    return Figures(
        float(_right(logits, truth, reading, likelihood.judged).mean()),
        -float(likelihood.cost(rows, logits).mean()),
        mean_average_precision(logits[:, judged], truth[:, judged]) if judged is not None else None,
    )


def _judged(likelihood: Likelihood, truth: npt.NDArray[np.bool_], reading: Reading) -> npt.NDArray[np.bool_] | None:
    """(K,): of several labels the classes whose precision is averaged, those that an image has."""
    return likelihood.judged & truth.any(axis=0) if reading.multi_label else None


def share_difference(new: npt.NDArray[np.bool_], old: npt.NDArray[np.bool_], groups: Groups | None) -> Interval:
    """95 % interval of the share of images that are right, of one less another.

    Args:
        new: (n,).
        old: (n,), of the same images.
        groups: (n,), the group of each; None where each is a group of its own.
    """
    if groups is not None:
        return clustered_difference(new, old, groups)
    both, fixed, broken = int((new & old).sum()), int((new & ~old).sum()), int((~new & old).sum())
    return paired_difference(both, fixed, broken, len(new) - both - fixed - broken)


def _right(
    logits: Array, truth: npt.NDArray[np.bool_], reading: Reading, judged: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """(n,): which images are answered rightly; of equal classes none is the answer."""
    if reading.multi_label:
        return np.asarray((reading.present(logits, axis=1) == truth)[:, judged].all(axis=1))
    if reading.kind == "two-classes":
        return np.asarray(np.where(truth[:, 0], logits[:, 0] > 0, logits[:, 0] < 0))
    own = np.where(truth, logits, -np.inf).max(axis=1)
    return np.asarray(own > np.where(truth, -np.inf, logits).max(axis=1))


def _mean_interval(values: Array, groups: Groups | None) -> Interval:
    if (values == values[0]).all():
        return float(values[0]), float(values[0])
    return bootstrap_mean(values) if groups is None else clustered_mean(values, groups)
