import numpy as np

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.show.drawing.gridmap import Panel, borders, regions


def panel(photo=(40, 60), network=(20, 20), rule="squash", crop=1.0, grid=(2, 3), size=(80, 120)):
    geometry = Geometry.plan(photo, network, rule, crop)
    return Panel(np.full((*photo, 3), 100, dtype=np.uint8), geometry, grid, size)


def test_every_pixel_takes_the_value_of_its_cell():
    cells = np.arange(6).reshape(2, 3)
    assert np.array_equal(panel().spread(cells), np.kron(cells, np.ones((40, 40), dtype=int)))


def test_what_is_cropped_off_is_not_seen_and_is_dimmed():
    centre = panel(rule="shortest")  # 40x60 -> the middle 40x40
    assert centre.seen[:, 20:100].all()
    assert not centre.seen[:, :20].any()
    assert not centre.seen[:, 100:].any()
    dimmed = centre.dimmed(np.zeros((80, 120, 3), dtype=np.uint8))
    assert dimmed[:, :20].min() > 150
    assert dimmed[:, 20:100].max() == 0


def test_cells_in_the_letterbox_padding_are_not_on_the_photo():
    fitted = panel(rule="letterbox", network=(60, 60), grid=(6, 6))  # rows 10..50 of 60 show the photo
    assert fitted.seen.all()
    assert sorted(set(fitted.spread(np.arange(36).reshape(6, 6))[:, 0].tolist())) == [6, 12, 18, 24]


def test_rectangles_agree_with_the_spread():
    cells = np.arange(6).reshape(2, 3)
    x0, y0, x1, y1 = panel().rectangle((1, 2), (1, 3))
    spread = panel().spread(cells)
    assert (x0, y0, x1, y1) == (40, 40, 120, 80)
    assert set(np.unique(spread[int(y0) : int(y1), int(x0) : int(x1)])) == {4, 5}


def test_regions_touch_by_edges_and_the_largest_is_first():
    found = regions(np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]]))
    assert [(r.value, r.cells, r.rows, r.cols) for r in found] == [
        (0, 4, (1, 3), (0, 3)),
        (1, 3, (0, 2), (0, 2)),
        (0, 1, (0, 1), (1, 2)),
        (1, 1, (0, 1), (2, 3)),
    ]


def test_borders_are_between_different_values_only():
    values = np.array([[0, 0, 1], [0, 0, 1]])
    assert borders(values, 1).tolist() == [[False, False, True], [False, False, True]]
    assert not borders(np.zeros((3, 3)), 2).any()
