"""Reliance on background, and the closed form of the random box against boxes that are really drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.background import (
    background_reliance,
    centred_overlap,
    evidence,
    random_overlap,
)
from onnx_gapmil.metrics.overlap import cell_overlap

SQUARE = Geometry.plan((100, 100), (100, 100), "squash")
NOTHING_WON = np.zeros(4, bool)
HERE = np.array([True, False, False, False])


def test_evidence_is_what_stands_above_the_mean_of_the_classes():
    cells = np.array([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0], [9.0, 3.0, 0.0]])
    assert evidence(cells, 2).tolist() == [3.0, 0.0, 0.0]
    assert evidence(cells, 0).tolist() == [0.0, 0.0, 5.0]


@given(st.integers(0, 2**32 - 1))
def test_a_constant_added_to_all_logits_of_a_cell_changes_no_evidence(seed):
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(9, 4))
    moved = cells + rng.normal(size=(9, 1)) * 100
    np.testing.assert_allclose(evidence(moved, 1), evidence(cells, 1), atol=1e-10)


def test_share_weighs_cells_by_their_area_outside():
    cover = np.array([[1.0, 0.25], [0.0, 0.0]])
    found = background_reliance(np.array([3.0, 4.0, 1.0, 0.0]), NOTHING_WON, cover, HERE, SQUARE)
    assert found.share == pytest.approx((4 * 0.75 + 1) / 8)


def test_centred_box_of_the_same_area():
    cover = cell_overlap([(0.0, 0.0, 50.0, 50.0)], SQUARE, (4, 4))  # a quarter: the centred box is cells 1..2 of both
    speaking = np.arange(16.0)
    found = background_reliance(speaking, np.zeros(16, bool), cover, cover.ravel() > 0, SQUARE)
    assert found.centred == pytest.approx(1 - (5 + 6 + 9 + 10) / speaking.sum())
    assert found.share == pytest.approx(1 - (0 + 1 + 4 + 5) / speaking.sum())


def test_without_evidence_there_is_no_share():
    found = background_reliance(np.zeros(4), NOTHING_WON, np.ones((2, 2)), HERE, SQUARE)
    assert (found.share, found.centred, found.random) == (None, None, None)


def test_an_object_that_fills_the_window_leaves_nothing_outside():
    found = background_reliance(np.ones(4), NOTHING_WON, np.ones((2, 2)), np.ones(4, bool), SQUARE)
    assert (found.share, found.centred, found.random) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("won", "expected"),
    [
        ([False, True, True, False], True),
        ([True, True, False, False], False),
        ([False] * 4, False),
        ([True, False, False, False], False),
    ],
)
def test_only_background_wins(won, expected):
    found = background_reliance(np.ones(4), np.array(won), np.ones((2, 2)) / 4, HERE, SQUARE)
    assert found.only_background is expected


edges_in_unit = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(lambda v: np.array([0.0, *sorted(v), 1.0]))


@given(edges_in_unit, st.floats(0.0, 1.0))
def test_expected_overlap_is_the_mean_over_evenly_spread_boxes(edges, side):
    starts = (np.arange(4000) + 0.5) / 4000 * (1 - side)
    low, high = np.maximum(edges[:-1, None], starts), np.minimum(edges[1:, None], starts + side)
    expected = np.clip(high - low, 0, None).mean(axis=1)
    np.testing.assert_allclose(random_overlap(edges, side), expected, atol=1e-6)


@given(edges_in_unit, st.floats(0.0, 1.0))
def test_any_box_covers_its_side_in_all(edges, side):
    assert random_overlap(edges, side).sum() == pytest.approx(side, abs=1e-6)
    assert centred_overlap(edges, side).sum() == pytest.approx(side, abs=1e-12)


def test_random_box_in_two_dimensions_is_the_mean_over_drawn_boxes():
    rng = np.random.default_rng(7)
    geometry = Geometry.plan((60, 90), (100, 100), "letterbox")  # padding above and below
    speaking = rng.random(25)
    cover = cell_overlap([(10.0, 5.0, 50.0, 40.0)], geometry, (5, 5))
    found = background_reliance(speaking, np.zeros(25, bool), cover, cover.ravel() >= 0.5, geometry)
    side = np.sqrt(40 * 35 / (60 * 90))
    shares = []
    for _ in range(4000):
        x, y = rng.random(2) * (1 - side) * (90, 60)
        inside = cell_overlap([(x, y, x + side * 90, y + side * 60)], geometry, (5, 5)).ravel()
        shares.append(1 - (speaking * inside).sum() / speaking.sum())
    assert found.random == pytest.approx(np.mean(shares), abs=4 * np.std(shares) / np.sqrt(4000))
    inside = cell_overlap([(45 - side * 45, 30 - side * 30, 45 + side * 45, 30 + side * 30)], geometry, (5, 5)).ravel()
    assert found.centred == pytest.approx(1 - (speaking * inside).sum() / speaking.sum())
