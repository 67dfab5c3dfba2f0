"""The comparison behind the proof: right reductions differ by nothing, each wrong one by something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from onnx_gapmil.aggregate import parse_aggregator
from onnx_gapmil.rewriting.emission.names import ClassesOutput, HeadOutputs, TopKOutputs
from onnx_gapmil.rewriting.proof.reductions import certainty, differences, reductions

KEYS = ("max", "lse=0.1", "noisy_or", "prob_mean")
HEAD = HeadOutputs(
    logits="l",
    features="f",
    grid="g",
    argmax="a",
    certainty="c",
    peaks="p",
    topk=TopKOutputs(3, "tc", "tg"),
    classes=ClassesOutput((4, 0), "cg"),
    scores={key: f"s_{key}" for key in KEYS},
)


def right() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    grid = np.random.default_rng(0).normal(0, 3, (2, 5, 3, 4))
    logits = grid.mean(axis=(2, 3))
    best = np.argsort(-logits, axis=1)[:, :3]
    got = {
        "logits": logits,
        "argmax": grid.argmax(axis=1),
        "certainty": special.softmax(grid, axis=1).max(axis=1),
        "peaks": grid.reshape(2, 5, 12).argmax(axis=2),
        "topk_classes": best,
        "topk_grid": np.take_along_axis(grid, best[:, :, None, None], axis=1),
        "classes_grid": grid[:, [4, 0]],
    }
    return got | {f"scores.{key}": parse_aggregator(key)(grid) for key in KEYS}, logits, grid


def test_right_reductions_differ_by_rounding() -> None:
    got, logits, grid = right()
    found = differences(HEAD, got, logits, grid)
    assert set(found) == set(reductions(HEAD).values()) == {"a", "c", "p", "tc", "tg", "cg", *(f"s_{k}" for k in KEYS)}
    assert max(found.values()) < 1e-12


def test_certainty_of_one_class_is_its_sigmoid() -> None:
    grid = np.random.default_rng(0).normal(0, 30, (2, 1, 3, 4))
    np.testing.assert_allclose(certainty(grid), special.expit(grid[:, 0]), rtol=1e-12)


def swap(array: np.ndarray) -> np.ndarray:
    found = array.copy()
    found[:, [0, 1]] = found[:, [1, 0]]
    return found


DAMAGES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "one cell's class": ("argmax", lambda a: np.where(np.arange(4) == 2, (a + 1) % 5, a)),
    "a class out of range": ("argmax", lambda a: a + 5),
    "a class below 0": ("argmax", lambda a: a - 5),
    "argmax of another axis": ("argmax", lambda a: np.swapaxes(a, 1, 2)),
    "shifted certainty": ("certainty", lambda a: a + 0.01),
    "certainty that is no number": ("certainty", lambda a: a * np.nan),
    "peaks column by column": ("peaks", lambda a: (a % 4) * 3 + a // 4),
    "a peak outside": ("peaks", lambda a: a + 12),
    "best classes out of order": ("topk_classes", swap),
    "one class twice": ("topk_classes", lambda a: a[:, [0, 0, 2]]),
    "too many classes": ("topk_classes", lambda a: np.tile(a, (1, 2))),
    "best classes of the other image": ("topk_classes", lambda a: a[::-1]),
    "a best class out of range": ("topk_classes", lambda a: a + 3),
    "rows out of order": ("topk_grid", swap),
    "one cell of a row": ("topk_grid", lambda a: np.where(np.arange(4) == 2, a + 0.01, a)),
    "rows of other classes": ("classes_grid", swap),
    "one row too few": ("classes_grid", lambda a: a[:, :1]),
    "scores of one class": ("scores.max", lambda a: np.where(np.arange(5) == 2, a + 0.01, a)),
    "scores of the wrong sharpness": ("scores.lse=0.1", lambda a: a + 0.1),
    "scores without an image": ("scores.noisy_or", lambda a: a[:1]),
    "scores in percent": ("scores.prob_mean", lambda a: 100 * a),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_wrong_reduction_is_seen(damage: str) -> None:
    got, logits, grid = right()
    key, change = DAMAGES[damage]
    found = differences(HEAD, {**got, key: change(got[key])}, logits, grid)
    name = reductions(HEAD)[key]
    assert found[name] > 1e-4
    others = {other: gap for other, gap in found.items() if other != name and (key, other) != ("topk_classes", "tg")}
    assert max(others.values()) < 1e-12


def test_tied_places_are_equally_right() -> None:
    got, logits, grid = right()
    grid[0, 3, 1, 1] = grid[0, 1, 1, 1] = 50
    got |= {"argmax": grid.argmax(axis=1), "certainty": certainty(grid)}
    got["argmax"][0, 1, 1] = 3
    assert differences(HEAD, got, logits, grid)["a"] == 0


def test_gaps_of_sums_are_relative_to_the_largest_cell() -> None:
    head = HeadOutputs(logits="l", scores={"max": "s"})
    grid = np.full((1, 2, 1, 2), 1000.0)
    found = differences(head, {"scores.max": np.full((1, 2), 1001.0)}, grid.mean((2, 3)), grid)
    assert found == {"s": pytest.approx(1e-3)}
