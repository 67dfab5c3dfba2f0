"""What a page keeps of a grid, read back in NumPy, and what it may take."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.aggregate.reading import ONE_OF_MANY, Reading
from onnx_gapmil.prediction.page.encoding import ShortGrid, kept_classes, photo_address, short_grid


def read_back(made: ShortGrid) -> np.ndarray:
    """(classes, cells), as the page's script reads them."""
    levels = np.frombuffer(base64.b64decode(made.levels), "<u2").astype(np.float64)
    low, step = (np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64) for text in (made.low, made.step))
    values = low[:, None] + step[:, None] * levels.reshape(len(low), -1)
    return np.where(levels.reshape(values.shape) == 65535, np.nan, values)


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 60.0, 1e5])
def test_cells_come_back_within_the_error_that_is_told(scale: float) -> None:
    grid = scale * np.random.default_rng(0).normal(size=(20, 6, 7))
    logits = grid.mean(axis=(1, 2))
    made = short_grid(grid, logits, ONE_OF_MANY)
    off = np.abs(read_back(made) - grid.reshape(20, -1))
    assert off.max() == pytest.approx(made.error, rel=1e-6)
    assert made.error <= np.ptp(grid, axis=(1, 2)).max() / 65534
    np.testing.assert_array_equal(floats(made.logits), logits.astype(np.float32))
    top = grid.max(axis=0)
    np.testing.assert_allclose(floats(made.lse).reshape(6, 7), top + np.log(np.exp(grid - top).sum(axis=0)), rtol=1e-6)
    winners = np.frombuffer(base64.b64decode(made.winners), "<i4").reshape(6, 7)
    np.testing.assert_array_equal(winners, grid.argmax(axis=0))


def test_what_is_not_finite_takes_nothing_from_the_others() -> None:
    grid = np.random.default_rng(1).normal(size=(5, 3, 4))
    grid[1] = -np.inf
    grid[2, 0, 0] = np.nan
    grid[3] = -1e30
    grid[4] = 7.5
    made = short_grid(grid, np.zeros(5), ONE_OF_MANY)
    back = read_back(made).reshape(grid.shape)
    assert made.error < 2e23  # of the class that is switched off, in float32
    np.testing.assert_allclose(back[0], grid[0], atol=1e-4)
    assert np.isneginf(back[1]).all()
    assert np.isnan(back[2, 0, 0])
    np.testing.assert_allclose(back[2].ravel()[1:], grid[2].ravel()[1:], atol=1e-4)
    np.testing.assert_allclose(back[3], -1e30, rtol=1e-6)
    np.testing.assert_array_equal(back[4], 7.5)


@pytest.mark.parametrize("shape", [(1000, 7, 7), (1000, 14, 14), (1000, 24, 24)])
def test_the_best_of_every_cell_and_of_the_image_are_kept(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    grid = rng.normal(size=shape) + 3 * rng.normal(size=(shape[0], 1, 1))  # a few classes lead, as in a photo
    logits = grid.mean(axis=(1, 2))
    made = short_grid(grid, logits, ONE_OF_MANY)
    kept = set(range(1000)) if made.classes is None else set(made.classes)
    assert made.best_kept
    assert set(np.argsort(-grid, axis=0)[:5].ravel().tolist()) <= kept
    assert set(np.argsort(-logits)[:5].tolist()) <= kept
    assert len(made.levels) <= 181_000
    assert (made.classes is None) == (shape[1] == 7)


def test_as_many_classes_as_are_asked_for_and_those_that_were_chosen() -> None:
    grid = np.random.default_rng(3).normal(size=(40, 5, 5))
    logits = grid.mean(axis=(1, 2))
    made = short_grid(grid, logits, ONE_OF_MANY, most=6, chosen=(int(logits.argmin()),))
    assert made.classes == tuple(sorted([*np.argsort(-logits)[:6].tolist(), int(logits.argmin())]))
    assert not made.best_kept
    assert short_grid(grid, logits, ONE_OF_MANY, most=40).classes is None


def test_of_several_at_once_the_best_are_those_furthest_above_their_thresholds() -> None:
    reading = Reading.of("sigmoid", 3, [0.5, 0.999, 0.01])
    assert kept_classes(np.zeros((3, 1, 1)), np.zeros(3), reading, most=1) == (2,)


@pytest.mark.parametrize("size", [(4000, 3000), (600, 800), (50, 3000)])
def test_a_photo_takes_no_more_than_its_part(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(4).integers(0, 255, (*size, 3), dtype=np.uint8)  # the worst for a JPEG
    text, (width, height) = photo_address(noise)
    assert len(text) <= 92_000
    with Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))) as image:
        assert image.size == (width, height)
    assert abs(width / height - size[1] / size[0]) < 0.2 * size[1] / size[0]


def test_a_small_photo_is_kept_pixel_for_pixel() -> None:
    photo = np.random.default_rng(5).integers(0, 255, (33, 60, 3), dtype=np.uint8)
    text, size = photo_address(photo)
    assert size == (60, 33)
    with Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))) as image:
        np.testing.assert_array_equal(np.asarray(image), photo)
