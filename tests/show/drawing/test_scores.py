import numpy as np
import pytest

from onnx_gapmil.aggregate.activation import activate
from onnx_gapmil.show.drawing.scores import Scores


def grid_of(winners, classes, height=5.0):
    """A grid in which each cell is won, by `height`, by the class that stands there."""
    winners = np.array(winners)
    return np.where(np.arange(classes)[:, None, None] == winners, height, 0.0)


def scores_of(winners, classes, logits=None, activation="softmax", labels=None):
    grid = grid_of(winners, classes)
    names = labels or [f"class {index}" for index in range(classes)]
    return Scores(grid, grid.mean((1, 2)) if logits is None else np.array(logits), names, activation)


def numbered(classes):
    return [f"class {index}" for index in range(classes)]


def test_scores_of_a_class_are_the_grids():
    scores = scores_of([[2, 2, 0], [2, 1, 1]], 3, labels=["a", "b", "c"])
    entry = scores.of(2)
    assert (entry.name, entry.rank, entry.won, entry.share) == ("c", 1, 3, 0.5)
    assert (entry.best_cell, entry.best_logit, entry.logit) == ((0, 0), 5.0, 2.5)
    assert entry.best == pytest.approx(np.exp(5) / (np.exp(5) + 2))
    assert (scores.answer, scores.winner) == (2, 2)


def test_the_image_and_the_cells_may_disagree():
    scores = scores_of([[1, 1], [1, 0]], 3, logits=[3, 1, 2])
    assert (scores.answer, scores.winner) == (0, 1)
    assert [scores.of(k).rank for k in range(3)] == [1, 3, 2]


def test_activations():
    logits = np.array([1000.0, 0.0, -1000.0])
    assert activate(logits, "softmax") == pytest.approx([1, 0, 0])
    assert activate(logits, "sigmoid") == pytest.approx([1, 0.5, 0])
    assert activate(logits, "none") is logits


def test_winners_of_few_cells_are_other_classes_but_never_the_answer():
    winners = np.zeros((10, 10), dtype=int)
    winners[0, :3], winners[1, 0], winners[1, 1] = 1, 2, 3
    assert scores_of(winners, 6, logits=[5, 0, 0, 0, 0, 9]).named_winners(4) == [0, 1, 5]


def test_the_answer_takes_the_last_place_when_all_are_taken():
    winners = np.repeat(np.arange(5), 20).reshape(10, 10)
    assert scores_of(winners, 6, logits=[4, 3, 2, 1, 0, 9]).named_winners(3) == [0, 1, 5]


def test_a_single_other_class_is_named():
    winners = np.zeros((10, 10), dtype=int)
    winners[0, 0] = 3
    assert scores_of(winners, 4).named_winners(6) == [0, 3]


def test_a_panel_takes_a_share_of_the_image_or_of_the_cells():
    winners = np.full((5, 5), 7)
    winners[0], winners[1, 0] = 6, 5  # 19, 5 and 1 of 25 cells
    scores = scores_of(winners, 9, logits=[9, 8.9, 4, 0, 0, 0, 0, 0, 0])
    assert scores.shown(4) == [0, 1, 6, 7]  # two by the image's probability, two by their cells, no others
    assert scores.shown(9) == [0, 1, 6, 7]
    assert scores.shown(2) == [0, 7]
    assert scores.shown(1) == [0]


def test_without_any_share_the_images_best_alone_has_a_panel():
    winners = np.arange(25).reshape(5, 5)
    logits = np.zeros(100)
    logits[60] = 1.0
    assert scores_of(winners, 100, logits=logits).shown(4) == [60]


def test_without_probabilities_only_cells_give_a_share():
    winners = np.zeros((5, 5), dtype=int)
    assert scores_of(winners, 9, logits=[9, 8.9, 8, 0, 0, 0, 0, 0, 0], activation="none").shown(4) == [0]


def test_of_two_classes_both_have_a_panel():
    assert scores_of(np.zeros((3, 3), dtype=int), 2, activation="none").shown(4) == [0, 1]


def test_the_table_lists_the_images_best_beside_those_shown():
    winners = np.full((4, 4), 7)
    scores = scores_of(winners, 8, logits=[9, 0, 8, 0, 0, 0, 0, -1], activation="none")
    assert scores.shown(4) == [0, 7]
    assert scores.listed([0, 7], 4) == [0, 2, 1, 7]
    assert scores.listed([0, 7], 1) == [0, 7]


def test_one_logit_is_two_classes_and_one_map():
    grid = np.array([[[3.0, -2.0], [1.0, -6.0]]])
    scores = Scores(grid, np.array([-1.0]), ["not x", "x"], "sigmoid")
    assert scores.winners.tolist() == [[1, 0], [1, 0]]
    assert scores.shown(4) == [1]
    assert (scores.answer, scores.of(1).image) == (0, pytest.approx(1 / (1 + np.e)))
    without, within = scores.of(0), scores.of(1)
    assert (without.best_cell, without.best) == ((1, 1), pytest.approx(1 / (1 + np.exp(-6))))
    assert (within.best_cell, within.best) == ((0, 0), pytest.approx(1 / (1 + np.exp(-3))))
    assert scores.strength == pytest.approx(1 / (1 + np.exp(-np.abs(grid[0]))))
    given = Scores(np.stack([0 * grid[0], grid[0]]), np.array([0.0, -1.0]), ["not x", "x"], "softmax", one_logit=True)
    assert (given.winners == scores.winners).all()
    assert given.shown(4) == [1]
    assert given.of(0) == without


def test_a_cell_of_a_multi_label_head_is_won_only_above_the_threshold():
    grid = np.array([[[2.0, -1.0, 0.0]], [[1.0, -2.0, -3.0]]])
    scores = Scores(grid, np.array([1.0, -1.0]), ["a", "b"], "sigmoid")
    assert scores.multi_label
    assert scores.winners.tolist() == [[0, -1, -1]]
    assert (scores.nobody, scores.present, scores.winner) == (2, [0], 0)
    assert scores.strength[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert scores.level == pytest.approx(0.5)
    assert scores.sure.tolist() == [[True, False, False]]


def test_thresholds_decide_who_wins_and_who_is_the_images_best():
    grid = np.array([[[2.0, 2.0]], [[1.0, -3.0]]])
    scores = Scores(grid, np.array([2.0, 1.0]), ["a", "b"], "sigmoid", np.array([1.5, -2.0]))
    assert scores.winners.tolist() == [[1, 0]]  # 3 above its level against 0.5
    assert (scores.answer, scores.present, scores.level) == (1, [1, 0], None)


def test_a_multi_label_head_without_anything_present():
    grid = -np.ones((3, 2, 2))
    scores = Scores(grid, grid.mean((1, 2)), ["a", "b", "c"], "sigmoid")
    assert (scores.winner, scores.present, scores.nobody) == (None, [], 4)
    assert scores.shown(4) == [0]
    assert scores.named_winners(6) == [0]


def test_strength_is_the_softmax_where_there_is_one_and_a_lead_where_there_is_none():
    grid = np.array([[[4.0, 1.0]], [[0.0, 0.0]], [[-1.0, 0.0]]])
    logits = grid.mean((1, 2))
    shared = Scores(grid, logits, numbered(3), "softmax")
    assert shared.strength[0, 0] == pytest.approx(np.exp(4) / (np.exp(4) + 1 + np.exp(-1)))
    assert shared.largest_lead is None
    led = Scores(grid, logits, numbered(3), "none")
    assert led.largest_lead == pytest.approx(4)
    assert led.strength[0] == pytest.approx([1.0, np.sqrt(1 / 4)])


def test_overflow_and_nan_do_not_win():
    grid = np.zeros((3, 1, 3), dtype=np.float16)
    grid[0, 0], grid[1, 0] = (1, np.nan, -np.inf), (0, 2, 3)
    grid[2, 0, 0] = np.inf
    scores = Scores(grid, np.zeros(3, dtype=np.float16), numbered(3), "softmax")
    assert scores.winners.tolist() == [[2, 1, 1]]
    assert np.isfinite(scores.grid).all()


@pytest.mark.parametrize(
    ("grid", "logits", "labels"),
    [((3, 2), (3,), "abc"), ((3, 2, 2), (4,), "abcd"), ((3, 0, 2), (3,), "abc"), ((3, 2, 2), (3,), "a")],
)
def test_shapes_that_do_not_fit_are_an_error(grid, logits, labels):
    with pytest.raises(ValueError, match=r"a grid \(K, h, w\)|names for"):
        Scores(np.zeros(grid), np.zeros(logits), labels, "none")
