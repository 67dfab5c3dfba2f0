"""Samples of more than 8 bits: read as they are stored, and kept apart up to the network."""

import cv2
import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.errors import ImageError, PreprocessError
from onnx_gapmil.images import Preprocess
from onnx_gapmil.images.decode import read_image, read_samples
from onnx_gapmil.images.levels import depth_note, to_levels

DEEP = np.random.default_rng(5).integers(0, 65536, (12, 10), dtype=np.uint16)
COLOURS = np.random.default_rng(6).integers(0, 65536, (12, 10, 3), dtype=np.uint16)


def made(**changes):
    base = {"layout": "NCHW", "color": "GRAY", "size": [12, 10], "scale": 1 / 255, "dtype": "float32"}
    return Preprocess.from_json({**base, **changes})


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.npy"])
def test_grey_of_sixteen_bits_is_read_to_the_last_bit(tmp_path, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, DEEP)
    else:
        assert cv2.imwrite(str(path), DEEP)
    assert np.array_equal(read_samples(path), DEEP)
    assert np.array_equal(read_image(path)[:, :, 1], DEEP >> 8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm", "a.npy"])
def test_colours_of_sixteen_bits_are_read_to_the_last_bit_in_rgb(tmp_path, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, COLOURS)
    else:
        assert cv2.imwrite(str(path), COLOURS[:, :, ::-1])
    assert np.array_equal(read_samples(path), COLOURS)
    assert read_image(path).dtype == np.uint8


def test_transparency_of_sixteen_bits_is_put_on_white(tmp_path):
    alpha = np.zeros((12, 10, 1), np.uint16)
    assert cv2.imwrite(str(tmp_path / "a.png"), np.concatenate([COLOURS, alpha], axis=2))
    assert (read_samples(tmp_path / "a.png") == 65535).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_photo_is_turned_upright_as_one_of_eight_bits_is(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = (COLOURS >> 8).astype(np.uint8)
    Image.fromarray(small).save(tmp_path / "small.png", exif=exif)
    assert cv2.imwrite(str(tmp_path / "deep.png"), COLOURS[:, :, ::-1])
    data = (tmp_path / "deep.png").read_bytes()
    chunk = (tmp_path / "small.png").read_bytes()
    start = chunk.index(b"eXIf") - 4
    length = int.from_bytes(chunk[start : start + 4], "big") + 12
    (tmp_path / "deep.png").write_bytes(data[:33] + chunk[start : start + length] + data[33:])
    assert np.array_equal(read_samples(tmp_path / "deep.png") >> 8, read_image(tmp_path / "small.png"))


@pytest.mark.parametrize(
    ("full_scale", "wanted"),
    [
        (None, DEEP / 65535),
        (4095, np.clip(DEEP / 4095, 0, 1)),
        ([1000, 30000], np.clip((DEEP.astype(float) - 1000) / 29000, 0, 1)),
    ],
)
def test_sixteen_bits_reach_the_network(full_scale, wanted):
    changes = {} if full_scale is None else {"full_scale": full_scale}
    array, _ = made(**changes).apply(DEEP)
    np.testing.assert_allclose(array[0], wanted, atol=1e-6)
    assert len(np.unique(array)) > 100 or full_scale is not None


@pytest.mark.parametrize(
    "interpolation", ["bilinear", "bicubic", "area", "bilinear-antialias", "lanczos-antialias", "nearest"]
)
def test_deep_samples_are_resized_as_bytes_are(interpolation):
    """Bytes times 257 are the same picture in 16 bits: only what bytes round differs."""
    small = np.random.default_rng(7).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    preprocess = made(color="RGB", interpolation=interpolation, scale=1.0)
    one, _ = preprocess.apply(small)
    two, _ = preprocess.apply(small.astype(np.uint16) * 257)
    assert np.abs(one - two).max() < 1.01


@pytest.mark.parametrize("rule", ["bilinear-tf1", "bicubic-tf2"])
def test_tensorflows_rules_keep_the_depth(rule):
    array, _ = made(size=[5, 4], interpolation=rule, scale=1.0).apply(DEEP)
    assert np.any(array != np.rint(array))


def test_a_grey_picture_is_repeated_for_three_channels_and_bgr_turns_a_coloured_one():
    grey, _ = made(color="RGB").apply(DEEP)
    assert np.array_equal(grey[0], grey[2])
    rgb, bgr = made(color="RGB").apply(COLOURS)[0], made(color="BGR").apply(COLOURS)[0]
    assert np.array_equal(rgb, bgr[::-1])


def test_bytes_have_their_own_full_scale_unless_it_lies_below_theirs():
    photo = np.random.default_rng(1).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    assert np.array_equal(made(color="RGB", full_scale=4095).apply(photo)[0], made(color="RGB").apply(photo)[0])
    window, _ = made(color="RGB", full_scale=[50, 100]).apply(photo)
    np.testing.assert_allclose(window, np.clip((photo.transpose(2, 0, 1) - 50.0) / 50, 0, 1), atol=1e-6)


def test_integer_inputs_round_and_saturate():
    array, _ = made(dtype="uint8", scale=1.0).apply(DEEP)
    assert np.array_equal(array[0], np.rint(DEEP / 257).astype(np.uint8))


@pytest.mark.parametrize("samples", [np.ones((4, 4), np.float32), np.full((4, 4), -7, np.int32)])
def test_samples_of_unknown_range_want_a_full_scale(tmp_path, samples):
    with pytest.raises(ImageError, match='state "full_scale"'):
        made(size=[4, 4]).apply(samples)
    Image.fromarray(samples).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif: .*full_scale"):
        made(size=[4, 4]).prepare(read_samples(tmp_path / "a.tif"), np.empty((1, 4, 4), np.float32), tmp_path / "a.tif")
    array, _ = made(size=[4, 4], full_scale=[-14, 14]).apply(samples)
    assert array == pytest.approx((samples + 14.0)[None] / 28)


def test_what_is_no_number_is_refused():
    with pytest.raises(ImageError, match="no finite numbers"):
        to_levels(np.array([[np.nan, 1.0]]), (0.0, 1.0))


@pytest.mark.parametrize(
    ("samples", "full_scale", "said"),
    [
        (np.array([[900, 3900]], np.uint16), None, True),
        (np.array([[900, 4096]], np.uint16), None, False),
        (np.array([[900, 3900]], np.uint16), 4095.0, False),
        (np.array([[90, 255]], np.uint8), None, False),
    ],
)
def test_sixteen_bits_that_use_twelve_are_announced(samples, full_scale, said):
    assert bool(depth_note(samples, full_scale)) is said


def test_integers_of_thirty_two_bits_that_sixteen_hold_are_sixteen(tmp_path):
    """Pillow writes such TIFF files, and old readers give 16-bit PNG so."""
    Image.fromarray(DEEP.astype(np.int32)).save(tmp_path / "a.tif")
    assert read_samples(tmp_path / "a.tif").dtype == np.uint16


@pytest.mark.parametrize("value", [0, -5, [5, 5], [9, 2], [1], "4095", True, [1, 2, 3], float("inf")])
def test_a_full_scale_that_is_none_is_named(value):
    with pytest.raises(PreprocessError, match="'full_scale'"):
        made(full_scale=value)


def test_a_full_scale_is_in_the_json_and_in_the_sentence():
    assert made(full_scale=[-100, 300]).to_json()["full_scale"] == [-100.0, 300.0]
    assert "samples from 0 to 4095 are pixels from 0 to 255" in made(full_scale=4095).describe()
    assert "full_scale" not in made().to_json()


@pytest.mark.parametrize(
    ("array", "says"),
    [(np.zeros((2, 3, 4, 5)), "not"), (np.zeros((0, 4)), "not"), (np.zeros((4, 4, 2), np.uint16), "not")],
)
def test_arrays_that_are_no_picture_are_refused_by_name(tmp_path, array, says):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageError, match=rf"a\.npy: an image is an array .*{says}"):
        read_samples(tmp_path / "a.npy")


def test_channels_first_is_read_where_it_can_be_nothing_else(tmp_path):
    np.save(tmp_path / "a.npy", COLOURS.transpose(2, 0, 1))
    assert np.array_equal(read_samples(tmp_path / "a.npy"), COLOURS)


def test_a_truncated_deep_file_is_one_clear_error(tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.png"), COLOURS)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_samples(tmp_path / "a.png")
