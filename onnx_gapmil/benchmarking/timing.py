"""Time several runs against the first of them, interleaved, so that what disturbs the machine disturbs all of them.

Every round runs each variant once, always in the same cyclic order (A B C A B C ...): each is preceded by another's
run, which has emptied the caches in the same way. The ratio of a variant is the median over rounds of its time by the
first variant's time in the same round; its interval comes from the order of those ratios, without any assumption on
how they are distributed.
"""

from __future__ import annotations

import gc
import itertools
import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Rounds thrown away first: allocations, page faults, the search for algorithms.
WARM_UP = 3
#: Rounds below which an interrupted measurement is not told.
FEWEST = 3
#: Rounds measured at least, however slow, and at most, however quick.
MIN_ROUNDS, MAX_ROUNDS = 7, 2000
_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Spread:
    """Median and spread of some numbers.

    Attributes:
        median: of all.
        p10: tenth percentile, linear between neighbours.
        p90: ninetieth percentile.
        low: lower end of the median's 95 % interval (order statistics of the sign test); equal to the smallest
            number where there are too few of them.
        high: its upper end.
        count: how many numbers.
    """

    median: float
    p10: float
    p90: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize one or more numbers."""
        ordered = sorted(values)
        first, last = median_ranks(len(ordered))
        return cls(
            median=statistics.median(ordered),
            p10=percentile(ordered, 0.1),
            p90=percentile(ordered, 0.9),
            low=ordered[first],
            high=ordered[last],
            count=len(ordered),
        )

    def to_json(self) -> dict[str, Any]:
        """All of it, the interval as a pair."""
        return {
            "median": self.median,
            "p10": self.p10,
            "p90": self.p90,
            "interval_95": [self.low, self.high],
            "count": self.count,
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The number below which ``share`` of the sorted numbers lie, linear between neighbours."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def median_ranks(count: int) -> tuple[int, int]:
    """Ranks (from 0) of the sorted numbers between which the median lies with 95 %: n/2 -+ 1.96 sqrt(n)/2."""
    half = _NORMAL_95 * math.sqrt(count) / 2
    first = max(0, math.floor((count - 1) / 2 - half))
    return first, count - 1 - first


def ratios(times: Sequence[float], reference: Sequence[float]) -> Spread:
    """Summarize ``times[i] / reference[i]``: pairs of one round each."""
    return Spread.of([time_ / against for time_, against in zip(times, reference, strict=True)])


def interleave(
    runs: Sequence[Callable[[], object]],
    *,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[list[float]], bool]:
    """Time several runs in rounds.

    Args:
        runs: what to time; the first is what the others are held against.
        seconds: for all rounds together; there are at least `MIN_ROUNDS` and at most `MAX_ROUNDS` of them.
        clock: gives seconds.

    Returns:
        For each run its seconds, one number for each complete round; and whether Ctrl-C ended the rounds.
    """
    times: list[list[float]] = [[] for _ in runs]
    interrupted = False
    try:
        for _ in range(WARM_UP):
            for run in runs:
                run()
        for round_ in _rounds(runs, seconds, clock):
            for kept, taken in zip(times, round_, strict=True):
                kept.append(taken)
    except KeyboardInterrupt:
        interrupted = True
    return times, interrupted


def _rounds(runs: Sequence[Callable[[], object]], seconds: float, clock: Callable[[], float]) -> Iterator[list[float]]:
    """Rounds until the time is up, without the garbage collector."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        end = clock() + seconds
        for done in range(MAX_ROUNDS):
            if done >= MIN_ROUNDS and clock() >= end:
                return
            marks = [clock()]
            for run in runs:
                run()
                marks.append(clock())
            yield [after - before for before, after in itertools.pairwise(marks)]
    finally:
        if collecting:
            gc.enable()
