from __future__ import annotations

import numpy as np

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.overlap import cell_overlap
from onnx_gapmil.metrics.pointing import best_cells, centre_in_boxes, centre_in_mask, touches

GEOMETRY = Geometry.plan((100, 200), (50, 50), "squash")


def test_a_cell_touches_by_any_area_and_not_by_an_edge():
    cover = cell_overlap([(0.0, 0.0, 100.5, 50.0)], GEOMETRY, (2, 2))
    assert [touches(np.array([cell]), cover) for cell in range(4)] == [True, True, False, False]


def test_of_equal_best_cells_all_must_touch():
    cover = cell_overlap([(0.0, 0.0, 200.0, 50.0)], GEOMETRY, (2, 2))
    cells = np.array([[3.0, 3.0], [3.0, 1.0], [0.0, 3.0], [1.0, 2.0]])
    assert best_cells(cells, 0).tolist() == [0, 1]
    assert touches(best_cells(cells, 0), cover)
    assert best_cells(cells, 1).tolist() == [0, 2]
    assert not touches(best_cells(cells, 1), cover)


def test_centre_of_the_photo():
    assert centre_in_boxes(((0.0, 0.0, 10.0, 10.0), (100.0, 50.0, 120.0, 90.0)), GEOMETRY)
    assert not centre_in_boxes(((0.0, 0.0, 99.0, 100.0),), GEOMETRY)
    assert not centre_in_boxes((), GEOMETRY)
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    assert centre_in_mask(mask)
    assert not centre_in_mask(~mask)
