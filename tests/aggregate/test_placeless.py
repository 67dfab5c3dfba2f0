"""The placeless share against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.aggregate.placeless import placeless_share


def share(logits: list[float], apart: list[float], *, independent: bool = False) -> float:
    return float(placeless_share(np.asarray([logits]), np.asarray([apart]), independent=independent)[0])


def test_example_of_the_docs() -> None:
    assert share([3, 1], [1.5, 0.5]) == pytest.approx(0.5)


def test_what_all_classes_share_counts_for_nothing() -> None:
    assert share([13, 11], [11.5, 10.5]) == pytest.approx(share([3, 1], [1.5, 0.5]))


def test_independent_classes_keep_their_mean() -> None:
    assert share([3, 1], [3, -1], independent=True) == pytest.approx(4 / (4 + 2))
    assert share([2], [0.5]) == pytest.approx(0.25)  # one logit has no other to be compared with


def test_ends() -> None:
    assert share([3, 1], [0, 0]) == 0
    assert share([3, 1], [3, 1]) == 1
    assert np.isnan(share([1, 1], [1, 1]))


def test_parts_that_cancel_are_both_counted() -> None:
    assert share([0, 0], [5, -5]) == pytest.approx(0.5)
