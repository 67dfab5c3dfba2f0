from __future__ import annotations

import numpy as np

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.overlap import cell_overlap
from onnx_gapmil.metrics.pointing import best_cell, centre_in_boxes, centre_in_mask, touches

GEOMETRY = Geometry.plan((100, 200), (50, 50), "squash")


def test_best_cell_is_the_first_of_equal_ones():
    cells = np.array([[0.0, 3.0], [9.0, 1.0], [1.0, 3.0]])
    assert best_cell(cells, 1) == 0
    assert best_cell(cells, 0) == 1


def test_a_cell_touches_by_any_area_and_not_by_an_edge():
    cover = cell_overlap([(0.0, 0.0, 100.5, 50.0)], GEOMETRY, (2, 2))
    assert [touches(cell, cover) for cell in range(4)] == [True, True, False, False]


def test_centre_of_the_photo():
    assert centre_in_boxes(((0.0, 0.0, 10.0, 10.0), (100.0, 50.0, 120.0, 90.0)), GEOMETRY)
    assert not centre_in_boxes(((0.0, 0.0, 99.0, 100.0),), GEOMETRY)
    assert not centre_in_boxes((), GEOMETRY)
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    assert centre_in_mask(mask)
    assert not centre_in_mask(~mask)
