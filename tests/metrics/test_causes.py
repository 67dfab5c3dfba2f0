"""Each cause on a grid small enough to check by eye; strictness and the margin on random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.metrics.causes import CAUSES, error_cause, lost_margin

TRUE, PREDICTED, OTHER = 1, 2, 3
INSIDE = np.array([True, True, True, False, False, False])


def cause(winners: list[int]) -> str:
    cells = np.array(winners)
    return error_cause(cells, PREDICTED, cells == TRUE, INSIDE)


@pytest.mark.parametrize(
    ("winners", "expected"),
    [
        ([2, 2, 3, 1, 1, 1], "absent"),  # the true class wins in the background alone
        ([3, 3, 3, 2, 2, 2], "absent"),  # not distraction: no cell of the object knows it
        ([1, 1, 1, 2, 2, 3], "distraction"),
        ([1, 2, 1, 2, 2, 3], "distraction"),  # two of three cells of the predicted class are elsewhere
        ([1, 2, 1, 2, 3, 3], "dilution"),  # just half of them: not most
        ([1, 2, 2, 2, 3, 3], "dilution"),
        ([1, 2, 2, 3, 3, 3], "dilution"),
        ([1, 1, 1, 1, 1, 3], "dilution"),  # the predicted class wins no cell at all
    ],
)
def test_cause(winners, expected):
    assert cause(winners) == expected


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_every_error_has_one_cause_and_all_but_absent_hold_the_truth(winners):
    found = cause(winners)
    assert found in CAUSES
    assert (found != "absent") == (TRUE in winners[:3])


@given(st.integers(0, 2**32 - 1))
def test_margin_is_the_difference_of_the_logits(seed):
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(12, 5))
    inside = rng.random(12) < 0.5
    logits = cells.mean(axis=0)
    margin = lost_margin(cells[:, 1], cells[:, 4], inside)
    assert margin.foreground + margin.background == pytest.approx(logits[1] - logits[4], abs=1e-12)
    assert margin.foreground == pytest.approx(sum(cells[p, 1] - cells[p, 4] for p in range(12) if inside[p]) / 12)
