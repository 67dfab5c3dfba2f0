import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images.geometry import MAX_RESIZED_PIXELS, RESIZE_RULES, Geometry
from onnx_gapmil.images.places import AxisPlaces

sides = st.integers(1, 3000)
inputs = st.integers(1, 400)
rules = st.sampled_from(RESIZE_RULES)
crops = st.floats(0.3, 1.0)


def plan(height, width, in_height, in_width, rule, crop):
    try:
        return Geometry.plan((height, width), (in_height, in_width), rule, crop)
    except ImageError:
        assume(False)


@pytest.mark.parametrize(
    ("image", "size", "crop", "resized", "offset"),
    [
        # torchvision: Resize(256) -> int(256 * long / short), CenterCrop(224) -> round((side - 224) / 2)
        ((480, 640), (224, 224), 0.875, (256, 341), (16, 58)),  # (341 - 224) / 2 = 58.5 -> 58
        ((640, 480), (224, 224), 0.875, (341, 256), (58, 16)),
        ((500, 500), (224, 224), 0.875, (256, 256), (16, 16)),
        ((375, 500), (224, 224), 0.9, (248, 330), (12, 53)),  # timm: floor(224 / 0.9) = 248
        ((100, 300), (224, 224), 1.0, (224, 672), (0, 224)),
        ((333, 500), (299, 299), 0.8975, (333, 500), (17, 100)),  # 100.5 -> 100, halves to even
    ],
)
def test_shortest_is_torchvisions_resize_and_centre_crop(image, size, crop, resized, offset):
    geometry = Geometry.plan(image, size, "shortest", crop)
    assert (geometry.resized_size, geometry.offset) == (resized, offset)


def test_shortest_for_a_wide_input_covers_it():
    assert Geometry.plan((400, 400), (100, 200), "shortest").resized_size == (200, 200)
    assert Geometry.plan((400, 400), (100, 200), "shortest").offset == (50, 0)


def test_letterbox_fits_and_pads_evenly():
    geometry = Geometry.plan((100, 401), (200, 200), "letterbox")
    assert geometry.resized_size == (50, 200)
    assert geometry.offset == (-75, 0)
    assert geometry.photo_region == (0, 75, 200, 125)
    assert geometry.cell_rectangle(0, 0, (1, 1)) == (0.0, 0.0, 401.0, 100.0)


def test_odd_padding_goes_to_the_bottom_as_in_torchvision():
    assert Geometry.plan((10, 20), (21, 20), "letterbox").offset == (-5, 0)


def test_cells_of_a_squashed_photo_are_its_equal_parts():
    geometry = Geometry.plan((300, 700), (224, 224), "squash")
    assert geometry.cell_rectangle(2, 6, (7, 7)) == pytest.approx((600, 600 / 7, 700, 900 / 7))


def test_cells_of_a_centre_crop_start_at_the_crop():
    geometry = Geometry.plan((256, 512), (224, 224), "shortest", 0.875)
    assert geometry.cell_rectangle(0, 0, (1, 1)) == (144, 16, 368, 240)
    assert geometry.cell_rectangle(0, 0, (7, 7)) == (144, 16, 176, 48)


def test_a_cell_in_the_padding_has_no_area_and_one_half_in_it_is_clipped():
    geometry = Geometry.plan((100, 200), (100, 100), "letterbox")  # the photo lies in rows 25..75
    assert geometry.cell_rectangle(0, 0, (10, 10)) == (0, 0, 20, 0)
    assert geometry.cell_rectangle(2, 0, (10, 10)) == (0, 0, 20, 10)


@pytest.mark.parametrize("cell", [(-1, 0), (0, -1), (3, 0), (0, 2)])
def test_a_cell_outside_the_grid_is_an_error(cell):
    with pytest.raises(IndexError):
        Geometry.plan((9, 9), (9, 9), "squash").cell_rectangle(*cell, (3, 2))


def test_a_thread_of_an_image_is_refused_before_memory_is_taken():
    with pytest.raises(ImageError, match="too long and thin"):
        Geometry.plan((1, 100_000), (224, 224), "shortest", 0.875)


@given(sides, sides, inputs, inputs, rules, crops, st.floats(-50, 450), st.floats(-50, 450))
def test_to_input_undoes_to_image(height, width, in_height, in_width, rule, crop, x, y):
    geometry = plan(height, width, in_height, in_width, rule, crop)
    assert geometry.to_input(*geometry.to_image(x, y)) == pytest.approx((x, y), abs=1e-6)


@given(sides, sides, inputs, inputs, rules, crops, st.integers(1, 60), st.integers(1, 60))
def test_cells_tile_the_region_that_the_network_sees(height, width, in_height, in_width, rule, crop, rows, cols):
    geometry = plan(height, width, in_height, in_width, rule, crop)
    x0, y0, x1, y1 = geometry.cell_rectangle(0, 0, (1, 1))
    across = [geometry.cell_rectangle(0, col, (rows, cols)) for col in range(cols)]
    down = [geometry.cell_rectangle(row, 0, (rows, cols)) for row in range(rows)]
    assert (across[0][0], across[-1][2]) == pytest.approx((x0, x1))
    assert (down[0][1], down[-1][3]) == pytest.approx((y0, y1))
    assert [box[2] for box in across[:-1]] == [box[0] for box in across[1:]]  # exactly, no seams
    assert [box[3] for box in down[:-1]] == [box[1] for box in down[1:]]
    assert all(box[0] <= box[2] for box in across)
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height


@given(sides, sides, inputs, inputs, crops)
def test_shortest_leaves_no_padding_and_letterbox_at_full_crop_no_loss(height, width, in_height, in_width, crop):
    covered = plan(height, width, in_height, in_width, "shortest", crop)
    assert covered.resized_size[0] >= in_height
    assert covered.resized_size[1] >= in_width
    assert covered.resized_size[0] * covered.resized_size[1] <= MAX_RESIZED_PIXELS
    fitted = plan(height, width, in_height, in_width, "letterbox", 1.0)
    assert fitted.cell_rectangle(0, 0, (1, 1)) == pytest.approx((0, 0, width, height))


def test_a_grid_that_divides_the_whole_input_has_the_geometry_itself():
    geometry = plan(300, 400, 224, 224, "shortest", 0.875)
    axis = AxisPlaces.tiling(7, 224)
    assert axis == AxisPlaces(16.0, 32.0)
    assert geometry.of_grid(axis, axis, (7, 7)) is geometry


def test_a_grid_of_the_middle_lies_in_the_middle_of_the_photo():
    """4 x 4 cells of 8 pixels in the middle of an input of 48, which shows a photo twice as large."""
    geometry = plan(96, 96, 48, 48, "squash", 1.0)
    axis = AxisPlaces(12.0, 8.0)
    cells = geometry.of_grid(axis, axis, (4, 4))
    assert cells.cell_rectangle(0, 0, (4, 4)) == (16, 16, 32, 32)
    assert cells.cell_rectangle(3, 1, (4, 4)) == (32, 64, 48, 80)
    assert geometry.cell_rectangle(0, 0, (4, 4)) == (0, 0, 24, 24)


@given(sides, sides, inputs, inputs, rules, crops, st.integers(1, 20), st.floats(-30, 60), st.floats(0.5, 40))
def test_a_cell_is_a_step_wide_around_its_place(height, width, in_height, in_width, rule, crop, count, first, step):
    geometry = plan(height, width, in_height, in_width, rule, crop)
    rows, columns = AxisPlaces(first, step), AxisPlaces(-first, 2 * step)
    cells = geometry.of_grid(rows, columns, (count, count))
    for place in (0, count - 1):
        x0, y0, x1, y1 = cells.cell_rectangle(place, place, (count, count))
        left, top = geometry.to_image(columns.centre(place) - step, rows.centre(place) - step / 2)
        right, bottom = geometry.to_image(columns.centre(place) + step, rows.centre(place) + step / 2)
        assert (x0, x1) == pytest.approx((np.clip(left, 0, width), np.clip(right, 0, width)), abs=1e-3)
        assert (y0, y1) == pytest.approx((np.clip(top, 0, height), np.clip(bottom, 0, height)), abs=1e-3)
