"""The quick way to a JPEG's pixels gives Pillow's own, to the bit; what only Pillow can decode is left to it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images import decode, jpeg
from onnx_gapmil.images.decode import read_samples

pytestmark = pytest.mark.skipif(jpeg._trusted() is None, reason="simplejpeg is not there, or not Pillow's equal")


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Blobs of colour under noise."""
    rng = np.random.default_rng(seed)
    knots = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(knots.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray(np.clip(smooth + rng.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **settings)
    return stream.getvalue()


def by_pillow(path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray | str:
    """The pixels, or what is said of the file, without the quick way."""
    with monkeypatch.context() as patch:
        patch.setattr(decode, "decode_rgb", lambda _: None)
        return outcome(path)


def outcome(path: Path) -> np.ndarray | str:
    try:
        return read_samples(path)
    except ImageError as error:
        return str(error)


def require_same(data: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray | str:
    path.write_bytes(data)
    mine, theirs = outcome(path), by_pillow(path, monkeypatch)
    assert type(mine) is type(theirs)
    if isinstance(mine, np.ndarray):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
        assert mine.flags.c_contiguous
        assert mine.flags.writeable
    else:
        assert mine == theirs
    return mine


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0", "keep-4:1:1"])
@pytest.mark.parametrize("settings", [{"quality": 95}, {"quality": 30, "progressive": True}, {"optimize": True}])
def test_pixels_are_pillows(
    sampling: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[bytes] = []
    real = jpeg.decode_rgb
    monkeypatch.setattr(decode, "decode_rgb", lambda data: used.append(data) or real(data))
    for height, width in [(1, 1), (1, 17), (16, 2), (33, 47), (96, 128), (375, 500), (211, 97)]:
        data = encoded(photo(height, width, height), subsampling=sampling.removeprefix("keep-"), **settings)
        found = require_same(data, tmp_path / "x.jpg", monkeypatch)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(data))))
    assert len(used) == 7


@pytest.mark.parametrize("orientation", range(10))
def test_photos_are_turned_upright(orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(40, 61), exif=exif)
    found = require_same(data, tmp_path / "x.jpg", monkeypatch)
    np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize(
    "make",
    [
        lambda image: encoded(image.convert("CMYK")),
        lambda image: encoded(image.convert("L")),
        lambda image: encoded(image, keep_rgb=True),
        lambda image: encoded(image, restart_marker_rows=1),
        lambda image: encoded(image) + b"what a camera leaves behind the end",
        lambda image: encoded(image, icc_profile=b"a profile"),
        lambda image: encoded(image, comment=b"a comment", dpi=(300, 300)),
    ],
)
def test_other_jpegs_are_what_pillow_makes_of_them(
    make: Callable[[Image.Image], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(require_same(make(photo(50, 70)), tmp_path / "x.jpg", monkeypatch), np.ndarray)


def test_several_pictures_in_one_file_give_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    photo(30, 40).save(stream, "MPO", save_all=True, append_images=[photo(20, 20, 1)])
    found = require_same(stream.getvalue(), tmp_path / "x.jpg", monkeypatch)
    assert isinstance(found, np.ndarray)
    assert found.shape == (30, 40, 3)


@pytest.mark.parametrize("progressive", [False, True])
def test_damaged_files_are_what_pillow_makes_of_them(
    progressive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 files with bytes changed, cut off or left out: the same pixels, or the same sentence."""
    whole = encoded(photo(48, 64), progressive=progressive)
    rng = np.random.default_rng(int(progressive))
    told = 0
    for _ in range(300):
        data = bytearray(whole)
        kind, place = rng.integers(0, 3), int(rng.integers(2, len(whole)))
        if kind == 0:
            data[place] = int(rng.integers(0, 256))
        elif kind == 1:
            del data[place:]
        else:
            del data[place : place + int(rng.integers(1, 40))]
        told += isinstance(require_same(bytes(data), tmp_path / "x.jpg", monkeypatch), str)
    assert 50 < told < 290


def test_a_library_that_rounds_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg: Any = jpeg._trusted()
    real = simplejpeg.decode_jpeg

    def other(data: bytes, **settings: Any) -> np.ndarray:
        found: np.ndarray = real(data, **settings)
        found[-1, -1, 2] ^= 1
        return found

    monkeypatch.setattr(simplejpeg, "decode_jpeg", other)
    jpeg._trusted.cache_clear()
    try:
        assert jpeg._trusted() is None
        assert jpeg.decode_rgb(encoded(photo(8, 8))) is None
    finally:
        monkeypatch.undo()
        jpeg._trusted.cache_clear()
        assert jpeg._trusted() is simplejpeg


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(("least", "part"), [((60, 90), 1), ((20, 30), 4), ((48, 1), 2), ((1, 1), 8), ((300, 300), 1)])
def test_a_large_jpeg_is_decoded_smaller_but_never_below_what_is_needed(
    least: tuple[int, int], part: int, orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = (101, 163) if orientation != 6 else (163, 101)
    needed = least if orientation != 6 else least[::-1]
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded(photo(101, 163), exif=exif, quality=95))
    found, size = decode.read_reduced(path, lambda known: needed if known == upright else (0, 0))
    whole = read_samples(path)
    assert size == upright == whole.shape[:2]
    if part == 1:
        np.testing.assert_array_equal(found, whole)
        return
    assert found.shape == (-(-upright[0] // part), -(-upright[1] // part), 3)
    if orientation == 1:  # turned ones have the block that is cut at the other end
        rows, columns = found.shape[0] - 1, found.shape[1] - 1
        blocks = whole[: rows * part, : columns * part].reshape(rows, part, columns, part, 3).mean((1, 3))
        assert np.abs(found[:rows, :columns] - blocks).mean() < 4.0
    monkeypatch.setattr(jpeg, "_trusted", lambda: None)
    again, same = decode.read_reduced(path, lambda _: needed)
    assert same == size
    np.testing.assert_array_equal(again, found)


def test_only_jpegs_of_three_colours_are_reduced(tmp_path: Path) -> None:
    photo(64, 64).save(tmp_path / "x.png")
    (tmp_path / "grey.jpg").write_bytes(encoded(photo(64, 64).convert("L")))
    for name in ("x.png", "grey.jpg"):
        found, size = decode.read_reduced(tmp_path / name, lambda _: (8, 8))
        assert found.shape == (64, 64, 3)
        assert size == (64, 64)


def test_a_damaged_file_says_so_also_where_it_is_reduced(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(encoded(photo(400, 400))[:4000])
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode.read_reduced(tmp_path / "x.jpg", lambda _: (8, 8))
