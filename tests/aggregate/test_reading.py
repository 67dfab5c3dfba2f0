"""How logits are read, against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.aggregate.activation import Activation, said_probabilities
from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.errors import InputError

GRID = np.random.default_rng(5).standard_normal((4, 3, 5)) * 3


@pytest.mark.parametrize(
    ("activation", "logits", "kind", "scoring"),
    [
        ("softmax", 4, "one-of-many", "softmax"),
        ("none", 4, "one-of-many", "none"),
        ("sigmoid", 4, "multi-label", "sigmoid"),
        ("sigmoid", 1, "two-classes", "softmax"),
        ("none", 1, "two-classes", "none"),
    ],
)
def test_what_a_head_is_read_as(activation, logits, kind, scoring) -> None:
    reading = Reading.of(activation, logits)
    assert (reading.kind, reading.activation, reading.multi_label) == (kind, scoring, kind == "multi-label")
    assert (reading.said_thresholds is not None) == (kind == "multi-label")


def test_one_logit_has_the_softmax_of_0_and_itself_which_is_its_sigmoid() -> None:
    reading = Reading.of("sigmoid", 1)
    logits = reading.of_classes(np.array([1.5]))
    np.testing.assert_allclose(reading.scores(logits), [expit(-1.5), expit(1.5)])
    assert reading.of_classes(GRID[:1]).shape == (2, 3, 5)


def test_sigmoids_are_no_softmax() -> None:
    reading = Reading.of("sigmoid", 4)
    np.testing.assert_allclose(reading.scores(GRID[:, 0, 0]), expit(GRID[:, 0, 0]))
    assert not np.allclose(reading.scores(GRID[:, 0, 0]), softmax(GRID[:, 0, 0]))
    for aggregator in AGGREGATORS.values():
        pooled = reading.pooled(aggregator, GRID)
        for index in range(4):
            np.testing.assert_allclose(pooled[index], aggregator(GRID[index : index + 1])[0])


def test_thresholds_make_bare_logits_multi_label_because_somebody_says_so() -> None:
    reading = Reading.of("none", 4, [0.25])
    assert reading.kind == "multi-label"
    np.testing.assert_array_equal(reading.present(GRID), expit(GRID) > 0.25)
    assert reading.said_thresholds == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("activation", "logits", "thresholds", "says"),
    [
        ("softmax", 4, [0.5], "ends in a softmax"),
        ("sigmoid", 1, [0.5], "one logit, which is two classes"),
        ("sigmoid", 4, [0.5, 0.5], "2 thresholds were given for 4 classes"),
        ("sigmoid", 4, [0.0], "a threshold is 0, and a probability above 0 and below 1 is needed"),
        ("sigmoid", 4, [float("nan")], "a threshold is nan"),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(activation, logits, thresholds, says) -> None:
    with pytest.raises(InputError, match=says):
        Reading.of(activation, logits, thresholds)


def test_nothing_wins_where_nothing_is_a_number() -> None:
    grid = np.full((3, 1, 2), np.nan, np.float32)
    assert (Reading.of("sigmoid", 3).winners(grid) == -1).all()


@pytest.mark.parametrize(
    ("activation", "independent", "said"),
    [
        ("softmax", False, ""),
        ("sigmoid", True, ""),
        ("none", False, "a softmax of the logits, made for this page"),
        ("none", True, "each logit's sigmoid, made for this page"),
    ],
)
def test_probabilities_that_a_file_does_not_compute_are_said_to_be_made(
    activation: Activation, independent: bool, said: str
) -> None:
    text = said_probabilities(activation, independent=independent)
    assert text.startswith(said)
    assert bool(text) is (activation == "none")
