"""Cover of cells against a rasterised photo and against counting pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.errors import InputError
from onnx_gapmil.images.geometry import RESIZE_RULES, Geometry
from onnx_gapmil.metrics.overlap import (
    cell_areas,
    cell_edges,
    cell_overlap,
    cell_overlap_of_mask,
    cell_overlaps,
    foreground_cells,
)

SQUARE = Geometry.plan((70, 140), (28, 28), "squash")

geometries = st.builds(
    Geometry.plan,
    st.tuples(st.integers(4, 60), st.integers(4, 60)),
    st.tuples(st.integers(6, 40), st.integers(6, 40)),
    st.sampled_from(RESIZE_RULES),
    st.sampled_from([0.6, 0.875, 1.0]),
)
grids = st.tuples(st.integers(1, 6), st.integers(1, 6))
# Sides beyond the photo are meant: boxes may stick out.
boxes_in_pixels = st.lists(
    st.tuples(st.integers(-5, 50), st.integers(-5, 50), st.integers(0, 40), st.integers(0, 40)).map(
        lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
    ),
    max_size=5,
)


def paint(boxes: list[tuple[float, float, float, float]], size: tuple[int, int]) -> np.ndarray:
    """Boxes with whole-number sides as a mask: each pixel is wholly in or out."""
    mask = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask[max(0, int(y0)) : max(0, int(y1)), max(0, int(x0)) : max(0, int(x1))] = True
    return mask


def slow_cover(mask: np.ndarray, geometry: Geometry, shape: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel: the area of its overlap with each cell's rectangle, which `Geometry` gives."""
    result = np.zeros(shape)
    ys, xs = np.nonzero(mask)
    for row in range(shape[0]):
        for col in range(shape[1]):
            x0, y0, x1, y1 = geometry.cell_rectangle(row, col, shape)
            across = np.clip(np.minimum(xs + 1, x1) - np.maximum(xs, x0), 0, None)
            down = np.clip(np.minimum(ys + 1, y1) - np.maximum(ys, y0), 0, None)
            area = (x1 - x0) * (y1 - y0)
            result[row, col] = (across * down).sum() / area if area > 0 else 0.0
    return result


@given(geometries, grids)
def test_edges_are_those_of_the_cell_rectangles(geometry, shape):
    x, y = cell_edges(geometry, shape)
    areas = cell_areas(geometry, shape)
    for row in range(shape[0]):
        for col in range(shape[1]):
            x0, y0, x1, y1 = geometry.cell_rectangle(row, col, shape)
            assert (x[col], y[row], x[col + 1], y[row + 1]) == pytest.approx((x0, y0, x1, y1), abs=1e-9)
            assert areas[row, col] == pytest.approx((x1 - x0) * (y1 - y0), abs=1e-7)


@given(geometries, grids, boxes_in_pixels)
def test_cover_of_boxes_is_that_of_their_painted_union(geometry, shape, boxes):
    expected = slow_cover(paint(boxes, geometry.image_size), geometry, shape)
    np.testing.assert_allclose(cell_overlap(boxes, geometry, shape), expected, atol=1e-9)


@given(geometries, grids, boxes_in_pixels)
def test_cover_of_a_mask_is_counted_in_parts_of_pixels(geometry, shape, boxes):
    mask = paint(boxes, geometry.image_size)
    expected = slow_cover(mask, geometry, shape)
    np.testing.assert_allclose(cell_overlap_of_mask(mask, geometry, shape), expected, atol=1e-9)


@given(geometries, grids, st.integers(0, 2**32 - 1))
def test_cover_of_any_mask(geometry, shape, seed):
    mask = np.random.default_rng(seed).random(geometry.image_size) < 0.4
    expected = slow_cover(mask, geometry, shape)
    np.testing.assert_allclose(cell_overlap_of_mask(mask, geometry, shape), expected, atol=1e-9)


@given(geometries, grids, boxes_in_pixels)
def test_each_box_by_itself(geometry, shape, boxes):
    covers = cell_overlaps(boxes, geometry, shape)
    assert covers.shape == (len(boxes), *shape)
    for box, cover in zip(boxes, covers, strict=True):
        np.testing.assert_allclose(cover, slow_cover(paint([box], geometry.image_size), geometry, shape), atol=1e-9)


def test_overlapping_boxes_count_once():
    same = [(0.0, 0.0, 35.0, 35.0)] * 3
    assert cell_overlap(same, SQUARE, (2, 2))[0, 0] == 0.5
    two = [(0.0, 0.0, 70.0, 20.0), (0.0, 10.0, 35.0, 35.0)]  # 1400 + 875 - 350 of 2450 square pixels
    assert cell_overlap(two, SQUARE, (2, 2))[0, 0] == pytest.approx(1925 / 2450)


def test_boxes_with_parts_of_pixels():
    np.testing.assert_allclose(cell_overlap([(17.5, 8.75, 70.0, 35.0)], SQUARE, (2, 2)), [[0.75 * 0.75, 0], [0, 0]])


def test_padding_has_no_cover_and_a_cell_half_in_it_counts_its_photo_alone():
    geometry = Geometry.plan((100, 200), (100, 100), "letterbox")  # the photo lies in rows 25..75
    whole = [(0.0, 0.0, 200.0, 100.0)]
    expected = np.zeros((10, 10))
    expected[2:8] = 1.0
    np.testing.assert_array_equal(cell_overlap(whole, geometry, (10, 10)), expected)
    np.testing.assert_array_equal(cell_overlap_of_mask(np.ones((100, 200), bool), geometry, (10, 10)), expected)


def test_foreground_is_half_of_the_cell():
    cover = np.array([[0.5, 0.4999], [1.0, 0.0]])
    np.testing.assert_array_equal(foreground_cells(cover), [[True, False], [True, False]])


def test_a_cell_that_is_just_half_inside_counts_in_spite_of_rounding():
    for cells in range(1, 40):
        geometry = Geometry.plan((333, 333), (224, 224), "squash")
        half = [(0.0, 0.0, 333 * 0.5 / cells, 333.0)]
        chosen = foreground_cells(cell_overlap(half, geometry, (cells, cells)))
        assert chosen is not None
        assert chosen[:, 0].all()


def test_without_half_a_cell_the_one_of_most_overlap_is_foreground():
    cover = np.array([[0.1, 0.3], [0.3, 0.2]])
    np.testing.assert_array_equal(foreground_cells(cover), [[False, True], [False, False]])


def test_an_object_that_the_crop_cut_away_has_no_foreground():
    geometry = Geometry.plan((100, 300), (50, 50), "shortest")  # sees columns 100..200
    assert foreground_cells(cell_overlap([(0.0, 0.0, 100.0, 100.0)], geometry, (5, 5))) is None
    assert foreground_cells(cell_overlap([], geometry, (5, 5))) is None


def test_a_mask_of_another_size_is_an_error():
    with pytest.raises(InputError, match=r"mask has 30 x 20 pixels and its image has 140 x 70"):
        cell_overlap_of_mask(np.zeros((20, 30), bool), SQUARE, (2, 2))
