from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.fitting.preprocessing import photos as module
from onnx_gapmil.fitting.preprocessing.photos import Photos
from onnx_gapmil.images import PRESETS, InputSpec, read_image
from onnx_gapmil.images.geometry import RESIZE_RULES

SPEC = InputSpec("x", (None, 3, 24, 32), "float32")
GREY = InputSpec("x", (None, 1, 24, 32), "float32")


@pytest.fixture
def files(tmp_path):
    random = np.random.default_rng(1)
    paths = []
    for number, size in enumerate(((40, 61), (64, 33), (24, 32))):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(paths[-1])
    return paths


@pytest.mark.parametrize("resize", RESIZE_RULES)
@pytest.mark.parametrize("crop", [1.0, 0.8])
def test_a_shared_window_gives_what_the_preprocessing_itself_gives(files, resize, crop):
    photos = Photos(files)
    for name in ("imagenet", "caffe", "raw", "unit"):
        preprocess = replace(PRESETS[name](SPEC), resize=resize, crop=crop)
        for number, path in enumerate(files):
            for layout in ("NCHW", "NHWC"):
                one = replace(preprocess, layout=layout)
                assert np.array_equal(photos.prepare(number, one), one.apply(read_image(path))[0])


def test_grey_is_made_before_resizing(files):
    preprocess = replace(PRESETS["unit"](GREY), crop=0.7)
    assert np.array_equal(Photos(files).prepare(1, preprocess), preprocess.apply(read_image(files[1]))[0])


def test_every_file_is_decoded_once(files):
    photos = Photos(files)
    for name in ("imagenet", "unit", "caffe"):
        for number in range(3):
            photos.prepare(number, PRESETS[name](SPEC))
    assert photos.decoded == 3


def test_photos_beyond_the_budget_are_decoded_again_once_for_each_rule(files, monkeypatch):
    monkeypatch.setattr(module, "MAX_DECODED_BYTES", 40 * 61 * 3)
    photos = Photos(files)
    for name in ("imagenet", "unit", "raw", "unit"):  # two rules: imagenet's, and that of the others
        for number in range(3):
            photos.prepare(number, PRESETS[name](SPEC))
    assert photos.decoded == 3 + 2 * 2


def test_files_that_cannot_be_read_are_named_and_left_out(files, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    photos = Photos([files[0], broken, files[2]])
    assert (len(photos), photos.kept) == (2, [0, 2])
    ((path, reason),) = photos.failed
    assert path == broken
    assert "broken.png" in reason
    preprocess = PRESETS["unit"](SPEC)
    assert np.array_equal(photos.prepare(1, preprocess), preprocess.apply(read_image(files[2]))[0])
