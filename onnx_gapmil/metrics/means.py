"""Means of an audit's figures, each with its interval and how much it is of, by the figure's place."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from onnx_gapmil.metrics.intervals import Interval, bootstrap_macro, bootstrap_mean, wilson


class Means:
    """Means, with the interval of each remembered by its name, and the number of values that it is of.

    Attributes:
        intervals: 95 % intervals by the figure's place.
        counts: by the same place, how many images (games, objects) the figure is of.
    """

    def __init__(self) -> None:
        self.intervals: dict[str, Interval] = {}
        self.counts: dict[str, int] = {}

    def of(self, name: str, values: Sequence[float | bool | None]) -> float | None:
        """The mean of the values that are not None; None if there are none.

        A single value that is neither 0 nor 1 has no interval: resampling it would claim certainty.
        """
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        if known.size == 0:
            return None
        if known.size > 1 or known[0] in (0.0, 1.0):
            self.intervals[name] = bootstrap_mean(known, seed=seed_of(name))
        self.counts[name] = int(known.size)
        return float(known.mean())

    def difference(self, name: str, values: Sequence[float]) -> float | None:
        """The mean of paired differences in -1..1; None if there are none.

        Where all are equal, every resample is the same; what the next images may do is said by Wilson's interval of a
        share of 0, to both sides.
        """
        known = np.asarray(values, dtype=np.float64)
        if known.size == 0:
            return None
        first = float(known[0])
        if (known == first).all():
            room = wilson(0, known.size)[1]
            self.intervals[name] = (max(-1.0, first - room), min(1.0, first + room))
        else:
            self.intervals[name] = bootstrap_mean(known, seed=seed_of(name))
        self.counts[name] = int(known.size)
        return float(known.mean())

    def count(self, name: str, values: int) -> None:
        """Remember how much a figure is of that is no mean, or has no interval."""
        self.counts[name] = values

    def macro(self, name: str, classes: Sequence[int], right: Sequence[bool]) -> None:
        """Remember the interval of a mean over classes."""
        self.intervals[name] = bootstrap_macro(classes, right, seed=seed_of(name))
        self.counts[name] = len(classes)


def seed_of(name: str) -> int:
    """A seed for each figure, so that its interval does not depend on which others were computed before."""
    return zlib.crc32(name.encode())


def plain_mean(values: Sequence[float | bool | None]) -> float | None:
    """The mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
