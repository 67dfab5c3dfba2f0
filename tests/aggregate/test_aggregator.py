"""The aggregators against SciPy, naive float64 formulas and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import special, stats

from onnx_gapmil.aggregate import AGGREGATORS, Aggregator, parse_aggregator
from onnx_gapmil.aggregate.aggregator import by_each_aggregator
from onnx_gapmil.errors import InputError

moderate = arrays(
    np.float64,
    array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=5),
    elements=st.floats(-20, 20, allow_subnormal=False),
)
extreme = arrays(
    np.float64,
    array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=5),
    elements=st.sampled_from([-1e4, 1e4, 0.0, 1.0, -1.0, 9999.0, 3.5]),
)


def probabilities(grid: np.ndarray) -> np.ndarray:
    return special.expit(grid) if grid.shape[-3] == 1 else special.softmax(grid, axis=-3)


def others(grid: np.ndarray) -> np.ndarray:
    """Probability of all other classes, by adding them up one class at a time."""
    if grid.shape[-3] == 1:
        return special.expit(-grid)
    p = probabilities(grid)
    classes = range(grid.shape[-3])
    sums = [sum(p[..., other, :, :] for other in classes if other != one) for one in classes]
    return np.stack(sums, axis=-3)


def top_mean(grid: np.ndarray, share: float) -> np.ndarray:
    cells = np.sort(grid.reshape(*grid.shape[:-2], -1), axis=-1)[..., ::-1]
    count = max(1, math.floor(share * cells.shape[-1] + 0.5))
    return cells[..., :count].mean(axis=-1)


#: The textbook formulas, which overflow where the package's do not.
NAIVE = {
    "mean": lambda g: np.average(g, axis=(-2, -1)),
    "max": lambda g: np.amax(g, axis=(-2, -1)),
    "lse": lambda g: special.logsumexp(g, axis=(-2, -1)) - math.log(g.shape[-1] * g.shape[-2]),
    "lse=3": lambda g: np.log(np.mean(np.exp(3 * g), axis=(-2, -1))) / 3,
    "topk": lambda g: top_mean(g, 0.2),
    "topk=0.5": lambda g: top_mean(g, 0.5),
    "topk=1": lambda g: np.average(g, axis=(-2, -1)),
    "softmax_weighted": lambda g: (special.softmax(g, axis=(-2, -1)) * g).sum(axis=(-2, -1)),
    "softmax_weighted=0.5": lambda g: (special.softmax(g / 2, axis=(-2, -1)) * g).sum(axis=(-2, -1)),
    "noisy_or": lambda g: -np.log(others(g)).sum(axis=(-2, -1)),
    "median": lambda g: np.median(g, axis=(-2, -1)),
    "generalized_mean": lambda g: np.cbrt((probabilities(g) ** 3).mean(axis=(-2, -1))),
    "generalized_mean=1": lambda g: probabilities(g).mean(axis=(-2, -1)),
    "prob_mean": lambda g: probabilities(g).mean(axis=(-2, -1)),
}


@pytest.mark.parametrize("key", NAIVE)
@given(grid=moderate)
def test_formula_is_the_textbooks(key: str, grid: np.ndarray) -> None:
    got = parse_aggregator(key)(grid)
    # A lone class beside which nothing stands has no others to be odds against in the naive sum.
    expected = NAIVE[key](grid)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_every_aggregator_has_a_naive_formula() -> None:
    assert {parse_aggregator(key).name for key in NAIVE} == set(AGGREGATORS)


@pytest.mark.parametrize("name", AGGREGATORS)
@given(grid=extreme)
def test_extreme_values_stay_finite(name: str, grid: np.ndarray) -> None:
    got = AGGREGATORS[name](grid)
    assert got.shape == grid.shape[:-2]
    assert np.isfinite(got).all()


@pytest.mark.parametrize("name", ["mean", "max", "lse", "topk", "softmax_weighted", "median"])
@given(grid=extreme)
def test_scores_of_logits_lie_between_the_smallest_and_the_largest_cell(name: str, grid: np.ndarray) -> None:
    got = AGGREGATORS[name](grid)
    assert (got >= grid.min(axis=(-2, -1)) - 1e-6).all()
    assert (got <= grid.max(axis=(-2, -1)) + 1e-6).all()


@given(grid=moderate)
def test_order_from_mean_to_max(grid: np.ndarray) -> None:
    mean, lse, sharp, top = (parse_aggregator(key)(grid) for key in ("mean", "lse", "lse=20", "max"))
    assert (mean <= lse + 1e-9).all()
    assert (lse <= sharp + 1e-9).all()
    assert (sharp <= top + 1e-9).all()


@pytest.mark.parametrize("name", AGGREGATORS)
@given(grid=moderate)
def test_order_of_the_cells_does_not_matter(name: str, grid: np.ndarray) -> None:
    flat = grid.reshape(*grid.shape[:-2], -1)[..., ::-1].reshape(grid.shape)
    np.testing.assert_allclose(AGGREGATORS[name](flat), AGGREGATORS[name](grid), rtol=1e-9, atol=1e-12)


def test_values_by_hand() -> None:
    grid = np.array([[[0.0, 1.0], [2.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    weights = np.exp([0, 1, 2, 3])
    p = 1 / (1 + np.exp([0.0, -1.0, -2.0, -3.0]))
    expected = {
        "mean": 1.5,
        "max": 3.0,
        "lse": math.log(weights.sum() / 4),
        "topk": 3.0,  # 0.2 of 4 cells are 0.8, hence one
        "topk=0.5": 2.5,
        "topk=2": 2.5,
        "topk=3": 2.0,
        "topk=900": 1.5,  # of four cells all
        "topk=0.6": 2.5,  # 2.4 of 4
        "topk=0.625": 2.0,  # 2.5 rounds up to three
        "softmax_weighted": (weights @ [0, 1, 2, 3]) / weights.sum(),
        "noisy_or": -np.log(1 - p).sum(),
        "median": 1.5,
        "generalized_mean": ((p**3).mean()) ** (1 / 3),
        "prob_mean": p.mean(),
    }
    for key, value in expected.items():
        assert parse_aggregator(key)(grid)[0] == pytest.approx(value, rel=1e-12), key


def test_noisy_or_has_the_order_of_the_probability_that_it_stands_for() -> None:
    grid = np.random.default_rng(0).normal(size=(50, 4, 2, 3))
    score = AGGREGATORS["noisy_or"](grid)
    plain = 1 - np.prod(1 - probabilities(grid), axis=(-2, -1))
    assert stats.spearmanr(score.ravel(), plain.ravel()).statistic == pytest.approx(1.0)
    np.testing.assert_allclose(-np.expm1(-score), plain, rtol=1e-12)


def test_noisy_or_keeps_an_order_where_the_probability_is_one() -> None:
    """Two classes that each win a cell by far: the probability rounds to 1 for both."""
    grid = np.array([[[900.0, 0.0]], [[0.0, 800.0]], [[0.0, 0.0]]])
    score = AGGREGATORS["noisy_or"](grid)
    np.testing.assert_allclose(score, [900 - math.log(2), 800 - math.log(2), 0], atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_types_are_aggregated_in_float64(dtype: type) -> None:
    grid = np.full((1, 100, 100), 60000, dtype)
    assert AGGREGATORS["mean"](grid)[0] == 60000
    assert AGGREGATORS["mean"](grid).dtype == np.float64


def test_what_is_not_finite_gives_nan_and_no_warning() -> None:
    grid = np.array([[[np.nan, 1.0]], [[np.inf, 1.0]]])
    for aggregator in AGGREGATORS.values():
        assert not np.isfinite(aggregator(grid)[0]), aggregator


def test_a_class_that_is_switched_off_has_no_score_and_changes_no_other() -> None:
    grid = np.random.default_rng(5).normal(0, 3, (2, 3, 4, 4))
    off = np.insert(grid, 1, -np.inf, axis=1)
    for key, aggregator in AGGREGATORS.items():
        scores = aggregator(off)
        np.testing.assert_allclose(np.delete(scores, 1, axis=1), aggregator(grid), rtol=1e-12, err_msg=key)
        none = 0.0 if key in ("noisy_or", "generalized_mean", "prob_mean") else -np.inf
        assert (scores[:, 1] == none).all(), key


@pytest.mark.parametrize("shape", [(3,), (2, 2), (0, 2, 2), (2, 0, 3)])
def test_a_grid_without_cells_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least one cell"):
        AGGREGATORS["mean"](np.zeros(shape))


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("lse", "lse"),
        ("lse=1", "lse"),
        (" lse=10.0 ", "lse=10"),
        ("topk=0.2", "topk"),
        ("topk=0.123456789", "topk=0.123456789"),
    ],
)
def test_key_is_canonical(text: str, key: str) -> None:
    found = parse_aggregator(text)
    assert found.key == key
    assert parse_aggregator(found.key) == found


def test_default_parameter_is_filled_in() -> None:
    assert Aggregator("lse") == Aggregator("lse", 1.0)
    assert Aggregator("generalized_mean").to_json() == {"name": "generalized_mean", "parameter": 3.0}
    assert Aggregator("mean").parameter is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("average", "no aggregator 'average'; there are mean, max"),
        ("mean=2", "'mean' takes no parameter"),
        ("lse=ten", "is a number, not 'ten'"),
        ("lse=", "is a number, not ''"),
        ("lse=0", "goes from 0.01 to 1000; 0 was given"),
        ("lse=nan", "goes from 0.01 to 1000"),
        ("topk=1.5", "goes above 0 to 1, or is a whole number of cells; 1.5 was given"),
        ("topk=0", "goes above 0 to 1, or is a whole number of cells; 0 was given"),
        ("topk=-2", "goes above 0 to 1, or is a whole number of cells; -2 was given"),
        ("topk=1e300", "whole number of cells"),
    ],
)
def test_wrong_text_is_told_what_is_right(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_aggregator(text)


@pytest.mark.parametrize("key", NAIVE)
@pytest.mark.parametrize("shape", [(2, 5, 2, 3, 4), (2, 1, 2, 3, 4), (3, 5, 2, 2, 3, 2), (2, 5, 7)])
def test_all_axes_of_the_cells_are_pooled(key: str, shape: tuple[int, ...]) -> None:
    """Volumes (D, H, W), clips of volumes (T, D, H, W), a row of cells: as the textbook has them in one plane."""
    grid = np.random.default_rng(0).standard_normal(shape) * 3
    expected = NAIVE[key](grid.reshape(*shape[:2], 1, -1))
    np.testing.assert_allclose(parse_aggregator(key)(grid, cell_axes=len(shape) - 2), expected, rtol=1e-9)


@pytest.mark.parametrize(("shape", "axes"), [((2, 3, 4), 3), ((5, 0, 3, 4), 3), ((5, 2, 3), 0)])
def test_a_grid_without_classes_or_cells_is_refused(shape: tuple[int, ...], axes: int) -> None:
    with pytest.raises(InputError, match="a prediction grid has"):
        AGGREGATORS["mean"](np.zeros(shape), cell_axes=axes)


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 1, 1), (5, 3, 4), (7, 2, 2), (2, 6, 3, 3)])
@pytest.mark.parametrize("special", [None, -np.inf, np.nan, 800.0])
def test_all_at_once_are_each_by_itself_to_the_last_bit(shape, special):
    grid = np.random.default_rng(sum(shape)).standard_normal(shape) * 4
    if special is not None:
        grid[..., 0, 0, 0] = special
    found = by_each_aggregator(grid)
    assert list(found) == list(AGGREGATORS)
    for name, aggregator in AGGREGATORS.items():
        np.testing.assert_array_equal(found[name], aggregator(grid), err_msg=name)
