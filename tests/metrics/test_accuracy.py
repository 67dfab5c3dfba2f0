"""Ranks and accuracies against scikit-learn and a stable sort."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from onnx_gapmil.metrics.accuracy import accuracy, first_classes, label_ranks, macro_accuracy

# Few values, so that ties are frequent.
scores_with_ties = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(9)), elements=st.integers(-2, 2))
label_sets = st.lists(st.integers(0, 8), min_size=1, max_size=4, unique=True)


@given(scores_with_ties, label_sets)
def test_ranks_are_places_in_a_stable_sort_without_the_other_labels(scores, labels):
    ranks = label_ranks(scores, labels)
    assert ranks.shape == (len(scores), len(labels))
    for row, own in zip(scores, ranks, strict=True):
        order = list(np.argsort(-row, kind="stable"))
        for label, rank in zip(labels, own, strict=True):
            others = [index for index in order if index == label or index not in labels]
            assert others.index(label) == rank


@given(scores_with_ties, label_sets, st.integers(1, 8))
def test_best_rank_says_whether_a_label_is_among_the_first(scores, labels, k):
    for row in scores:
        first = np.argsort(-row, kind="stable")[:k]
        assert (min(label_ranks(row, labels)) < k) == bool(np.isin(first, labels).any())


def test_ties_go_to_the_lower_index():
    assert label_ranks([1.0, 2.0, 2.0, 2.0], [2]).tolist() == [1]
    assert label_ranks([1.0, 2.0, 2.0, 2.0], [1]).tolist() == [0]
    assert label_ranks([1.0, 2.0, 2.0, 2.0], [3, 1, 0]).tolist() == [1, 0, 1]


def test_another_true_label_in_front_is_no_mistake():
    assert label_ranks([5.0, 4.0, 3.0, 2.0], [0, 2]).tolist() == [0, 1]
    assert label_ranks([5.0, 4.0, 3.0, 2.0], [0, 1, 3]).tolist() == [0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(200, 12))
    labels = rng.choice(12, size=200, p=rng.dirichlet(np.full(12, 0.5)))  # unbalanced; classes may be missing
    scores[np.arange(200), labels] += rng.random(200) * 3
    ranks = [label_ranks(row, [label]).tolist() for row, label in zip(scores, labels, strict=True)]
    for k in (1, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(12))
        assert accuracy(ranks, k) == pytest.approx(expected, abs=1e-15)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predictions of classes that no image has
        expected = balanced_accuracy_score(labels, scores.argmax(axis=1))
    assert macro_accuracy([[label] for label in labels], ranks, 1) == pytest.approx(expected, abs=1e-12)


def test_macro_weighs_classes_and_counts_an_image_once_for_each_label():
    labels = [[0], [0], [0], [1], [0, 2]]
    ranks = [[0], [0], [4], [1], [0, 7]]
    assert macro_accuracy(labels, ranks, 1) == pytest.approx((3 / 4 + 0 / 1 + 0 / 1) / 3)
    assert macro_accuracy(labels, ranks, 5) == pytest.approx((4 / 4 + 1 / 1 + 0 / 1) / 3)
    assert accuracy(ranks, 1) == pytest.approx(3 / 5)


def test_no_images_have_no_accuracy():
    with pytest.raises(ValueError, match="no images"):
        accuracy([], 1)
    with pytest.raises(ValueError, match="no images"):
        macro_accuracy([], [], 1)


@given(st.integers(0, 2**32 - 1), st.integers(3, 60), st.integers(1, 3))
def test_first_classes_are_those_of_a_stable_sort(seed, classes, count):
    scores = np.random.default_rng(seed).integers(-4, 5, size=classes).astype(float)  # ties are frequent
    np.testing.assert_array_equal(first_classes(scores, count), np.argsort(-scores, kind="stable")[:count])
