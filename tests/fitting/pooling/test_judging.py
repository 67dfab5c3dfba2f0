"""The judgement of a fit against scikit-learn and plain counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss

from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.fitting.pooling.judging import judge
from onnx_gapmil.fitting.pooling.likelihood import Likelihood
from onnx_gapmil.metrics.multilabel import precision_difference
from onnx_gapmil.metrics.paired import images_to_resolve

RNG = np.random.default_rng(0)
ROWS = np.arange(80)


def test_one_of_many() -> None:
    labels = RNG.integers(4, size=80)
    truth = np.eye(4, dtype=np.bool_)[labels]
    likelihood = Likelihood(truth, False, np.ones(4, dtype=np.bool_))
    answers = {name: RNG.normal(size=(80, 4)) + gain * truth for name, gain in zip(
        ("vendor", "calibrated", "fitted"), (1.0, 1.5, 3.0), strict=True)}  # fmt: skip
    found = judge(answers, likelihood, ROWS, Reading("one-of-many", "softmax"))
    assert found.main == "accuracy"
    for name, logits in answers.items():
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert found.figures[name].accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean())
        assert found.figures[name].log_likelihood == pytest.approx(-log_loss(labels, p), rel=1e-9)
        assert found.figures[name].mean_average_precision is None
    difference = found.difference("accuracy")
    assert difference.value == pytest.approx(found.figures["fitted"].accuracy - found.figures["vendor"].accuracy)
    assert difference.interval[0] < difference.value < difference.interval[1]
    assert found.difference("accuracy", "fitted", "calibrated").value < difference.value


def test_equal_logits_answer_nothing() -> None:
    likelihood = Likelihood(np.eye(2, dtype=np.bool_), False, np.ones(2, dtype=np.bool_))
    zeros = {name: np.zeros((2, 2)) for name in ("vendor", "calibrated", "fitted")}
    assert judge(zeros, likelihood, np.arange(2), Reading("one-of-many", "softmax")).figures["vendor"].accuracy == 0


def test_several_labels() -> None:
    truth = RNG.random((80, 5)) < 0.4
    truth[:, 4] = False  # a class that labels nothing is not judged
    likelihood = Likelihood(truth, True, truth.any(axis=0))
    answers = {name: RNG.normal(size=(80, 5)) + gain * (truth - 0.5) for name, gain in zip(
        ("vendor", "calibrated", "fitted"), (0.5, 1.0, 4.0), strict=True)}  # fmt: skip
    found = judge(answers, likelihood, ROWS, Reading("multi-label", "sigmoid"))
    assert (found.main, found.classes) == ("mean_average_precision", 4)
    for name, logits in answers.items():
        own = [average_precision_score(truth[:, k], logits[:, k]) for k in range(4)]
        assert found.figures[name].mean_average_precision == pytest.approx(np.mean(own))
        assert found.figures[name].accuracy == pytest.approx(((logits > 0) == truth)[:, :4].all(axis=1).mean())
        p = 1 / (1 + np.exp(-logits[:, :4]))
        cost = -np.where(truth[:, :4], np.log(p), np.log(1 - p)).sum(axis=1)
        assert found.figures[name].log_likelihood == pytest.approx(-cost.mean())
    assert found.difference("mean_average_precision").interval[0] > 0


def test_two_classes_by_one_logit() -> None:
    truth = np.array([[True], [False], [True], [False]])
    logits = np.array([[1.0], [-1.0], [-2.0], [0.0]])
    answers = dict.fromkeys(("vendor", "calibrated", "fitted"), logits)
    found = judge(answers, Likelihood(truth, True, np.ones(1, dtype=np.bool_)), np.arange(4), Reading.of("sigmoid", 1))
    assert found.figures["vendor"].accuracy == 0.5
    assert found.figures["vendor"].log_likelihood == pytest.approx(
        -(2 * math.log1p(math.exp(-1)) + math.log1p(math.exp(2)) + math.log(2)) / 4
    )
    assert found.difference("accuracy").images_to_resolve is None


def test_labels_of_which_any_is_right() -> None:
    logits = np.array([[1.0, 2.0, 0.5]])
    likelihood = Likelihood(np.array([[True, False, True]]), False, np.ones(3, dtype=np.bool_))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert likelihood.cost(np.arange(1), logits)[0] == pytest.approx(-math.log(p[0] + p[2]))


def test_the_interval_of_a_difference_of_precisions_is_paired() -> None:
    truth = RNG.random((200, 3)) < 0.5
    old = RNG.normal(size=(200, 3)) + truth
    same = precision_difference(2 * old + 1, old, truth)  # the same ranking
    assert same == (0.0, 0.0)
    low, high = precision_difference(old + 0.7 * truth, old, truth)
    after, before = (
        np.mean([average_precision_score(truth[:, k], scores[:, k]) for k in range(3)])
        for scores in (old + 0.7 * truth, old)
    )
    gain = after - before
    assert 0 < low < gain < high


def test_images_that_resolve_a_difference() -> None:
    assert images_to_resolve(0.01, (-0.01, 0.03), 400) == 1600
    assert images_to_resolve(-0.02, (-0.04, 0.0), 400) == 400
    assert images_to_resolve(0.0, (-0.02, 0.02), 400) is None


def test_images_of_one_group_count_once() -> None:
    labels = RNG.integers(4, size=40)
    twice = np.repeat(np.arange(40), 3)
    truth = np.eye(4, dtype=np.bool_)[labels]
    once = {name: RNG.normal(size=(40, 4)) + gain * truth for name, gain in zip(
        ("vendor", "calibrated", "fitted"), (1.0, 1.5, 2.0), strict=True)}  # fmt: skip
    copies = {name: logits[twice] for name, logits in once.items()}
    likelihood, reading = Likelihood(truth[twice], False, np.ones(4, dtype=np.bool_)), Reading("one-of-many", "softmax")
    rows = np.arange(120)
    plain, found = judge(copies, likelihood, rows, reading), judge(copies, likelihood, rows, reading, twice)
    assert (plain.groups, found.groups, found.to_json()["groups"]) == (None, 40, 40)
    for figure in ("accuracy", "log_likelihood"):
        narrow, wide = plain.difference(figure).interval, found.difference(figure).interval
        assert wide[1] - wide[0] == pytest.approx(np.sqrt(3) * (narrow[1] - narrow[0]), rel=0.25)
    # Groups of one image each are images.
    assert judge(copies, likelihood, rows, reading, rows) == plain
