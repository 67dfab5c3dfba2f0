"""How well a preprocessing does on labelled images, and whether two can be told apart on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.two_classes import with_two_classes

LOG_PROBABILITY_FLOOR = -20.0
"""Log-probabilities below this count as this, so that one overflow in fp16 does not decide alone."""

VALUES_SIGNIFICANCE = 0.05
"""Normalizations, colours and offsets are told apart where the paired test's p-value is at most this. A wrong
one ruins a model, and few compete that are nearly alike."""

RESIZING_SIGNIFICANCE = 0.01
"""Resize rules are told apart at this. They are nearly alike, and a dozen compete: stricter, to keep the default."""

GUESSING_SIGNIFICANCE = 0.01
"""The best candidate is better than guessing at this, shared among all candidates (Bonferroni)."""

FLIPS = 4096
"""Sign flips of the paired test: all of them where there are no more, else so many at random (seeded)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one image says for one candidate.

    Attributes:
        top1: the answer of the whole image is a right class.
        top5: a right class is among its five best.
        log_probability: natural logarithm of the softmax share of all right classes, or, where each class is present
            by itself, the mean over classes of that of what the label says of it; at least `LOG_PROBABILITY_FLOOR`.
        cell_top1: share of the cells whose best class is right.
        cell_top5: share of the cells with a right class among their five best.
    """

    top1: bool
    top5: bool
    log_probability: float
    cell_top1: float
    cell_top5: float


WRONG = Outcome(False, False, LOG_PROBABILITY_FLOOR, 0.0, 0.0)
"""Of an image that cannot be prepared, or whose logits are not finite."""


def outcome(
    logits: npt.ArrayLike, grid: npt.ArrayLike, right: Collection[int], *, independent: bool = False
) -> Outcome:
    """Score one image.

    A model of one class is scored as two: class 0 with logit 0, class 1 with the model's, whose softmax is
    the sigmoid.

    Args:
        logits: (K,).
        grid: (K, H, W).
        right: the right classes, at least one, each in 0..K-1 (0..1 where K is 1).
        independent: whether each class is present by itself, with its own sigmoid.
    """
    scores = np.asarray(logits, dtype=np.float64)
    cells = np.asarray(grid, dtype=np.float64)
    if not (np.isfinite(scores).all() and np.isfinite(cells).all()):
        return WRONG
    scores, cells = with_two_classes(scores), with_two_classes(cells)
    classes = sorted(right)
    if independent:
        absent = np.ones(len(scores))
        absent[classes] = -1.0
        log_probability = -np.logaddexp(0.0, absent * scores).mean()  # log sigmoid(z) of present ones, of -z of others
    else:
        log_probability = np.logaddexp.reduce(scores[classes]) - np.logaddexp.reduce(scores)
    rank = _rank(scores[:, None], classes)[0]
    ranks = _rank(cells.reshape(len(cells), -1), classes)
    return Outcome(
        top1=bool(rank < 1),
        top5=bool(rank < 5),
        log_probability=max(float(log_probability), LOG_PROBABILITY_FLOOR),
        cell_top1=float((ranks < 1).mean()),
        cell_top5=float((ranks < 5).mean()),
    )


def _rank(scores: npt.NDArray[np.float64], right: Sequence[int]) -> npt.NDArray[np.int64]:
    """(P,): how many classes of (K, P) come before the best right one; of equals the lower index comes first."""
    best = scores[right].max(axis=0)
    where = np.array(right)[scores[right].argmax(axis=0)]
    index = np.arange(len(scores))[:, None]
    before = (scores > best) | ((scores == best) & (index < where))
    return np.asarray(before.sum(axis=0), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Score:
    """Means over images; compared in this order.

    Attributes:
        top1: share of images.
        top5: share of images.
        log_probability: mean, in nats.
        cell_top1: mean share of cells.
        cell_top5: mean share of cells.
    """

    top1: float
    top5: float
    log_probability: float
    cell_top1: float
    cell_top5: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Score:
        """The means of at least one outcome."""
        columns = (
            [float(getattr(one, name)) for one in outcomes]
            for name in ("top1", "top5", "log_probability", "cell_top1", "cell_top5")
        )
        return cls(*(sum(column) / len(outcomes) for column in columns))

    def key(self) -> tuple[float, ...]:
        """For sorting: top-1, then top-5, then log-probability, then the cells."""
        return (self.top1, self.top5, self.log_probability, self.cell_top1, self.cell_top5)


def is_worse(one: Sequence[Outcome], other: Sequence[Outcome], significance: float) -> bool:
    """Whether `one` is certainly worse than `other`, on the same images in the same order.

    Certain where the paired sign-flip test (Fisher 1935; for right and wrong it is McNemar's exact test) of
    the difference in top-1, or of that in log-probability, is significant, and the other of the two is not
    significant the other way.

    Args:
        one: an outcome for each image.
        other: the same.
        significance: the largest p-value that counts as certain.
    """
    votes = [
        _direction(
            [float(getattr(b, name)) - float(getattr(a, name)) for a, b in zip(one, other, strict=True)], significance
        )
        for name in ("top1", "log_probability")
    ]
    return max(votes) > 0 and min(votes) >= 0


def _direction(differences: Sequence[float], significance: float) -> int:
    """1 if the mean is certainly above 0, -1 if certainly below, else 0."""
    values = np.array([value for value in differences if value != 0.0])
    if len(values) == 0 or sign_flip_p(values) > significance:
        return 0
    return 1 if values.sum() > 0 else -1


def sign_flip_p(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of "the differences are as often this much above 0 as below".

    The share of all ways to choose the signs of the differences whose sum is at least as far from 0 as
    theirs: all 2^n ways up to `FLIPS`, else `FLIPS` of them at random with a fixed seed, the given one
    included.

    Args:
        differences: (n,), n >= 1.
    """
    count = len(differences)
    if 2**count <= FLIPS:
        signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(0).integers(0, 2, (FLIPS, count)) * 2.0 - 1.0
        signs[0] = 1.0
    sums = np.abs(signs @ differences)
    return float((sums >= sums[0] * (1 - 1e-12)).mean())


def better_than_guessing(outcomes: Sequence[Outcome], chances: Sequence[float], *, tries: int) -> bool:
    """Whether so many right answers are unlikely by chance, at `GUESSING_SIGNIFICANCE`.

    Args:
        outcomes: of n images.
        chances: of each of them, the probability of guessing right.
        tries: how many candidates were looked at to find this one.
    """
    distribution = np.array([1.0])  # Poisson-binomial distribution of the number of right guesses, one image at a time
    for chance in chances:
        distribution = np.convolve(distribution, [1.0 - chance, chance])
    right = sum(one.top1 for one in outcomes)
    return float(distribution[right:].sum()) * tries <= GUESSING_SIGNIFICANCE
