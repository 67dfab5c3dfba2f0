"""Intervals by groups of images, against drawing groups in a plain loop, and against what copies must give."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.metrics.clustered import clustered_difference, clustered_mean, grouped
from onnx_gapmil.metrics.intervals import bootstrap_mean
from onnx_gapmil.metrics.multilabel import precision_difference
from onnx_gapmil.metrics.paired import interval_of_equal

RNG = np.random.default_rng(4)
SIZES = RNG.integers(1, 9, size=40)
GROUPS = np.repeat(np.arange(40), SIZES)
VALUES = RNG.normal(size=40)[GROUPS] + 0.2 * RNG.normal(size=len(GROUPS))


def test_it_is_what_drawing_whole_groups_gives() -> None:
    rng = np.random.default_rng(9)
    means = []
    for _ in range(4000):
        drawn = rng.integers(40, size=40)
        means.append(np.concatenate([VALUES[group == GROUPS] for group in drawn]).mean())
    np.testing.assert_allclose(clustered_mean(VALUES, GROUPS), np.quantile(means, [0.025, 0.975]), atol=0.03)


def test_the_order_and_the_names_of_groups_do_not_matter() -> None:
    order = RNG.permutation(len(GROUPS))
    np.testing.assert_allclose(clustered_mean(VALUES[order], GROUPS[order]), clustered_mean(VALUES, GROUPS))
    np.testing.assert_allclose(clustered_mean(VALUES, 7 * GROUPS + 3), clustered_mean(VALUES, GROUPS))


def test_copies_of_an_image_tell_nothing_new() -> None:
    one = RNG.normal(size=60)
    five = np.repeat(np.arange(60), 5)
    low, high = clustered_mean(one[five], five)
    np.testing.assert_allclose((low, high), bootstrap_mean(one), atol=0.03)
    naive = bootstrap_mean(one[five])
    assert (high - low) / (naive[1] - naive[0]) == pytest.approx(np.sqrt(5), rel=0.1)


def test_shares() -> None:
    new, old = RNG.random(200) < 0.8, RNG.random(200) < 0.6
    groups = np.arange(200) // 4
    difference = new.mean() - old.mean()
    low, high = clustered_difference(new, old, groups)
    assert low < difference < high
    swapped = clustered_difference(old, new, groups)
    np.testing.assert_allclose(swapped, (-high, -low), atol=1e-12)


def test_where_nothing_differs_the_groups_are_what_was_seen() -> None:
    right = np.ones(100, dtype=np.bool_)
    assert clustered_difference(right, right, np.arange(100) // 10) == interval_of_equal(0.0, 10, -1.0, 1.0)


def test_average_precision_of_copies() -> None:
    truth = RNG.random((50, 3)) < 0.4
    new, old = RNG.normal(size=(50, 3)) + 2 * truth, RNG.normal(size=(50, 3)) + truth
    four = np.repeat(np.arange(50), 4)
    np.testing.assert_allclose(
        precision_difference(new[four], old[four], truth[four], four), precision_difference(new, old, truth), atol=1e-12
    )
    wide, narrow = precision_difference(new, old, truth), precision_difference(new[four], old[four], truth[four])
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_grouped() -> None:
    assert grouped(np.array([0, 1, 0]))
    assert not grouped(np.array([2, 0, 1]))
