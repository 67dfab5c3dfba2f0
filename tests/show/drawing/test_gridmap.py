import numpy as np
import pytest

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
    assert not centre.all_seen
    faded = centre.faded_photo()
    assert (faded[:, 20:100] == 100).all()
    assert faded[:, :20].min() > 200
    assert faded[:, 100:].min() > 200


def test_cells_in_the_letterbox_padding_are_not_on_the_photo():
    fitted = panel(rule="letterbox", network=(60, 60), grid=(6, 6))  # rows 10..50 of 60 show the photo
    assert fitted.all_seen
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


def test_a_tint_covers_its_cell_by_its_strength_and_nothing_else():
    colors = np.zeros((2, 3, 3))
    colors[..., 0] = 200
    strength = np.array([[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]])
    drawn = panel().tinted(colors, strength, None)
    ground = 90 + 100 * 160 / 255
    expected = [[ground, ground, ground], [(ground + 200) / 2, ground / 2, ground / 2], [200, 0, 0]]
    for column, color in enumerate(expected):
        cell = drawn[:40, 40 * column : 40 * column + 40]
        assert (np.abs(cell.astype(float) - color) <= 1).all()
    assert (np.abs(drawn[40:].astype(float) - ground) <= 1).all()


@pytest.mark.parametrize("grid", [(2, 3), (7, 7), (40, 40)])
@pytest.mark.parametrize("rule", ["squash", "shortest", "letterbox"])
def test_each_pixel_is_tinted_by_the_formula_however_large_its_cell(grid, rule):
    rng = np.random.default_rng(4)
    geometry = Geometry.plan((90, 140), (56, 56), rule)
    drawn = Panel(rng.integers(0, 256, (90, 140, 3), dtype=np.uint8), geometry, grid, (180, 280))
    colours, strength = rng.integers(0, 256, (*grid, 3)), rng.random(grid)
    found = drawn.tinted(colours, strength, None)
    cells = drawn.spread(np.arange(grid[0] * grid[1]).reshape(grid))
    rows, columns = np.nonzero(drawn.seen)
    for row, column in zip(rows[::97], columns[::97], strict=True):
        cell = np.unravel_index(cells[row - rows[0], column - columns.min()], grid)
        covered = np.float32(colours[cell] * strength[cell] + 0.5)
        expected = np.float32(drawn.grey[row, column]) * np.float32(1 - strength[cell]) + covered
        assert found[row, column].tolist() == expected.astype(np.uint8).tolist()


def test_lines_stand_between_large_cells_and_not_between_small_ones():
    """A fine grid would be all lines."""
    values = np.arange(6).reshape(2, 3)
    nothing, tint = np.zeros((2, 3, 3)), np.zeros((2, 3))
    assert (panel().tinted(nothing, tint, values)[:, 40] == 255).all()
    fine = panel(grid=(8, 12))  # cells of 10 pixels
    drawn = fine.tinted(np.zeros((8, 12, 3)), np.zeros((8, 12)), np.arange(96).reshape(8, 12))
    assert (drawn == drawn[0, 0]).all()


def test_a_huge_photo_is_reduced_as_its_whole_would_be():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    photo = np.kron(coarse, np.ones((250, 250, 1), dtype=np.uint8))  # 3000 x 4000
    geometry = Geometry.plan((3000, 4000), (20, 20), "squash", 1.0)
    small = Panel(photo, geometry, (2, 2), (48, 64)).photo
    middles = small.reshape(12, 4, 16, 4, 3)[:, 1:3, :, 1:3]
    assert (np.abs(middles.mean((1, 3)) - coarse) <= 1).all()
