"""Intervals against SciPy's bootstrap and textbook values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from onnx_gapmil.metrics.intervals import (
    bootstrap_macro,
    bootstrap_mean,
    ranks_at_chance,
    resampled_means,
    share_interval,
    wilson,
)

# Both sides are random; percentiles of 2,000 draws have a standard error of about 4 % of the interval's width.
SLACK = 0.2


def scipys(values: np.ndarray) -> tuple[float, float]:
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    return found.low, found.high


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.repeat([0.0, 1.0], [30, 70]), id="share"),
        pytest.param(np.random.default_rng(0).integers(0, 5, 200) / 4, id="few values"),
        pytest.param(np.random.default_rng(0).gamma(2.0, size=600), id="many values"),
    ],
)
def test_mean_is_scipys_percentile_bootstrap(values):
    low, high = bootstrap_mean(values)
    expected = scipys(values)
    width = expected[1] - expected[0]
    assert low == pytest.approx(expected[0], abs=SLACK * width)
    assert high == pytest.approx(expected[1], abs=SLACK * width)
    assert bootstrap_mean(values) == (low, high)
    assert (resampled_means(values, seed=1) != resampled_means(values)).any()
    narrow = bootstrap_mean(values, level=0.5)
    assert low < narrow[0] < values.mean() < narrow[1] < high


@pytest.mark.parametrize("count", [100, 700])
def test_drawing_values_and_drawing_counts_of_values_agree(count):
    """Beyond 256 distinct values images are drawn one by one: the means have the same distribution."""
    values = np.random.default_rng(0).normal(size=count)
    means = resampled_means(values, resamples=4000)
    assert means.mean() == pytest.approx(values.mean(), abs=5 * values.std() / np.sqrt(count * 4000))
    assert means.std() == pytest.approx(values.std() / np.sqrt(count), rel=0.06)


def test_equal_values_that_are_no_share_have_no_width():
    assert bootstrap_mean([2, 2, 2]) == (2.0, 2.0)
    assert bootstrap_mean([0.3]) == (0.3, 0.3)


def test_share_interval_is_the_mean_of_ones_and_zeros():
    assert share_interval(30, 100) == bootstrap_mean([0] * 70 + [1] * 30)
    low, high = share_interval(310, 400)
    expected = stats.binom.ppf([0.025, 0.975], 400, 310 / 400) / 400  # the bootstrap of a share is a binomial
    assert (low, high) == pytest.approx(tuple(expected), abs=0.006)


def test_macro_is_a_bootstrap_over_images():
    rng = np.random.default_rng(4)
    classes = rng.choice(5, size=150, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    right = rng.random(150) < np.array([0.9, 0.8, 0.5, 0.4, 0.3])[classes]

    def macro(index):
        own, hits = classes[index], right[index]
        return np.mean([hits[own == label].mean() for label in np.unique(own)])

    expected = np.percentile([macro(rng.integers(150, size=150)) for _ in range(4000)], [2.5, 97.5])
    low, high = bootstrap_macro(classes, right)
    assert (low, high) == pytest.approx(tuple(expected), abs=SLACK * (expected[1] - expected[0]))
    assert bootstrap_macro(classes, right) == (low, high)


def test_macro_of_many_classes_is_drawn_in_parts():
    classes = np.arange(4000)
    low, high = bootstrap_macro(classes, classes % 2 == 0, resamples=700)
    assert low < 0.5 < high


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (5, 10), (10, 10), (310, 400), (1, 3)])
def test_wilson_is_scipys(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("call", [lambda: bootstrap_mean([]), lambda: bootstrap_macro([], [])])
def test_no_values_have_no_interval(call):
    with pytest.raises(ValueError, match="no values"):
        call()


@pytest.mark.parametrize("share", [(3, 2), (0, 0), (-1, 5)])
@pytest.mark.parametrize("interval", [wilson, share_interval])
def test_what_is_no_share_is_an_error(share, interval):
    with pytest.raises(ValueError, match="is no share"):
        interval(*share)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_a_share_without_exception_is_not_certain(value, level):
    expected = stats.binomtest(20 * value, 20).proportion_ci(level, method="wilson")
    assert bootstrap_mean([value] * 20, level=level) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert share_interval(20 * value, 20) == bootstrap_mean([value] * 20)


@pytest.mark.parametrize(
    ("precision", "low", "guesses"),
    [(0.12, 0.08, True), (0.12, 0.1, True), (0.12, 0.11, False), (0.08, 0.05, True), (0.9, 0.05, False)],
)
def test_labels_are_ranked_by_chance_where_the_interval_holds_the_prevalence(
    precision: float, low: float, guesses: bool
) -> None:
    assert ranks_at_chance(precision, low, 0.1) is guesses
