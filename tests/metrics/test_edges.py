from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.edges import edge_artefacts, photo_share, ring

SQUARE = Geometry.plan((100, 100), (70, 70), "squash")


def test_ring_of_seven_by_seven_has_24_cells():
    assert ring((7, 7)).sum() == 24
    assert ring((3, 4)).tolist() == [[True] * 4, [True, False, False, True], [True] * 4]


def test_shares_of_the_ring():
    inner = np.zeros((4, 4))
    inner[1, 1] = 1.0
    won = np.zeros((4, 4), bool)
    won[0, 0] = won[1, 2] = won[2, 2] = won[2, 1] = True
    speaking = inner * 3 + ring((4, 4))  # 3 inside, 12 in the ring
    found = edge_artefacts(speaking.ravel(), won.ravel(), inner.ravel(), 5, (4, 4), SQUARE)
    assert found is not None
    assert asdict(found) == {
        "ring_cells": 0.75,
        "evidence": 0.8,
        "winners": 0.25,
        "energy": 0.0,
        "best_cell": False,
        "padding": None,
    }


def test_what_is_not_there_is_none():
    zeros = np.zeros(16)
    found = edge_artefacts(zeros, zeros > 0, zeros, 0, (4, 4), SQUARE)
    assert found is not None
    assert (found.evidence, found.winners, found.energy, found.best_cell) == (None, None, None, True)
    assert edge_artefacts(zeros, zeros > 0, zeros, 0, (2, 8), SQUARE) is None


def test_evidence_in_padding():
    geometry = Geometry.plan((50, 100), (100, 100), "letterbox")  # the photo lies in rows 25..75
    np.testing.assert_allclose(photo_share(geometry, (4, 2)), [[0, 0], [1, 1], [1, 1], [0, 0]])
    np.testing.assert_allclose(photo_share(geometry, (5, 1)).ravel(), [0, 0.75, 1, 0.75, 0])
    speaking = np.repeat([1.0, 4.0, 4.0, 4.0, 1.0], 3)
    found = edge_artefacts(speaking, speaking > 0, speaking, 0, (5, 3), geometry)
    assert found is not None
    assert found.padding == pytest.approx((1 + 1 + 1 + 1) / 14)
