"""Paired tests and intervals, against SciPy, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from onnx_gapmil.metrics.paired import mcnemar_p, mirrored_mean, paired_difference

COUNTS = st.integers(0, 60)


@given(COUNTS, COUNTS)
def test_mcnemar_is_scipys_exact_binomial_test(fixed: int, broken: int) -> None:
    expected = binomtest(fixed, fixed + broken, 0.5).pvalue if fixed + broken else 1.0
    assert mcnemar_p(fixed, broken) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(broken, fixed) == mcnemar_p(fixed, broken)


def test_mcnemar_of_very_many_is_near_the_exact_one() -> None:
    assert mcnemar_p(10_300, 9_900) == pytest.approx(binomtest(9_900, 20_200, 0.5).pvalue, rel=5e-3)
    with pytest.raises(ValueError, match="0 or more"):
        mcnemar_p(-1, 2)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_an_interval_holds_its_difference_and_mirrors_to_the_last_bit(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    low, high = paired_difference(a, b, c, d)
    assert -1 <= low <= (b - c) / (a + b + c + d) + 1e-12
    assert (b - c) / (a + b + c + d) - 1e-12 <= high <= 1
    assert paired_difference(a, c, b, d) == (-high, -low)


@pytest.mark.parametrize(
    "chances",
    [(0.70, 0.05, 0.08, 0.17), (0.93, 0.02, 0.01, 0.04), (0.4, 0.2, 0.2, 0.2), (0.97, 0.0, 0.02, 0.01)],
)
def test_intervals_hold_the_truth_nineteen_times_in_twenty(chances: tuple[float, ...]) -> None:
    drawn = np.random.default_rng(3).multinomial(200, chances, size=4000)
    truth = chances[1] - chances[2]
    held = [low <= truth <= high for low, high in (paired_difference(*row.tolist()) for row in drawn)]
    assert 0.935 <= np.mean(held) <= (0.985 if min(chances) > 0 else 1.0)


def test_no_discordant_image_is_no_proof_of_no_difference() -> None:
    low, high = paired_difference(310, 0, 0, 90)
    assert low < 0 < high
    assert high == -low < 0.02


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_a_mirrored_mean_mirrors(values: list[float]) -> None:
    low, high = mirrored_mean(values)
    assert mirrored_mean([-value for value in values]) == (-high, -low)
    assert low <= high


def test_a_mean_of_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no values"):
        mirrored_mean([])


@pytest.mark.parametrize("value", [-1.0, -0.25, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("images", [1, 5, 300])
def test_equal_differences_are_not_certain(value: float, images: int) -> None:
    """The bound solves (1 - s)^N = 0.025: with a greater share of others, N equal ones would be too rare."""
    low, high = mirrored_mean([value] * images)
    share = (high - low) / 2
    assert (1.0 - share) ** images == pytest.approx(0.025)
    assert (low, high) == pytest.approx(((1 - share) * value - share, (1 - share) * value + share))
    assert mirrored_mean([-value] * images) == (-high, -low)
