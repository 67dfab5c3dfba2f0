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
    return Scores(grid, grid.mean((1, 2)) if logits is None else np.array(logits), labels, activation)


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


def test_shown_classes_are_half_by_image_and_half_by_cells():
    winners = np.full((4, 4), 7)
    winners[0] = 6
    logits = [9, 8, 7, 6, 5, 4, 3, 2]
    assert scores_of(winners, 8, logits=logits).shown(4) == [0, 1, 6, 7]
    assert scores_of(winners, 8, logits=logits).shown(2) == [0, 7]
    assert scores_of(winners[:1], 8, logits=logits).shown(20) == list(range(8))


def test_overflow_and_nan_do_not_win():
    grid = np.zeros((3, 1, 3), dtype=np.float16)
    grid[0, 0], grid[1, 0] = (1, np.nan, -np.inf), (0, 2, 3)
    grid[2, 0, 0] = np.inf
    scores = Scores(grid, np.zeros(3, dtype=np.float16), None, "softmax")
    assert scores.winners.tolist() == [[2, 1, 1]]
    assert np.isfinite(scores.grid).all()


@pytest.mark.parametrize(
    ("grid", "logits", "labels"),
    [((3, 2), (3,), None), ((3, 2, 2), (4,), None), ((3, 0, 2), (3,), None), ((3, 2, 2), (3,), ["a"])],
)
def test_shapes_that_do_not_fit_are_an_error(grid, logits, labels):
    with pytest.raises(ValueError, match=r"a grid \(K, h, w\)|labels for"):
        Scores(np.zeros(grid), np.zeros(logits), labels, "none")
