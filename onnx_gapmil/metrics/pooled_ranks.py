"""At which rank each aggregator puts the labels of an image, without the scores of all classes to the last digit.

A rank asks which classes score higher than a label, and of nearly all of them float32 tells. So scores are computed in
float32, with a bound on how far each may be off. The classes that lie nearer to the label than that are computed by
the formulas of `onnx_gapmil.aggregate.formulas`, in float64, and decided by those. The ranks are those of the float64
scores of all classes, ties included (`onnx_gapmil.metrics.accuracy.label_ranks` of `by_each_aggregator`).

The bounds, with u the unit of float32's rounding, P cells and K classes: a difference of logits is off by u times
itself, so its exponential by at most 104 u of itself (further down it is 0), and by 5 u of its own; a sum of K of them,
which NumPy adds in pairs, by that and 40 u more; a sum over cells, one after another, by P u. So a cell's share is off
by less than 260 u, and its cube by three times that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import AGGREGATORS, by_each_aggregator
from onnx_gapmil.aggregate.formulas import median_of_sorted, top_count, top_mean_of_sorted
from onnx_gapmil.metrics.accuracy import label_ranks
from onnx_gapmil.metrics.image_cells import ImageCells
from onnx_gapmil.metrics.some_scores import SomeScores

Array = npt.NDArray[np.float64]
Quick = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.intp]

#: float32's unit of rounding, and how far off an exponential and a cell's share are at the most.
_UNIT = 2.0**-24
_POWER, _SHARE = 110 * _UNIT, 260 * _UNIT
#: Shares are kept so many times as large: of their cubes, numbers that float32 has no full digits for (and takes a
#: hundred times as long over) are rare then.
_SCALE = 2.0**38
#: Below, sums of exponentials have lost digits to float32's smallest numbers.
_SMALLEST = 1e-25
#: Of fewer classes or more labels the scores of all are quicker; of larger logits no float64 tells sums apart.
_FEWEST_CLASSES, _MOST_LABELS, _LARGEST_LOGIT = 64, 8, 1e6


def pooled_ranks(cells: ImageCells, labels: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """By each of `AGGREGATORS`, the rank of each label among the classes that are none; see `label_ranks`.

    Args:
        cells: of the image, finite.
        labels: its true classes.
    """
    if cells.grid.dtype == np.float32 and len(cells.grid) >= _FEWEST_CLASSES and len(labels) <= _MOST_LABELS:
        contest = _Contest(cells, labels)
        if contest.reach < _LARGEST_LOGIT:
            return {name: tuple(contest.rank(name, label) for label in labels) for name in AGGREGATORS}
    scores = by_each_aggregator(cells.grid)
    ranks = label_ranks(np.stack(list(scores.values())), labels)
    return {name: tuple(own.tolist()) for name, own in zip(scores, ranks, strict=True)}


class _Contest:
    """The classes of one image against a label.

    What is named ``by_...`` says for an aggregator which classes surely score higher than a label, and which others
    may, or are equal: two times (K,).
    """

    def __init__(self, cells: ImageCells, labels: Sequence[int]) -> None:
        self._labels = np.asarray(labels, dtype=np.intp)
        self._cells, self._values, self._count = cells, cells.values, len(cells.values)
        self._some = SomeScores(cells)
        self.reach = float(max(cells.highest.max(), -self._values.min()))
        self._adding = (self._count + 8) * _UNIT
        # One array for what is needed for a moment, so that all of an image stays in the processor's own memory.
        self._scratch = np.empty_like(self._values)
        self._maxima: Quick = self._values.max(axis=0)
        self._exponentials()

    def _exponentials(self) -> None:
        """Each cell's softmax, and sums of exponentials and of shares over the cells of each class."""
        highest, at = self._cells.highest, (np.arange(self._count), self._cells.best)
        powers = np.subtract(self._values, highest[:, None])
        np.exp(powers, out=powers)
        powers[at] = 0
        self._rest = powers.sum(axis=1)  # of a cell's exponentials all but the highest, which is 1
        powers[at] = 1
        # What makes of a cell's exponentials those below the highest logit of all. Not by BLAS and its threads.
        weights = np.exp(highest - highest.max())
        self._totals: Quick = np.einsum("p,pk->k", weights, powers)
        self._weighed: Quick = np.einsum("p,pk->k", weights, np.multiply(powers, self._values, out=self._scratch))
        self._shares = np.multiply(powers, (_SCALE / (1 + self._rest))[:, None], out=powers)
        squares = np.square(self._shares, out=self._scratch)
        self._sums: list[Quick] = [self._shares.sum(axis=0), squares.sum(axis=0)]
        self._sums.append(np.multiply(squares, self._shares, out=squares).sum(axis=0))

    def rank(self, name: str, label: int) -> int:
        """How many classes that are no label come before a label."""
        above, near = _BY[name](self, label)
        above[self._labels] = near[self._labels] = False
        sure = int(np.count_nonzero(above))
        left = np.flatnonzero(near)
        if not len(left):
            return sure
        scores = self._some.scores(name, np.append(left, label))
        others, own = scores[:-1], scores[-1]
        return sure + int(np.count_nonzero((others > own) | ((others == own) & (left < label))))

    def by_mean(self, label: int) -> tuple[Flags, Flags]:
        return _by_difference(self._values.sum(axis=0), label, self._adding * self._count * self.reach)

    def by_maximum(self, label: int) -> tuple[Flags, Flags]:
        return self._maxima > self._maxima[label], self._maxima == self._maxima[label]

    def by_exponentials(self, label: int) -> tuple[Flags, Flags]:
        return _by_ratio(self._totals, label, 2 * _POWER + self._adding)

    def by_shares(self, label: int) -> tuple[Flags, Flags]:
        return _by_ratio(self._sums[0], label, _SHARE + self._adding)

    def by_cubes(self, label: int) -> tuple[Flags, Flags]:
        return _by_ratio(self._sums[2], label, 3 * _SHARE + self._adding)

    def by_weighted(self, label: int) -> tuple[Flags, Flags]:
        """Where weights are off by a part of themselves, a weighted mean is off by twice that part of its values."""
        totals = self._totals
        if totals[label] < _SMALLEST:
            return _nobody_sure(len(totals))
        means = np.divide(self._weighed, np.maximum(totals, np.float32(_SMALLEST)), dtype=np.float32)
        above, near = _by_difference(means, label, (4 * _POWER + 4 * self._adding) * self.reach)
        unknown = totals < _SMALLEST
        return above & ~unknown, near | unknown

    def by_median(self, label: int) -> tuple[Flags, Flags]:
        """Above where more than half of the cells are, below where as many are; of an even number some are left."""
        low, high = _around(float(median_of_sorted(self._ordered(label))))
        above = self._number(self._values > high) > self._count // 2
        return above, ~above & (self._number(self._values >= low) > (self._count - 1) // 2)

    def by_top(self, label: int) -> tuple[Flags, Flags]:
        """By what classes have beyond a level, the lowest of the label's own n top cells.

        The mean of a class's n highest cells is at most the level and an nth of the sum beyond it; and where n cells
        or more lie beyond it, at least the level and that sum's mean over all these.
        """
        share = AGGREGATORS["topk"].parameter or 0.0
        count, ordered = top_count(share, self._count), self._ordered(label)
        own, level = float(top_mean_of_sorted(ordered, share)), float(ordered[-count])
        beyond = np.subtract(self._values, np.float32(level), out=self._scratch)
        number = self._number(beyond > 0)
        total = np.maximum(beyond, 0, out=beyond).sum(axis=0)
        gap, off = own - level, self._adding + 8 * _UNIT
        above = (number >= count) & (total > number * np.float32(gap * (1 + off)))
        near = (total >= count * gap * (1 - off)) & (self._maxima >= _around(own)[0])
        return above, near & ~above

    def by_costs(self, label: int) -> tuple[Flags, Flags]:
        """By the sum over cells of ``-log(1 - p)``, of which the first three terms are at hand for all classes.

        What they leave out is less than the third where a class has no more than half of any cell.
        """
        own = float(self._costs(np.array([label]))[0])
        off = 3 * (3 * _SHARE + self._adding)
        # Of a cell that is too sure, the logarithm of what it leaves to others is not known.
        if own < _SMALLEST or self._rest.min() < _SMALLEST:
            return _nobody_sure(len(self._totals))
        first, second, third = (part / (_SCALE**power * power) for power, part in enumerate(self._sums, 1))
        least = first + second + third
        above = least > own * (1 + off)
        near = least + third >= own * (1 - off)
        near[self._cells.best] = True
        near &= ~above
        left = np.flatnonzero(near)
        costs = self._costs(left)
        above[left] = costs > own * (1 + off)
        near[left] = np.abs(costs - np.float32(own)) <= own * off
        return above, near

    def _costs(self, classes: Classes) -> Quick:
        """(n,): of some classes the sum over cells of ``-log(1 - p)``."""
        costs = -np.log1p(-np.minimum(self._shares[:, classes] / _SCALE, 0.5))
        won, place = np.nonzero(self._cells.best[:, None] == classes)
        if len(won):
            rest = self._rest[won]
            with np.errstate(divide="ignore"):
                costs[won, place] = np.log1p(rest) - np.log(rest)
        return np.asarray(costs.sum(axis=0))

    def _number(self, flags: Flags) -> npt.NDArray[np.unsignedinteger]:
        """(K,): of how many cells flags of (cells, K) are set."""
        kind = np.uint8 if self._count < 256 else np.uint32
        number: npt.NDArray[np.unsignedinteger] = np.add.reduce(flags.view(np.uint8), axis=0, dtype=kind)
        return number

    def _ordered(self, label: int) -> Array:
        """(cells,), of a class, ascending."""
        return np.sort(self._values[:, label]).astype(np.float64)


def _by_ratio(values: Quick, label: int, off: float) -> tuple[Flags, Flags]:
    """Of positive values that are off by a part of themselves."""
    own = float(values[label])
    if own < _SMALLEST:
        return _nobody_sure(len(values))
    return values > own * (1 + 3 * off), np.abs(values - np.float32(own)) <= own * (3 * off)


def _by_difference(values: Quick, label: int, off: float) -> tuple[Flags, Flags]:
    """Of values that are off by this."""
    gaps = values - values[label]
    return gaps > 3 * off, np.abs(gaps) <= 3 * off


def _nobody_sure(classes: int) -> tuple[Flags, Flags]:
    return np.zeros(classes, dtype=np.bool_), np.ones(classes, dtype=np.bool_)


def _around(value: float) -> tuple[np.float32, np.float32]:
    """The nearest float32 at or below a value, and at or above it."""
    near = np.float32(value)
    low = near if float(near) <= value else np.nextafter(near, np.float32(-np.inf))
    high = near if float(near) >= value else np.nextafter(near, np.float32(np.inf))
    return low, high


#: Not kept by each contest: a circle of references would keep its arrays, too, until the garbage is looked for.
_BY: Mapping[str, Callable[[_Contest, int], tuple[Flags, Flags]]] = {
    "mean": _Contest.by_mean,
    "max": _Contest.by_maximum,
    "lse": _Contest.by_exponentials,
    "topk": _Contest.by_top,
    "softmax_weighted": _Contest.by_weighted,
    "noisy_or": _Contest.by_costs,
    "median": _Contest.by_median,
    "generalized_mean": _Contest.by_cubes,
    "prob_mean": _Contest.by_shares,
}
