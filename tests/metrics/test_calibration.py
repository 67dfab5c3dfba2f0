"""Calibration against the definition read out loud, and the scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from onnx_gapmil.metrics.calibration import brier_score, calibration, log_loss

confidences = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(confidences, st.sampled_from([1, 10, 15]))
def test_expected_calibration_error(pairs, bins):
    total = 0.0
    counts = []
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        own = [(c, r) for c, r in pairs if low < c <= high or (index == 0 and c == 0.0)]
        counts.append(len(own))
        if own:
            gap = sum(r for _, r in own) / len(own) - sum(c for c, _ in own) / len(own)
            total += len(own) / len(pairs) * abs(gap)
    found = calibration([c for c, _ in pairs], [r for _, r in pairs], bins)
    assert found.ece == pytest.approx(total, abs=1e-12)
    assert [each.images for each in found.bins] == counts


def test_by_hand():
    found = calibration([0.95, 0.97, 0.99, 0.55], [True, True, False, True])
    last = found.bins[-1]
    assert (last.low, last.high, last.images) == (14 / 15, 1.0, 3)
    assert (last.confidence, last.accuracy) == pytest.approx((0.97, 2 / 3))
    assert found.ece == pytest.approx(3 / 4 * (0.97 - 2 / 3) + 1 / 4 * 0.45)
    assert vars(found.bins[0]) == {
        "low": 0.0,
        "high": 1 / 15,
        "images": 0,
        "confidence": None,
        "accuracy": None,
    }


def test_an_edge_belongs_to_the_bin_below():
    found = calibration([0.2, 1.0, 0.0], [True, True, True], bins=5)
    assert [each.images for each in found.bins] == [2, 0, 0, 0, 1]


def test_what_is_no_confidence_is_an_error():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        calibration([0.5, 1.5], [True, True])
    with pytest.raises(ValueError, match=r"0\.\.1"):
        calibration([float("nan")], [True])
    with pytest.raises(ValueError, match="no images"):
        calibration([], [])


def test_log_loss_is_scikit_learns_and_brier_its_definition():
    rng = np.random.default_rng(3)
    chances = rng.dirichlet(np.ones(6), size=40)
    labels = rng.integers(6, size=40)
    found = np.mean([log_loss(row, label) for row, label in zip(chances, labels, strict=True)])
    assert found == pytest.approx(sklearn_log_loss(labels, chances, labels=np.arange(6)))
    expected = [((row - np.eye(6)[label]) ** 2).sum() for row, label in zip(chances, labels, strict=True)]
    assert [brier_score(row, label) for row, label in zip(chances, labels, strict=True)] == pytest.approx(expected)


def test_a_probability_of_zero_stays_finite():
    assert log_loss(np.array([1.0, 0.0]), 1) == pytest.approx(300 * np.log(10))
