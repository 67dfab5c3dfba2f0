"""Measures of several labels at once, against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from onnx_gapmil.metrics.multilabel import average_precision, mean_average_precision, multilabel_figures


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[int], list[bool]]:
    """Scores with many ties, and at least one positive."""
    size = draw(st.integers(1, 30))
    scores = draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size))
    truth = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    truth[draw(st.integers(0, size - 1))] = True
    return scores, truth


@settings(max_examples=200, deadline=None)
@given(rankings())
def test_average_precision_is_that_of_scikit_learn(ranking: tuple[list[int], list[bool]]) -> None:
    scores, truth = ranking
    assert average_precision(scores, truth) == pytest.approx(sklearn_metrics.average_precision_score(truth, scores))


def test_average_precision_by_hand() -> None:
    """Ranked 1 0 1 0: the precision at the first hit is 1, at the second 2/3; ties count as one place."""
    assert average_precision([4, 3, 2, 1], [True, False, True, False]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([1, 1, 1, 1], [True, False, True, False]) == 0.5
    with pytest.raises(ValueError, match="no image has the label"):
        average_precision([1.0, 2.0], [False, False])


def data_set(seed: int, images: int = 40, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((images, classes)) < rng.uniform(0.05, 0.6, classes)
    truth[rng.integers(images, size=classes), np.arange(classes)] = True
    scores = rng.standard_normal((images, classes)) * 2 + 1.5 * truth - rng.uniform(0, 3, classes)
    return truth, np.round(scores, 1)


@pytest.mark.parametrize("seed", range(8))
def test_precision_recall_and_f1_are_those_of_scikit_learn(seed: int) -> None:
    truth, scores = data_set(seed)
    numbers = [1, 4, 5, 7, 8, 11]
    said = scores > 0
    labels = [[numbers[place] for place in np.flatnonzero(row)] for row in truth]
    # 3 is not judged, but said of every third image: it is one too many where exactly the labels are asked for.
    extra = [number % 3 == 0 for number in range(len(said))]
    present = [
        [numbers[place] for place in np.flatnonzero(row)] + [3] * more for row, more in zip(said, extra, strict=True)
    ]
    found, intervals = multilabel_figures(labels, present, scores, numbers, [0.5] * 6, total=12)
    assert found.mean_average_precision == pytest.approx(
        sklearn_metrics.average_precision_score(truth, expit(scores), average="macro")
    )
    assert mean_average_precision(scores, truth) == pytest.approx(found.mean_average_precision)
    for average in ("micro", "macro"):
        expected = sklearn_metrics.precision_recall_fscore_support(truth, said, average=average, zero_division=np.nan)
        own = getattr(found, average)
        assert (own.precision, own.recall, own.f1) == pytest.approx(expected[:3])
    rows = sklearn_metrics.precision_recall_fscore_support(truth, said, zero_division=np.nan)
    for place, number in enumerate(numbers):
        row = found.by_class[str(number)]
        precision = np.nan if row.precision is None else row.precision
        assert (precision, row.recall, row.f1) == pytest.approx([each[place] for each in rows[:3]], nan_ok=True)
        assert row.images == rows[3][place] == truth[:, place].sum()
        assert row.average_precision == pytest.approx(
            sklearn_metrics.average_precision_score(truth[:, place], scores[:, place])
        )
    assert found.exact == pytest.approx(
        sklearn_metrics.accuracy_score(np.c_[truth, np.zeros_like(extra)], np.c_[said, extra])
    )
    assert found.chance == pytest.approx(truth.mean())
    assert (found.classes, found.unlabelled, found.images) == (6, 6, 40)
    assert (found.labels, found.present) == (truth.sum(), said.sum())
    for name, value in {"mean_average_precision": found.mean_average_precision, "micro.f1": found.micro.f1}.items():
        low, high = intervals[f"multi_label.{name}"]
        assert low < value < high


def test_images_without_a_label_are_negatives_for_all() -> None:
    labels, present = [[0], [], []], [[0], [0], []]
    found, _ = multilabel_figures(labels, present, [[2.0], [3.0], [-1.0]], [0], [0.5], total=1)
    assert (found.without_label, found.none_right, found.none_present) == (2, 1, 1)
    assert found.mean_average_precision == 0.5
    assert (found.micro.precision, found.micro.recall) == (0.5, 1.0)
    assert found.exact == pytest.approx(2 / 3)


def test_a_class_that_labels_no_image_is_one_too_many_all_the_same() -> None:
    """scikit-learn's accuracy over the columns of all six classes: each image has a class that nobody labels."""
    labels, present = [[0], [1], []], [[0, 5], [1], [4]]
    found, intervals = multilabel_figures(labels, present, [[3.0, -1], [-2, 2], [-1, -1]], [0, 1], [0.5, 0.5], total=6)
    columns = range(6)
    truth, said = ([[index in own for index in columns] for own in each] for each in (labels, present))
    assert found.exact == pytest.approx(sklearn_metrics.accuracy_score(truth, said)) == pytest.approx(1 / 3)
    low, high = intervals["multi_label.exact"]
    assert low < found.exact < high


def test_a_class_that_is_never_said_has_no_precision() -> None:
    found, intervals = multilabel_figures([[0], [1]], [[], [1]], [[0.0, -1], [-1, 2]], [0, 1], [0.5, 0.5], total=2)
    assert found.by_class["0"].precision is None
    assert (found.by_class["0"].recall, found.by_class["0"].f1) == (0.0, 0.0)
    assert found.macro.precision == 1.0
    assert all(np.isfinite(bounds).all() for bounds in intervals.values())


def test_intervals_cover_what_other_draws_give() -> None:
    """The interval of mAP against a bootstrap by scikit-learn, with draws of its own."""
    truth, scores = data_set(3, images=120, classes=3)
    labels = [np.flatnonzero(row).tolist() for row in truth]
    present = [np.flatnonzero(row > 0).tolist() for row in scores]
    _, intervals = multilabel_figures(labels, present, scores, [0, 1, 2], [0.5] * 3, total=3)
    rng = np.random.default_rng(11)
    drawn = []
    for _ in range(400):
        rows = rng.integers(len(truth), size=len(truth))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn.append(sklearn_metrics.average_precision_score(truth[rows], scores[rows], average="macro"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert intervals["multi_label.mean_average_precision"] == pytest.approx((low, high), abs=0.02)
