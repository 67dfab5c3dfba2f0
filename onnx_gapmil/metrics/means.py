"""Means of an audit's figures, each with its interval and how much it is of, by the figure's place."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.files.columns import known
from onnx_gapmil.metrics.intervals import Interval, bootstrap_macro, bootstrap_mean, wilson

if TYPE_CHECKING:
    from onnx_gapmil.files.columns import Numbers


class Means:
    """Means, with the interval of each remembered by its name, and the number of values that it is of.

    Attributes:
        intervals: 95 % intervals by the figure's place.
        counts: by the same place, how many images (games, objects) the figure is of.
    """

    def __init__(self) -> None:
        self.intervals: dict[str, Interval] = {}
        self.counts: dict[str, int] = {}

    def of(self, name: str, column: Numbers) -> float | None:
        """The mean of the values that were measured (see `onnx_gapmil.files.columns`); None if there are none.

        A single value that is neither 0 nor 1 has no interval: resampling it would claim certainty.
        """
        values = known(column)
        if values.size == 0:
            return None
        if values.size > 1 or values[0] in (0.0, 1.0):
            self.intervals[name] = bootstrap_mean(values, seed=seed_of(name))
        self.counts[name] = int(values.size)
        return float(values.mean())

    def difference(self, name: str, differences: npt.ArrayLike) -> float | None:
        """The mean of paired differences in -1..1; None if there are none.

        Where all are equal, every resample is the same; what the next images may do is said by Wilson's interval of a
        share of 0, to both sides.
        """
        values = np.asarray(differences, dtype=np.float64)
        if values.size == 0:
            return None
        first = float(values[0])
        if (values == first).all():
            room = wilson(0, values.size)[1]
            self.intervals[name] = (max(-1.0, first - room), min(1.0, first + room))
        else:
            self.intervals[name] = bootstrap_mean(values, seed=seed_of(name))
        self.counts[name] = int(values.size)
        return float(values.mean())

    def count(self, name: str, values: int) -> None:
        """Remember how much a figure is of that is no mean, or has no interval."""
        self.counts[name] = values

    def macro(self, name: str, classes: Numbers, right: npt.NDArray[np.bool_]) -> None:
        """Remember the interval of a mean over classes."""
        self.intervals[name] = bootstrap_macro(classes, right, seed=seed_of(name))
        self.counts[name] = len(classes)


def seed_of(name: str) -> int:
    """A seed for each figure, so that its interval does not depend on which others were computed before."""
    return zlib.crc32(name.encode())


def plain_mean(column: Numbers) -> float | None:
    """The mean of the values that were measured; None if there are none."""
    values = known(column)
    return float(values.mean()) if values.size else None
