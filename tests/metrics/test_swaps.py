"""Likely swapped classes: found where they are, with the chance by SciPy, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from onnx_gapmil.metrics.swaps import likely_swaps


def answered(rows: dict[tuple[int, int], int]) -> tuple[list[tuple[int]], list[int]]:
    labels, answers = [], []
    for (label, answer), count in rows.items():
        labels += [(label,)] * count
        answers += [answer] * count
    return labels, answers


def test_two_classes_exchanged_are_announced_with_their_chance() -> None:
    (swap,) = likely_swaps(*answered({(0, 1): 18, (0, 0): 2, (1, 0): 15, (1, 1): 5}), classes=2)
    assert (swap.classes, swap.images, swap.right, swap.right_if_swapped, swap.both) == ((0, 1), 40, 7, 33, True)
    assert swap.p_value == pytest.approx(stats.binomtest(7, 40, 0.5, alternative="less").pvalue)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param({(0, 0): 20, (1, 1): 20}, id="right"),
        pytest.param({(0, 1): 90, (1, 1): 10}, id="always the same answer, mostly wrong"),
        pytest.param({(0, 1): 3, (1, 0): 2}, id="too few images"),
        pytest.param({(0, 1): 11, (0, 0): 9, (1, 0): 11, (1, 1): 9}, id="little worse than chance"),
        pytest.param({(0, 1): 20, (0, 0): 1, (1, 0): 5, (1, 1): 16}, id="one class right"),
    ],
)
def test_what_is_no_swap_is_not_announced(rows: dict[tuple[int, int], int]) -> None:
    assert likely_swaps(*answered(rows), classes=2) == ()


def test_what_is_only_the_commonest_mistake_is_not_announced() -> None:
    """Of 20 images each 8 are answered as the other class, and more as others still: a weak model, no exchange."""
    rows = {(0, 1): 8, (0, 2): 7, (0, 3): 5, (1, 0): 8, (1, 2): 7, (1, 3): 5}
    assert likely_swaps(*answered(rows), classes=4) == ()


def test_a_label_file_in_another_order_shows_as_a_cycle() -> None:
    """Folders 1, 10, 2 in alphabetical order for a model that was trained by number."""
    (swap,) = likely_swaps(*answered({(0, 0): 9, (1, 2): 9, (2, 3): 9, (3, 1): 8, (3, 3): 1}), classes=4)
    assert (swap.classes, swap.images, swap.right, swap.right_if_swapped) == ((1, 2, 3), 27, 1, 26)


def test_of_two_classes_one_alone_is_told_with_its_doubt() -> None:
    (swap,) = likely_swaps(*answered({(0, 1): 12}), classes=2)
    assert (swap.classes, swap.right, swap.right_if_swapped, swap.both) == ((0, 1), 0, 12, False)
    assert likely_swaps(*answered({(0, 1): 12}), classes=3) == ()


def test_images_with_several_labels_say_nothing() -> None:
    assert likely_swaps([(0, 1)] * 30, [0] * 30, classes=2) == ()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0, 0.3))
def test_a_permutation_is_found_whatever_it_is(seed: int, classes: int, noise: float) -> None:
    """Answers that are right but for noise, under a permutation of the classes: its cycles, and nothing else."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(classes)
    labels, answers = [], []
    for label in range(classes):
        for place in range(40):
            labels.append((label,))
            wrong = place < noise * 40
            answers.append(int(rng.integers(classes)) if wrong else int(order[label]))
    moved = {label for label in range(classes) if order[label] != label}
    found = likely_swaps(labels, answers, classes=classes)
    assert {label for swap in found for label in swap.classes} == moved
    for swap in found:
        for label, following in zip(swap.classes, swap.classes[1:] + swap.classes[:1], strict=True):
            assert order[label] == following


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_chance_alone_is_seldom_announced(seed: int) -> None:
    """A model that answers by a coin: at most in one of a hundred data sets."""
    rng = np.random.default_rng(seed)
    announced = 0
    for _ in range(100):
        labels = [(int(label),) for label in rng.integers(0, 2, 50)]
        announced += bool(likely_swaps(labels, rng.integers(0, 2, 50).tolist(), classes=2))
    assert announced <= 6  # binomial(100, 0.01): more than 6 in one of 100,000
