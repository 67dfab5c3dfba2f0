"""What the file states, through `Classifier` and `predict`: arrays that are pixels, 16 bits, and no guesses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from onnx_gapmil import Classifier, ImageError, InputError, PreprocessError, predict, rewrite
from onnx_gapmil.images.preprocess import Preprocess
from tests.helpers.support import text_model

#: Class 0 where there is more red, 1 where there is more blue; a cell is 8 x 8 pixels.
COLOURS = (
    "w = Constant<value = float[2, 3, 1, 1] {1, 0, 0, 0, 0, 1}>() f = Conv(INPUT, w) "
    "a = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(f) p = GlobalAveragePool(a) y = Flatten(p)"
)
HWC = (
    "t = Transpose<perm = [2,0,1]>(x) o = Constant<value = int64[1] {0}>() u = Unsqueeze(t, o) c = Cast<to = 1>(u) "
    'z = Constant<value = int64[4] {1,3,32,32}>() r = Resize<mode = "linear">(c, , , z) '
    "k = Constant<value = float {0.00392157}>() s = Mul(r, k) "
)
RED = np.zeros((32, 32, 3), np.uint8)
RED[8:16, 16:24] = (255, 0, 0)


def colours(before: str = "", last: str = "x", x: str = "float[N,3,32,32] x") -> onnx.ModelProto:
    return text_model(before + COLOURS.replace("INPUT", last), x=x, y="float[N,2] y")


def pixels_in() -> onnx.ModelProto:
    """Takes pixels as they are: the graph divides by 255."""
    return colours("k = Constant<value = float {255.0}>() d = Div(x, k) ", "d")


def saved(folder: Path, name: str, array: np.ndarray) -> Path:
    np.save(folder / name, array)
    return folder / name


def test_pixels_in_a_file_are_a_photo(tmp_path: Path) -> None:
    model = Classifier(pixels_in(), preprocess="raw")
    photo = model.predict(RED)
    stored = model.predict(saved(tmp_path, "red.npy", RED))
    assert np.array_equal(stored.logits, photo.logits)
    assert stored.heads[0].boxes[0].box == (16, 8, 24, 16) or stored.heads[0].winners[0].best_cell == (1, 2)
    assert stored.photo is not None


def test_what_is_the_models_input_goes_in_as_it_is(tmp_path: Path) -> None:
    array = RED.transpose(2, 0, 1).astype(np.float32)
    model = Classifier(pixels_in(), preprocess="raw")
    found = model.predict(saved(tmp_path, "input.npy", array))
    assert found.photo is None
    assert found.inputs == {"x": (1, 3, 32, 32)}
    np.testing.assert_allclose(found.logits, model.predict(RED).logits, atol=1e-6)


def test_bytes_that_are_the_models_input_go_in_as_they_are_and_others_are_a_photo(tmp_path: Path) -> None:
    body = "c = Cast<to = 1>(x) p = GlobalAveragePool(c) y = Flatten(p)"
    model = Classifier(text_model(body, x="uint8[N,1,32,32] x", y="float[N,1] y"))
    grey = RED[:, :, 0]
    assert model.predict(saved(tmp_path, "input.npy", grey[None])).photo is None
    assert model.predict(saved(tmp_path, "photo.npy", grey)).photo is not None


@pytest.mark.parametrize("name", ["deep.npy", "deep.png"])
def test_sixteen_bits_reach_the_network(tmp_path: Path, name: str) -> None:
    """Steps of one 16-bit level, which are none in 8 bits."""
    deep = np.full((32, 32, 3), 40000, np.uint16)
    deep[8:16, 16:24, 0] += 100
    if name.endswith("npy"):
        path = saved(tmp_path, name, deep)
    else:
        path = tmp_path / name
        assert cv2.imwrite(str(path), deep[:, :, ::-1])
    found = Classifier(colours(), preprocess="unit").predict(path)
    grid = found.grid
    assert grid is not None
    np.testing.assert_allclose(grid[0] - grid[1], np.where(np.arange(16).reshape(4, 4) == 6, 100 / 65535, 0), atol=1e-6)


def test_twelve_bits_in_sixteen_are_announced_and_a_full_scale_mends_it(tmp_path: Path) -> None:
    path = saved(tmp_path, "xray.npy", np.full((32, 32), 4000, np.uint16))
    dark = Classifier(colours(), preprocess="unit").predict(path)
    assert "none above 4,000" in dark.note
    assert dark.to_json()["note"] == dark.note
    stated = Preprocess.from_json(
        {
            "layout": "NCHW",
            "color": "RGB",
            "size": [32, 32],
            "scale": 1 / 255,
            "dtype": "float32",
            "full_scale": 4095,
        }
    )
    bright = Classifier(colours(), preprocess=stated).predict(path)
    assert bright.note == ""
    assert bright.logits[0] == pytest.approx(4000 / 4095, abs=1e-5)
    assert bright.photo is not None
    assert bright.photo[0, 0, 0] == round(255 * 4000 / 4095)


def test_numbers_of_unknown_range_are_told_what_is_missing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "float.tiff"), np.full((32, 32), 0.5, np.float32))
    with pytest.raises(ImageError, match=r"float\.tiff: its samples are float32, .*full_scale"):
        Classifier(colours(), preprocess="unit").predict(tmp_path / "float.tiff")


@pytest.mark.parametrize("x", ["uint8[H, W, 3] x", "uint8[32, 32, 3] x"])
@pytest.mark.parametrize("size", [32, 64, 100])
def test_one_image_without_a_batch_is_a_photo_of_any_size(x: str, size: int, tmp_path: Path) -> None:
    model = Classifier(colours(HWC, "s", x))
    photo = cv2.resize(RED, (size, size), interpolation=cv2.INTER_NEAREST)
    for given in (photo, saved(tmp_path, "photo.npy", photo)):
        found = model.predict(given)
        assert found.heads[0].winners[0].best_cell == (1, 2)
        assert found.places is not None
        assert found.places[1, 2] == pytest.approx(np.array([16, 8, 24, 16]) * size / 32, abs=0.02)


def test_cells_lie_in_proportion_where_the_graph_resizes_for_itself(tmp_path: Path) -> None:
    """The places are traced at one size; the photo is given at another, also to a rewritten file."""
    model = colours(HWC, "s", "uint8[H, W, 3] x")
    onnx.save(model, tmp_path / "m.onnx")
    made = rewrite(tmp_path / "m.onnx").output_path
    stated = {"layout": "NHWC", "color": "RGB", "scale": 1, "dtype": "uint8"}
    for file in (tmp_path / "m.onnx", made):
        assert file is not None
        for size in ([32, 32], [64, 48]):
            preprocess = Preprocess.from_json({**stated, "size": size})
            places = Classifier(file, preprocess=preprocess).predict(RED).places
            assert places is not None
            assert places[1, 2] == pytest.approx(np.array([16, 8, 24, 16]), abs=0.02)


def test_what_is_stated_and_what_is_guessed_is_in_the_results(tmp_path: Path) -> None:
    onnx.save(pixels_in(), tmp_path / "m.onnx")
    cv2.imwrite(str(tmp_path / "red.png"), RED[:, :, ::-1])
    found = predict(tmp_path / "m.onnx", tmp_path / "red.png", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found.summary["preprocess_guessed"] == report["preprocess_guessed"] == ["color"]
    assert report["preprocess_assumed"] is True
    assert "first nodes" in report["preprocess_parts"]["values"]
    assert Classifier(tmp_path / "m.onnx").preprocess.guess == "preprocessing guessed: color"


def test_no_guess_is_an_error_where_something_would_be_guessed(tmp_path: Path) -> None:
    onnx.save(pixels_in(), tmp_path / "m.onnx")
    cv2.imwrite(str(tmp_path / "red.png"), RED[:, :, ::-1])
    with pytest.raises(PreprocessError, match=r"\(color\), and --no-guess forbids"):
        predict(tmp_path / "m.onnx", tmp_path / "red.png", no_guess=True)
    assert len(predict(tmp_path / "m.onnx", tmp_path / "red.png", preprocess="raw", no_guess=True)) == 1
    array = saved(tmp_path, "input.npy", RED.transpose(2, 0, 1).astype(np.float32))
    assert len(predict(tmp_path / "m.onnx", array, no_guess=True)) == 1  # nothing is prepared


def test_arrays_as_they_are_and_photos_are_not_mixed_but_pixels_and_photos_are(tmp_path: Path) -> None:
    onnx.save(pixels_in(), tmp_path / "m.onnx")
    cv2.imwrite(str(tmp_path / "red.png"), RED[:, :, ::-1])
    array = saved(tmp_path, "input.npy", RED.transpose(2, 0, 1).astype(np.float32))
    with pytest.raises(InputError, match="run them one after the other"):
        predict(tmp_path / "m.onnx", [array, tmp_path / "red.png"])
    photo = saved(tmp_path, "photo.npy", RED)
    assert len(predict(tmp_path / "m.onnx", [photo, tmp_path / "red.png"])) == 2


def test_the_names_in_the_file_are_used() -> None:
    model = colours()
    onnx.helper.set_model_props(model, {"names": "{0: 'rot', 1: 'blau'}"})
    assert Classifier(model, preprocess="unit").predict(RED).heads[0].top[0].label == "rot"
