"""Ranks by aggregators, against a sort of every class's float64 score."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.aggregate.aggregator import AGGREGATORS
from onnx_gapmil.metrics import pooled_ranks as module
from onnx_gapmil.metrics.image_cells import ImageCells
from onnx_gapmil.metrics.pooled_ranks import pooled_ranks


def sorted_ranks(grid: np.ndarray, labels: list[int]) -> dict[str, tuple[int, ...]]:
    """The place of each label in a stable sort, other labels left out."""
    found = {}
    for name, aggregator in AGGREGATORS.items():
        order = np.argsort(-aggregator(grid.astype(np.float64)), kind="stable").tolist()
        found[name] = tuple(
            [index for index in order if index == label or index not in labels].index(label) for label in labels
        )
    return found


def grid_of(kind: str, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    noise = rng.normal(size=shape)
    grids = {
        "near": 0.05 * noise,
        "plain": 3 * noise,
        "peaked": 3 * noise + 25 * (rng.random(shape) < 0.01),  # cells that are sure of one class
        "far": 60 * noise,  # shares that no float32 holds
        "levels": np.round(2 * noise) / 4,  # as of integers: many scores are equal
        "flat": np.zeros(shape),
        "pairs": np.repeat(noise[: -(-shape[0] // 2)], 2, axis=0)[: shape[0]],  # every class twice
        "large": 1e7 * noise,
    }
    return np.asarray(grids[kind], dtype=np.float32)


@pytest.mark.parametrize("kind", ["near", "plain", "peaked", "far", "levels", "flat", "pairs", "large"])
@pytest.mark.parametrize("shape", [(70, 7, 7), (90, 2, 3), (65, 1, 1), (64, 17, 16), (5, 4, 4)])
def test_ranks_are_those_of_all_scores_in_float64(kind: str, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(sum(shape))
    grid = grid_of(kind, rng, shape)
    best, middle = (int(index) for index in np.argsort(-grid.mean(axis=(1, 2)))[[0, shape[0] // 2]])
    for labels in ([best], [middle], [0, 3, best] if best not in (0, 3) else [0, 3]):
        assert pooled_ranks(ImageCells(grid), labels) == sorted_ranks(grid, labels)


def test_float32_decides_nearly_all_classes_and_float64_those_that_lie_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is the label's twin but for the last digit of one cell is asked for in float64; far ones are not."""
    rng = np.random.default_rng(3)
    grid = np.asarray(3 * rng.normal(size=(80, 7, 7)), dtype=np.float32)
    grid[40] = grid[7]
    grid[40, 2, 3] = np.nextafter(grid[7, 2, 3], np.float32(np.inf))
    asked: dict[str, set[int]] = {name: set() for name in AGGREGATORS}
    scores = module.SomeScores.scores

    def told(self: module.SomeScores, name: str, classes: np.ndarray) -> np.ndarray:
        asked[name] |= set(classes.tolist())
        return scores(self, name, classes)

    monkeypatch.setattr(module.SomeScores, "scores", told)
    assert pooled_ranks(ImageCells(grid), [7]) == sorted_ranks(grid, [7])
    assert all(40 in asked[name] for name in ("mean", "lse", "softmax_weighted", "noisy_or", "prob_mean"))
    assert max(len(classes) for name, classes in asked.items() if name != "topk") <= 5
