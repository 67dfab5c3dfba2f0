"""How the logits of a head are read as classes: one of many, two classes by one logit, or several at once.

Softmax ranks classes against each other, so one of them wins: *one of many*. A model of one logit answers yes or no:
its two classes are *not x*, whose logit is 0, and *x* (`onnx_gapmil.aggregate.two_classes`). A sigmoid for each of
several logits is *multi-label*: every class is present or not by itself, present where its logit is above its threshold
(0, a probability of one half, if none is given), and a cell in which none is present has no winner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation, activate
from onnx_gapmil.aggregate.aggregator import AGGREGATORS, Aggregator, by_each_aggregator
from onnx_gapmil.aggregate.cells import sure_cells, winning_classes
from onnx_gapmil.aggregate.two_classes import with_two_classes
from onnx_gapmil.errors import InputError

ReadAs = Literal["one-of-many", "two-classes", "multi-label"]


@dataclass(frozen=True)
class Reading:
    """How logits are read.

    Every method takes logits or grids *of the classes*: of a head of one logit, what `of_classes` makes of it.

    Attributes:
        kind: ``one-of-many``, ``two-classes`` (of one logit) or ``multi-label``.
        activation: what makes scores of the classes' logits: ``softmax`` (of one logit's two classes it is the sigmoid
            of that logit), ``sigmoid`` for each class by itself, or ``none``.
        thresholds: of a multi-label head, the logit above which a class is present: one for each class; empty for 0.
    """

    kind: ReadAs
    activation: Activation
    thresholds: tuple[float, ...] = ()

    @classmethod
    def of(cls, activation: Activation, logits: int, thresholds: Sequence[float] | None = None) -> Reading:
        """The reading of a head.

        Args:
            activation: what the vendor's graph makes of its logits.
            logits: K, how many it has.
            thresholds: probabilities in 0..1 above which a class is present: one for each logit, or one for all. With
                them a head of bare logits is read as multi-label, too: who gives them says so.

        Raises:
            InputError: the head's classes have no thresholds, or these do not fit.
        """
        if thresholds is not None:
            levels = _levels(activation, logits, thresholds)
            return cls("multi-label", "sigmoid", levels)
        if logits == 1:
            return cls("two-classes", "none" if activation == "none" else "softmax")
        return cls("multi-label" if activation == "sigmoid" else "one-of-many", activation)

    @property
    def multi_label(self) -> bool:
        """Whether several classes may be present at once, or none."""
        return self.kind == "multi-label"

    @property
    def said_thresholds(self) -> float | list[float] | None:
        """Of a multi-label head the probability above which a class is present: one for all, or one each."""
        if not self.multi_label:
            return None
        levels = [float(value) for value in activate(self.levels(1), "sigmoid")]
        return levels[0] if len(set(levels)) == 1 else levels

    def of_classes(self, values: npt.NDArray[Any], axis: int = 0) -> npt.NDArray[Any]:
        """Logits or a grid of the classes: of one logit those of *not x*, 0, before those of *x*."""
        if self.kind != "two-classes" or values.shape[axis] != 1:
            return values
        return with_two_classes(values, axis).astype(values.dtype)

    def scores(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Of the classes on the first axis: probabilities, or the logits where the head has no activation."""
        return activate(np.asarray(logits, dtype=np.float64), self.activation)

    def levels(self, classes: int) -> npt.NDArray[np.float64]:
        """(K,), the logit above which each class is present."""
        return np.asarray(self.thresholds or np.zeros(classes), dtype=np.float64)

    def above(self, logits: npt.NDArray[Any], axis: int = 0) -> npt.NDArray[Any]:
        """How far each class is above its threshold; of heads without thresholds the logits as they are."""
        if not self.thresholds:
            return logits
        shape = [1] * logits.ndim
        shape[axis] = -1
        return np.asarray(logits - self.levels(logits.shape[axis]).reshape(shape).astype(logits.dtype))

    def present(self, logits: npt.NDArray[Any], axis: int = 0) -> npt.NDArray[np.bool_]:
        """Which classes are present: those above their threshold; only of a multi-label head."""
        return np.asarray(self.above(logits, axis) > 0)

    def winners(self, grid: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """The class that wins each cell, -1 for nobody: of equal ones none does, nor one that is not present.

        Args:
            grid: (K, ...) logits of the cells.
        """
        margins = self.above(grid)
        winners = winning_classes(margins)
        return np.where(margins.max(axis=0) > 0, winners, -1) if self.multi_label else winners

    def sure(self, grid: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Cells whose winner is sure: it has half of the cell's softmax; of a multi-label head it is present."""
        if self.multi_label:
            return np.asarray(self.above(grid).max(axis=0) > 0)
        return sure_cells(grid)

    def pooled(self, aggregator: Aggregator, grid: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Image-level scores by an aggregator: each class of a multi-label head by itself, with its sigmoid.

        Args:
            aggregator: what pools the cells.
            grid: (..., K, H, W).

        Returns:
            (..., K).
        """
        cells = np.asarray(grid, dtype=np.float64)
        if not self.multi_label:
            return np.asarray(aggregator(cells), dtype=np.float64)
        alone = np.expand_dims(cells, -3)  # one class each: where there is one, its probability is its sigmoid
        return np.asarray(aggregator(alone), dtype=np.float64)[..., 0]

    def by_each_aggregator(self, grid: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float64]]:
        """`pooled` by each of `AGGREGATORS`, by its name; what several of them need is computed once."""
        if self.multi_label:
            return {name: self.pooled(aggregator, grid) for name, aggregator in AGGREGATORS.items()}
        return by_each_aggregator(np.asarray(grid, dtype=np.float64))


def _levels(activation: Activation, logits: int, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Probabilities as logits, one for each class.

    Raises:
        InputError: the head's classes have no thresholds, or these do not fit.
    """
    if logits == 1:
        raise InputError("the head has one logit, which is two classes: x where it is above 0. It has no thresholds.")
    if activation == "softmax":
        raise InputError(
            "the head ends in a softmax, whose classes are read against each other: thresholds are for heads whose "
            "classes are read each by itself, as by a sigmoid."
        )
    values = tuple(thresholds) * (logits if len(thresholds) == 1 else 1)
    if len(values) != logits:
        raise InputError(f"{len(values)} thresholds were given for {logits} classes.")
    wrong = [value for value in values if not 0 < value < 1]
    if wrong:
        raise InputError(f"a threshold is {wrong[0]:g}, and a probability above 0 and below 1 is needed.")
    return tuple(float(np.log(value) - np.log1p(-value)) for value in values)


#: Bare logits of several classes.
ONE_OF_MANY = Reading("one-of-many", "none")
