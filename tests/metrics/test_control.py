"""The control of recovery, against a ranking written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.metrics.control import rank_matched_control


def by_hand(logits: list[float], label: int, won: set[int], present: set[int]) -> float | None:
    """Neighbours among the classes that are not known to be there, one above and one below."""
    ranking = sorted(range(len(logits)), key=lambda index: (-logits[index], index))
    above, below = None, None
    for index in ranking[: ranking.index(label)]:
        above = above if index in present else index
    for index in reversed(ranking[ranking.index(label) + 1 :]):
        below = below if index in present else index
    asked = [index for index in (above, below) if index is not None]
    return sum(index in won for index in asked) / len(asked) if asked else None


CELLS = np.array([3, 1, -1, 4, 4])
ON_OBJECT = np.array([True, True, True, False, False])


@pytest.mark.parametrize(
    ("label", "present", "expected"),
    [
        pytest.param(2, {0, 2}, 1.0, id="both_neighbours_win_a_cell"),
        pytest.param(3, {0, 3}, 0.0, id="one_wins_outside_the_object_alone"),
        pytest.param(1, {0, 1}, 0.0, id="the_answer_above_is_no_neighbour"),
        pytest.param(2, {0, 1, 2}, 1.0, id="what_another_box_carries_is_passed_over"),
        pytest.param(4, {0, 1, 2, 3, 4}, None, id="no_neighbour_is_left"),
    ],
)
def test_neighbours_in_the_ranking(label: int, present: set[int], expected: float | None) -> None:
    logits = np.array([9.0, 8.0, 7.0, 6.0, 5.0])
    assert rank_matched_control(logits, label, CELLS, ON_OBJECT, present) == expected


@given(st.data())
def test_any_ranking(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 12))
    logits = data.draw(st.lists(st.integers(0, 6).map(float), min_size=classes, max_size=classes))
    label = data.draw(st.integers(0, classes - 1))
    present = data.draw(st.sets(st.integers(0, classes - 1))) | {label}
    winners = np.array(data.draw(st.lists(st.integers(-1, classes - 1), min_size=1, max_size=9)))
    inside = np.array(data.draw(st.lists(st.booleans(), min_size=len(winners), max_size=len(winners))))
    won = {int(index) for index in winners[inside]}
    found = rank_matched_control(np.array(logits), label, winners, inside, present)
    assert found == by_hand(logits, label, won, present)
