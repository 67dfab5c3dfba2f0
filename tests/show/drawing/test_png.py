"""Files that every reader must read alike: Pillow's and OpenCV's decoders are the reference."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.errors import InputError
from onnx_gapmil.show.drawing import png
from onnx_gapmil.show.drawing.png import png_bytes, save_png

RNG = np.random.default_rng(0)
PICTURES = {
    "noise": RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8),
    "one row": RNG.integers(0, 256, (1, 9, 3), dtype=np.uint8),
    "one pixel": np.array([[[1, 2, 3]]], np.uint8),
    "white": np.full((300, 200, 3), 255, np.uint8),
    "part": RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)[::2, 3:50],
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("deflate", ["isal", "zlib"])
def test_other_decoders_read_the_same_pixels(name, deflate, monkeypatch):
    if deflate == "zlib":
        monkeypatch.setattr(png, "_deflate", lambda: zlib)
    data = png_bytes(PICTURES[name])
    image = Image.open(io.BytesIO(data))
    image.verify()  # every chunk's checksum
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), PICTURES[name])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded[:, :, ::-1], PICTURES[name])


def test_without_isal_zlib_does(monkeypatch):
    png._deflate.cache_clear()

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(png.importlib, "import_module", missing)
    assert png._deflate() is zlib
    png._deflate.cache_clear()


def test_a_sheet_is_no_larger_than_by_trying_all_filters():
    sheet = np.full((400, 600, 3), 255, np.uint8)
    sheet[50:300, 40:400] = np.clip(np.cumsum(RNG.normal(size=(250, 360, 3)), axis=0) * 4 + 128, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, format="PNG", compress_level=2)
    assert len(png_bytes(sheet)) < 1.1 * len(stream.getvalue())


def test_save_png_is_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    save_png(PICTURES["noise"], target)
    assert np.array_equal(np.asarray(Image.open(target)), PICTURES["noise"])
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "out.png"
    target.write_bytes(b"old")

    def full_disk(_array):
        raise OSError("no space left on device")

    monkeypatch.setattr(png, "png_bytes", full_disk)
    with pytest.raises(InputError, match="no space left"):
        save_png(np.zeros((2, 2, 3), dtype=np.uint8), target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_saving_into_a_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save_png(np.zeros((2, 2, 3), dtype=np.uint8), tmp_path / "none" / "a.png")
