"""The arithmetic of a measurement, with a clock that the test turns."""

from __future__ import annotations

import gc
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from onnx_gapmil.benchmarking.timing import MAX_ROUNDS, MIN_ROUNDS, WARM_UP, Spread, interleave, median_ranks, ratios

NUMBERS = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


class Clock:
    """Time passes only when a run takes it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def run(self, *takes: float, log: list[str] | None = None, name: str = ""):
        """A run that takes the given seconds in turn."""
        calls = iter(range(10**9))

        def run() -> None:
            self.now += takes[next(calls) % len(takes)]
            if log is not None:
                log.append(name)

        return run


def test_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_the_medians() -> None:
    # A machine that slows down tenfold on the way: the medians alone would give 1.3 / 1.0.
    times, reference = [1.1, 1.2, 1.3, 11.0, 12.0], [1.0, 1.0, 1.0, 10.0, 10.0]
    assert statistics.median(times) / statistics.median(reference) == pytest.approx(1.3)
    assert ratios(times, reference).median == pytest.approx(1.2)


@given(NUMBERS)
def test_percentiles_are_numpys(values: list[float]) -> None:
    found = Spread.of(values)
    assert found.median == pytest.approx(np.median(values))
    assert found.p10 == pytest.approx(np.percentile(values, 10))
    assert found.p90 == pytest.approx(np.percentile(values, 90))
    assert found.low <= found.median <= found.high
    assert min(values) <= found.low
    assert found.high <= max(values)


@pytest.mark.parametrize("count", [7, 8, 20, 51, 200])
def test_the_medians_interval_covers_95_percent_by_the_binomial(count: int) -> None:
    # The interval from rank l to n-1-l misses the median when fewer than l+1 of n fair coins fall on one side.
    first, last = median_ranks(count)
    assert (first, last) == (first, count - 1 - first)
    missed = 2 * stats.binom.cdf(first, count, 0.5)
    assert missed <= 0.07
    assert first == 0 or 2 * stats.binom.cdf(first + 1, count, 0.5) > 0.04


def test_one_number_has_no_spread() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 3.0, 3.0, 1)


def test_runs_take_turns_and_pairs_share_their_round() -> None:
    clock, log = Clock(), list[str]()
    # The third run of each cycle is in a slow phase: both slow down together.
    runs = [clock.run(1.0, 1.0, 5.0, log=log, name="a"), clock.run(1.5, 1.5, 7.5, log=log, name="b")]
    times, interrupted = interleave(runs, seconds=30.0, clock=clock)
    assert not interrupted
    assert "".join(log) == "ab" * (len(log) // 2)
    assert len(times[0]) == len(times[1]) == len(log) // 2 - WARM_UP
    assert {b / a for a, b in zip(*times, strict=True)} == {1.5}


def test_there_are_enough_rounds_however_slow_and_no_more_than_the_seconds_allow() -> None:
    clock = Clock()
    times, _ = interleave([clock.run(100.0)], seconds=1.0, clock=clock)
    assert len(times[0]) == MIN_ROUNDS
    clock = Clock()
    times, _ = interleave([clock.run(0.5), clock.run(0.5)], seconds=20.0, clock=clock)
    assert len(times[0]) == 20
    clock = Clock()
    times, _ = interleave([clock.run(0.0)], seconds=1.0, clock=clock)
    assert len(times[0]) == MAX_ROUNDS


def test_control_c_keeps_whole_rounds_only() -> None:
    clock, calls = Clock(), iter(range(1000))

    def interrupted_run() -> None:
        clock.now += 1.0
        if next(calls) == WARM_UP + 4:
            raise KeyboardInterrupt

    times, interrupted = interleave([clock.run(1.0), interrupted_run], seconds=100.0, clock=clock)
    assert interrupted
    assert [len(entry) for entry in times] == [4, 4]
    assert gc.isenabled()


def test_the_garbage_collector_is_off_while_rounds_run_and_on_again_after() -> None:
    seen: list[bool] = []
    clock = Clock()

    def run() -> None:
        clock.now += 1.0
        seen.append(gc.isenabled())

    interleave([run], seconds=1.0, clock=clock)
    assert seen == [True] * WARM_UP + [False] * MIN_ROUNDS
    assert gc.isenabled()
