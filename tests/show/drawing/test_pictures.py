import io

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.errors import InputError
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.show.drawing.canvas import drawable, ellipsize, text_width
from onnx_gapmil.show.drawing.layout import WIDTH
from onnx_gapmil.show.drawing.palette import CATEGORICAL, sequential
from onnx_gapmil.show.drawing.pictures import render_prediction, save_png

RNG = np.random.default_rng(0)


def render(height=60, width=90, *, grid=None, rule="squash", labels=None, activation="softmax", top=4, title="t"):
    photo = np.full((height, width, 3), 128, dtype=np.uint8)
    grid = RNG.normal(size=(5, 7, 7)) if grid is None else grid
    return render_prediction(
        photo,
        Geometry.plan((height, width), (224, 224), rule),
        grid,
        grid.mean((1, 2)),
        labels=labels,
        activation=activation,
        title=title,
        subtitle="model.onnx",
        top=top,
    )


def near(pixels, color, tolerance=3):
    return (np.abs(pixels.astype(int) - np.array(color)) <= tolerance).all(axis=-1)


@pytest.mark.parametrize(
    ("height", "width", "classes", "grid", "activation", "rule"),
    [
        (32, 32, 2, (1, 1), "softmax", "squash"),
        (48, 192, 2, (3, 56), "sigmoid", "squash"),
        (300, 30, 12, (56, 3), "none", "letterbox"),
        (900, 1200, 1000, (14, 14), "softmax", "shortest"),
        (1200, 900, 10, (7, 7), "softmax", "letterbox"),
        (5, 2000, 1, (1, 9), "sigmoid", "squash"),
    ],
)
def test_every_shape_of_photo_and_grid_is_drawn(height, width, classes, grid, activation, rule):
    picture = render(height, width, grid=RNG.normal(size=(classes, *grid)), activation=activation, rule=rule)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    assert 500 < picture.shape[0] < 2500
    assert (picture[:20] == 255).all()
    assert (picture[:, -20:] == 255).all()  # nothing runs over the margin


def test_the_same_arguments_give_the_same_pixels():
    grid = RNG.normal(size=(4, 5, 5))
    assert np.array_equal(render(grid=grid), render(grid=grid))


def test_the_winners_colours_cover_their_share_of_the_map():
    grid = np.full((2, 4, 4), -50.0)
    grid[0] = 50.0
    grid[:, :, 3] = grid[::-1, :, 3]  # class 1 surely wins the right quarter, class 0 the rest
    picture = render(400, 400, grid=grid, top=1)
    ground = 90 + 128 * 160 / 255
    blue, orange = (np.array(color) * 0.66 + ground * 0.34 for color in CATEGORICAL[:2])
    cells_of_0, cells_of_1 = near(picture, blue).sum(), near(picture, orange).sum()
    assert cells_of_0 / cells_of_1 == pytest.approx(3.0, rel=0.1)


def test_a_cell_that_no_class_surely_wins_is_faint():
    sure, torn = np.full((2, 1, 2), -50.0), np.zeros((2, 1, 2))
    sure[0] = torn[0] = 50.0
    torn[1] = 49.99
    tinted = [render(400, 400, grid=grid, top=1) for grid in (sure, torn)]
    ground = 90 + 128 * 160 / 255
    full = np.array(CATEGORICAL[0]) * 0.66 + ground * 0.34
    assert near(tinted[0], full).sum() > 10_000
    assert near(tinted[1], full).sum() < 2_000


def test_names_that_the_font_lacks_do_not_break_the_picture():
    names = ["猫", "\x00\n\t", "Käse " * 200, "", "😀 smile"]
    unnamed = [f"class {index}" for index in range(5)]
    grid = RNG.normal(size=(5, 7, 7))
    picture = render(grid=grid, labels=names, title="x" * 5000)
    assert (picture[:, -20:] == 255).all()
    lost = render(grid=grid, labels=["猫", "犬", "鳥", "魚", "馬"])
    assert np.array_equal(lost, render(grid=grid, labels=unnamed))


def test_constant_and_broken_grids_are_drawn():
    for grid in (np.zeros((3, 2, 2)), np.full((3, 2, 2), np.nan), np.full((3, 2, 2), np.inf)):
        assert render(grid=grid).shape[1] == WIDTH


def test_a_geometry_of_another_photo_is_an_error():
    with pytest.raises(ValueError, match="geometry"):
        render_prediction(
            np.zeros((10, 10, 3), dtype=np.uint8),
            Geometry.plan((20, 20), (8, 8), "squash"),
            np.zeros((2, 2, 2)),
            np.zeros(2),
            labels=None,
            activation="none",
            title="",
            subtitle="",
        )


def test_drawable_keeps_the_letters_it_can():
    assert drawable("Käse\n× 2 – 猫…") == "Kase x 2 - ?..."
    assert drawable("plain ASCII, as it is") == "plain ASCII, as it is"


def test_ellipsize_is_the_longest_beginning_that_fits():
    text = "a fairly long name of a class"
    short = ellipsize(text, 20, 150)
    assert text_width(short, 20) <= 150
    assert short.endswith("...")
    longer = text[: len(short) - 2].rstrip() + "..."
    assert text_width(longer, 20) > 150
    assert ellipsize(text, 20, 1000) == text


def test_the_sequential_scale_grows_in_brightness():
    luma = sequential(np.linspace(0, 1, 256)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) > -1).all()
    assert luma[-1] - luma[0] > 150


def test_save_png_is_whole_or_not_at_all(tmp_path):
    pixels = RNG.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    save_png(pixels, target)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(target.read_bytes()))), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "out.png"
    target.write_bytes(b"old")

    def full_disk(*_args, **_options):
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(InputError, match="no space left"):
        save_png(np.zeros((2, 2, 3), dtype=np.uint8), target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_saving_into_a_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save_png(np.zeros((2, 2, 3), dtype=np.uint8), tmp_path / "none" / "a.png")
