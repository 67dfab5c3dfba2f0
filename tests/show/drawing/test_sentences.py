"""What a picture says in words, for each kind of head."""

import numpy as np
import pytest

from onnx_gapmil.show.drawing.scores import Scores
from onnx_gapmil.show.drawing.sentences import finding, how_to_read, percent


def scores_of(grid, activation="softmax", logits=None, levels=None):
    grid = np.asarray(grid, dtype=float)
    names = [f"c{index}" for index in range(max(2, len(grid)))]
    return Scores(grid, grid.mean((1, 2)) if logits is None else np.array(logits), names, activation, levels)


ONE_HOT = 9.0 * np.array([[[1, 1, 0]], [[0, 0, 1]], [[0, 0, 0]]])


def test_only_a_softmax_head_is_said_to_have_a_softmax():
    assert "softmax" in how_to_read(scores_of(ONE_HOT))
    for activation in ("sigmoid", "none"):
        said = how_to_read(scores_of(ONE_HOT, activation))
        assert "softmax" not in said
        assert ("threshold (a probability of 0.5)" in said) == (activation == "sigmoid")
        assert ("no probabilities" in said) == (activation == "none")


def test_a_lead_is_said_with_its_largest():
    assert "at most" not in how_to_read(scores_of(ONE_HOT, "none"))
    assert "by 9.00 at the most" in how_to_read(scores_of(ONE_HOT, "none"))


def test_where_rows_and_columns_count_from_is_said():
    for activation in ("softmax", "sigmoid", "none"):
        assert "Rows and columns count from 0" in how_to_read(scores_of(ONE_HOT, activation))


def test_image_and_cells_agree_or_not():
    agrees = finding(scores_of(ONE_HOT))
    assert agrees == "Image level: c0 (95 %). The same class wins most cells: 2 of 3 (67 %)."
    differs = finding(scores_of(ONE_HOT, logits=[0.0, 3.0, 0.0], activation="none"))
    assert differs == "Image level: c1 (3.00). Most cells disagree: c0 wins 2 of 3 (67 %), c1 1."
    assert "wins all cells: 3 of 3" in finding(scores_of(np.stack([np.ones((1, 3)), np.zeros((1, 3))])))


TIE = 9.0 * np.array([[[1, 0, 0, 1]], [[0, 1, 1, 0]], [[0, 0, 0, 0]]])


@pytest.mark.parametrize(
    ("grid", "logits", "said"),
    [
        (TIE, [0, 3, 1], "Image level: c1 (3.00). The same class wins 2 of 4 (50 %) cells, as many as c0."),
        (TIE, [3, 0, 1], "Image level: c0 (3.00). The same class wins 2 of 4 (50 %) cells, as many as c1."),
        (
            TIE,
            [0, 1, 3],
            "Image level: c2 (3.00). No class wins most cells: c0 wins 2 of 4 (50 %), as many as c1; c2 0.",
        ),
        (
            np.eye(3)[:, None],
            [1, 3, 2],
            "Image level: c1 (3.00). The same class wins 1 of 3 (33 %) cells, as many as each of 2 others.",
        ),
    ],
)
def test_a_tie_has_no_winner(grid, logits, said):
    scores = scores_of(grid, "none", logits=logits)
    assert finding(scores) == said
    assert scores.named_winners(6)[:2] == [0, 1] or scores.cells == 3


def test_present_classes_that_win_as_many_cells_are_said_so():
    grid = np.array([[[4.0, 1.0]], [[1.0, 5.0]]])
    assert finding(scores_of(grid, "sigmoid")).endswith("c0 wins 1 of 2 cells (50 %), as many as c1.")


def test_nobody_wins_where_all_are_equally_high():
    assert "No class wins a cell" in finding(scores_of(np.zeros((2, 2, 2))))


def test_a_multi_label_finding_names_those_present_and_no_others():
    grid = np.array([[[4.0, 2.0]], [[1.0, 1.0]], [[-3.0, -3.0]]])
    assert finding(scores_of(grid, "sigmoid")) == ("Image level: c0 (95 %), c1 (73 %). c0 wins 2 of 2 cells (100 %).")
    assert finding(scores_of(-np.abs(grid) - 1, "sigmoid")).startswith("Image level: no class is above its threshold; ")
    some = np.array([[[4.0, -2.0]], [[-1.0, -1.0]]])
    assert "in 1 (50 %) no class is above its threshold" in finding(scores_of(some, "sigmoid"))


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0 %"),
        (0.0004, "<0.1 %"),
        (0.034, "3.4 %"),
        (0.5, "50 %"),
        (0.9994, ">99.9 %"),
        (0.9969, "99.6 %"),
        (1, "100 %"),
    ],
)
def test_percentages_never_round_to_nothing_or_to_all(share, said):
    assert percent(share) == said


@pytest.mark.parametrize(("side", "least"), [(3, 2), (8, 2), (9, 3), (14, 6)])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_which_areas_get_a_box_is_said(side, least, activation):
    """3 % of the cells, and two of them."""
    said = how_to_read(scores_of(np.zeros((3, side, side)), activation))
    assert "Boxes surround the largest connected areas where" in said
    assert f": one a class, of {least} cells or more." in said
    assert least >= 0.03 * side**2 > least - 1 or least == 2
