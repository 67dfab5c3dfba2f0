"""A photo under a class's map: which pixels are tinted, and how strongly."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.show.drawing.overlay import overlay

#: (rows, columns) of logits: the highest is the last cell.
CELLS = np.array([[-4.0, 0.0, 1.0], [2.0, 3.0, 6.0]], np.float32)
GREY = np.full((40, 60, 3), 120, np.uint8)


def tint(drawn: np.ndarray) -> np.ndarray:
    """How far each pixel is from grey."""
    return np.ptp(drawn.astype(int), axis=2)


def test_each_cell_is_one_colour_and_the_order_of_the_logits_is_the_order_of_brightness() -> None:
    drawn = overlay(GREY, Geometry.plan((40, 60), (20, 30), "squash"), CELLS)
    assert (drawn.shape, drawn.dtype) == ((40, 60, 3), np.uint8)
    blocks = drawn.reshape(2, 20, 3, 20, 3).transpose(0, 2, 1, 3, 4).reshape(6, 400, 3)
    assert all((block == block[0]).all() for block in blocks)
    luma = [float(block[0] @ [0.2126, 0.7152, 0.0722]) for block in blocks]
    assert np.argsort(luma).tolist() == np.argsort(CELLS.ravel()).tolist()


def test_only_the_order_and_the_spread_of_the_logits_count() -> None:
    geometry = Geometry.plan((40, 60), (20, 30), "squash")
    np.testing.assert_array_equal(overlay(GREY, geometry, CELLS), overlay(GREY, geometry, 8 * CELLS + 4))
    assert (overlay(GREY, geometry, CELLS) != overlay(GREY, geometry, -CELLS)).any()


def test_a_class_that_is_everywhere_alike_tints_everything_alike() -> None:
    drawn = overlay(GREY, Geometry.plan((40, 60), (20, 30), "squash"), np.full((2, 3), 7.0))
    assert (drawn == drawn[0, 0]).all()


def test_what_is_cropped_off_has_no_tint_and_is_faded() -> None:
    drawn = overlay(GREY, Geometry.plan((40, 60), (20, 20), "shortest"), CELLS[:, :2])
    outside = np.concatenate([drawn[:, :10], drawn[:, 50:]], axis=1)
    assert tint(outside).max() == 0
    assert outside.min() > GREY[0, 0, 0]
    assert tint(drawn[:, 10:50]).min() > 0


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (300, 200)])
def test_the_picture_has_the_photos_own_size(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert overlay(photo, Geometry.plan(size, (32, 32), "squash"), CELLS).shape == photo.shape
