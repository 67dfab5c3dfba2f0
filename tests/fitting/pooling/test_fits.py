"""Each fit: its slope against finite differences, its logits against the pool that it makes, run by plain formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.fitting.pooling.biases import Biases
from onnx_gapmil.fitting.pooling.fits.fit import Fit
from onnx_gapmil.fitting.pooling.fits.layer import Head
from onnx_gapmil.fitting.pooling.fits.positions import Flex, FlexByChannel
from onnx_gapmil.fitting.pooling.fits.scores import Calibration, Mix
from onnx_gapmil.fitting.pooling.likelihood import Likelihood
from onnx_gapmil.fitting.pooling.slopes import SLOPED, score_and_slope
from onnx_gapmil.fitting.pooling.solving import logits_of, objective, parts_of, solve, tuned

N, K, C, H, W = 24, 4, 3, 2, 3
ROWS = np.arange(N)
RNG = np.random.default_rng(5)
FEATURES = RNG.normal(size=(N, C, H * W)).astype(np.float32)
LAYER = (RNG.normal(size=(K, C)), RNG.normal(size=K))
GRIDS = (LAYER[0] @ FEATURES.astype(np.float64) + LAYER[1][:, None]).astype(np.float32)
AGGREGATORS = (Aggregator("mean"), Aggregator("max"), Aggregator("lse", 2.0), Aggregator("prob_mean"))
BIAS = RNG.normal(size=K) * 0.1


def labels(alone: bool) -> Likelihood:
    """Of every kind: one label, several, none where classes are read alone; class 3 labels nothing."""
    truth = np.zeros((N, K), dtype=np.bool_)
    truth[ROWS, np.random.default_rng(1).integers(3, size=N)] = True
    truth[0, :2] = True
    truth[1] = not alone and truth[1]
    return Likelihood(truth, alone, truth.any(axis=0) if alone else np.ones(K, dtype=np.bool_))


def scores(alone: bool) -> np.ndarray:
    """(N, M, K), by hand."""
    cells = GRIDS.astype(np.float64)
    p = 1 / (1 + np.exp(-cells)) if alone else np.exp(cells) / np.exp(cells).sum(axis=1, keepdims=True)
    mean_p = p.mean(axis=-1)
    odds = np.log(mean_p) - np.log1p(-mean_p) if alone else np.log(mean_p)
    found = [cells.mean(axis=-1), cells.max(axis=-1), np.log(np.exp(2 * cells).mean(axis=-1)) / 2, odds]
    return np.stack(found, axis=1).astype(np.float32)


def calibration(alone: bool) -> Fit:
    return Calibration(scores(alone)[:, 1], AGGREGATORS[1], Biases.of(labels(alone), ROWS), N)


def mix(alone: bool) -> Fit:
    biases = Biases.of(labels(alone), ROWS)
    return Mix(scores(alone), AGGREGATORS, biases, ROWS, scale=0.7, bias=BIAS, alone=alone)


def flex(alone: bool) -> Fit:
    return Flex(GRIDS, (H, W), ROWS, scale=0.7, bias=BIAS, alone=alone)


def by_channel(alone: bool) -> Fit:
    return FlexByChannel(FEATURES, (H, W), LAYER, ROWS, scale=0.7, bias=BIAS, by_softmax=False)


def by_softmax(alone: bool) -> Fit:
    return FlexByChannel(FEATURES, (H, W), LAYER, ROWS, scale=0.7, bias=BIAS, by_softmax=True)


def head_under(aggregator: Aggregator) -> Callable[[bool], Fit]:
    def make(alone: bool) -> Fit:
        fixed = aggregator(GRIDS.reshape(N, K, H, W)).astype(np.float32)
        biases = Biases.of(labels(alone), ROWS)
        return Head(FEATURES, fixed, LAYER, aggregator, biases, ROWS, scale=0.7, bias=BIAS)

    return make


FITS = {
    "calibration": calibration,
    "mix": mix,
    "flex": flex,
    "flex:channel": by_channel,
    "flex:softmax": by_softmax,
    **{f"head:{name}": head_under(Aggregator(name)) for name in SLOPED},
}


@pytest.mark.parametrize("alone", [False, True], ids=["softmax", "sigmoids"])
@pytest.mark.parametrize("name", list(FITS))
def test_the_slope_is_that_of_finite_differences(name: str, alone: bool) -> None:
    fit = FITS[name](alone)
    value = objective(fit, labels(alone), ROWS, ridge=0.3)
    at = 0.2 * np.random.default_rng(2).normal(size=len(fit.tied))
    slope = value(at)[1]
    step = 1e-6
    for place in range(len(at)):
        aside = np.zeros(len(at))
        aside[place] = step
        expected = (value(at + aside)[0] - value(at - aside)[0]) / (2 * step)
        assert slope[place] == pytest.approx(expected, rel=2e-5, abs=2e-7), place


def by_hand(fit: str, arrays: dict[str, np.ndarray], aggregators: list[str], alone: bool) -> np.ndarray:
    """Logits (N, K) by loops and plain formulas in float64."""
    found = np.zeros((N, K))
    for n in range(N):
        x, a = GRIDS[n].astype(np.float64), FEATURES[n].astype(np.float64)
        if "weight" in arrays:
            x = arrays["weight"] @ a + arrays["offset"][:, None]
        if fit == "flex":
            terms = [x @ arrays["positions"].ravel()]
        elif fit.startswith("flex"):
            pooled = np.array([(arrays["positions"][c].ravel() * a[c]).sum() for c in range(C)])
            terms = [arrays["weight"] @ pooled + arrays["offset"]]
        else:
            terms = [_term(key, x, alone) for key in aggregators]
        found[n] = sum(w * term for w, term in zip(arrays["scale"], terms, strict=True)) + arrays["bias"]
    return found


def _term(key: str, x: np.ndarray, alone: bool) -> np.ndarray:
    name, _, value = key.partition("=")
    r = float(value) if value else {"topk": 0.2}.get(name, 1.0)
    if name == "prob_mean":
        p = (1 / (1 + np.exp(-x)) if alone else np.exp(x) / np.exp(x).sum(axis=0)).mean(axis=1)
        return np.log(p / (1 - p)) if alone else np.log(p)
    return {
        "mean": lambda: x.mean(axis=1),
        "max": lambda: x.max(axis=1),
        "lse": lambda: np.log(np.exp(r * x).mean(axis=1)) / r,
        "topk": lambda: np.sort(x, axis=1)[:, -max(1, int(r * x.shape[1] + 0.5)) :].mean(axis=1),
        "softmax_weighted": lambda: (np.exp(r * x) * x).sum(axis=1) / np.exp(r * x).sum(axis=1),
    }[name]()


@pytest.mark.parametrize("alone", [False, True], ids=["softmax", "sigmoids"])
@pytest.mark.parametrize("name", list(FITS))
def test_the_pool_gives_what_the_fit_climbed_by(name: str, alone: bool) -> None:
    fit = FITS[name](alone)
    at = 0.2 * np.random.default_rng(2).normal(size=len(fit.tied))
    pool = fit.pool(at)
    arrays = {key: array.astype(np.float64) for key, array in pool.arrays.items()}
    expected = by_hand(pool.fit, arrays, [entry.key for entry in pool.aggregators], alone)
    np.testing.assert_allclose(logits_of(fit, ROWS, at), expected, rtol=1e-5, atol=2e-6)
    grid = FEATURES.reshape(N, C, H, W) if pool.of_features else GRIDS.reshape(N, K, H, W)
    np.testing.assert_allclose(pool.logits(grid, alone=alone), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["mix", "flex", "flex:channel", "flex:softmax", "head:topk"])
def test_a_fit_begins_at_what_it_is_tied_to(name: str) -> None:
    fit = FITS[name](False)
    under = {"head:topk": Aggregator("topk")}.get(name, Aggregator("mean"))
    expected = 0.7 * under(GRIDS.reshape(N, K, H, W)) + BIAS
    np.testing.assert_allclose(logits_of(fit, ROWS, np.zeros(len(fit.tied))), expected, rtol=1e-5, atol=1e-5)
    assert solve(fit, labels(False), ROWS, float("inf")).values.tolist() == [0.0] * len(fit.tied)


def test_what_another_aggregator_moves_all_logits_by_is_not_tied() -> None:
    high = (scores(True)[:, 0] + 9).astype(np.float32)
    fit = Calibration(high, AGGREGATORS[0], Biases.of(labels(True), ROWS), N)
    tied = solve(fit, labels(True), ROWS, 1000.0)
    lower = fit.bias(tied.values)[:3]
    assert np.ptp(lower) < 0.05
    assert lower.max() < -0.5


def test_the_sum_penalty_of_the_paper() -> None:
    fit = FITS["flex:channel"](False)
    at = np.random.default_rng(3).normal(size=len(fit.tied))
    sums = fit.pool(at).arrays["positions"].astype(np.float64).sum(axis=(1, 2))
    assert fit.penalty(at)[0] == pytest.approx(((sums - 1) ** 2).sum(), rel=1e-5)
    softmax = FITS["flex:softmax"](False).pool(at).arrays["positions"]
    np.testing.assert_allclose(softmax.sum(axis=(1, 2)), 1.0, rtol=1e-6)


@pytest.mark.parametrize("aggregator", ["mean", "max", "topk=0.4", "topk=2", "lse=3", "softmax_weighted=2"])
def test_scores_of_what_has_a_slope_are_the_aggregators(aggregator: str) -> None:
    name, _, value = aggregator.partition("=")
    kind = Aggregator(name, float(value) if value else None)
    cells = np.random.default_rng(4).normal(size=(5, 3, 7))
    score, slopes = score_and_slope(kind, cells)
    np.testing.assert_allclose(score, kind(cells, cell_axes=1), rtol=1e-12)
    step = 1e-6 * np.random.default_rng(6).normal(size=cells.shape)
    moved = kind(cells + step, cell_axes=1) - kind(cells - step, cell_axes=1)
    np.testing.assert_allclose(moved, 2 * (slopes * step).sum(axis=-1), rtol=1e-5, atol=1e-10)


# --- solving --------------------------------------------------------------------------------------------------------


def test_a_calibration_finds_the_temperature_and_biases_that_made_the_labels() -> None:
    rng = np.random.default_rng(7)
    logits = 4 * rng.normal(size=(6000, 5))
    true = 0.5 * logits + np.array([1.0, 0.0, -0.5, -0.5, 0.0])
    p = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    truth = p.cumsum(axis=1) > rng.random((6000, 1))
    truth &= truth.cumsum(axis=1) == 1
    likelihood = Likelihood(truth, False, np.ones(5, dtype=np.bool_))
    rows = np.arange(6000)
    fit = Calibration(logits.astype(np.float32), Aggregator("mean"), Biases.of(likelihood, rows), len(rows))
    found = solve(fit, likelihood, rows, 0.0)
    assert found.converged
    assert fit.scale(found.values) == pytest.approx(0.5, rel=0.05)
    np.testing.assert_allclose(fit.bias(found.values), [1.0, 0.0, -0.5, -0.5, 0.0], atol=0.12)
    assert np.abs(objective(fit, likelihood, rows, 0.0)(found.values)[1]).max() < 1e-5


def test_images_without_an_error_do_not_make_a_calibration_sure() -> None:
    truth = np.eye(3, dtype=np.bool_)[np.arange(12) % 3]
    likelihood = Likelihood(truth, False, np.ones(3, dtype=np.bool_))
    rows = np.arange(12)
    fit = Calibration(truth.astype(np.float32), Aggregator("mean"), Biases.of(likelihood, rows), 12)
    found = solve(fit, likelihood, rows, 0.01)
    assert found.converged
    assert 3 < fit.scale(found.values) < 12


def test_parts_of_the_images_are_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, at = FITS["flex"](False), np.full(H * W, 0.1)
    whole = objective(fit, labels(False), ROWS, 0.1)(at)
    monkeypatch.setattr("onnx_gapmil.fitting.pooling.solving._CHUNK", 5 * fit.width)
    assert [len(part) for part in parts_of(fit, ROWS)] == [5, 5, 5, 5, 4]
    parted = objective(fit, labels(False), ROWS, 0.1)(at)
    assert parted[0] == pytest.approx(whole[0], rel=1e-12)
    np.testing.assert_allclose(parted[1], whole[1], rtol=1e-10)


def test_the_ridge_is_strong_where_no_position_tells_the_label_and_weak_where_one_does() -> None:
    rng = np.random.default_rng(8)
    grids = rng.normal(size=(400, 3, 6)).astype(np.float32)
    rows, folds = np.arange(400), np.arange(400) % 4

    def ridge_of(best: np.ndarray) -> float:
        truth = np.eye(3, dtype=np.bool_)[best]
        likelihood = Likelihood(truth, False, np.ones(3, dtype=np.bool_))
        bias = np.zeros(3)
        return tuned(
            lambda seen: Flex(grids, (2, 3), seen, scale=3.0, bias=bias, alone=False), likelihood, rows, folds
        )[0]

    p = np.exp(3 * grids.mean(axis=2))
    p = p.cumsum(axis=1) / p.sum(axis=1, keepdims=True)
    assert ridge_of((p < rng.random((400, 1))).sum(axis=1)) >= 1.0
    assert ridge_of(grids[:, :, 0].argmax(axis=1)) <= 0.01


# --- biases ---------------------------------------------------------------------------------------------------------


def test_classes_without_images_keep_their_bias_and_those_with_gain_nothing_on_them() -> None:
    biases = Biases.of(labels(False), ROWS)
    assert biases.classes.tolist() == [0, 1, 2]
    spread = biases.spread(np.array([1.0, 2.0, 6.0]))
    assert spread.tolist() == [-2.0, -1.0, 3.0, 0.0]
    alone = Biases.of(labels(True), ROWS)
    assert alone.spread(np.array([0.5, 1.0, 2.0, 6.0])).tolist() == [1.5, 2.5, 6.5, 0.0]
    assert alone.tied.tolist() == [0.0, 1.0, 1.0, 1.0]


def test_of_sigmoids_a_class_that_labels_every_image_has_no_bias() -> None:
    truth = np.array([[True, True, False], [True, False, False]])
    biases = Biases.of(Likelihood(truth, True, np.ones(3, dtype=np.bool_)), np.arange(2))
    assert biases.classes.tolist() == [1]
