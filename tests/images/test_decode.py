import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images.decode import read_image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def write(path, image, **options):
    image.save(path, **options)
    return path


def bomb_header(width, height):
    """A PNG of a few bytes whose header promises width x height pixels."""
    data = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + data
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(data))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_lossless_rgb_is_read_bit_for_bit(tmp_path, suffix):
    image = read_image(write(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS)))
    assert np.array_equal(image, PIXELS)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


def test_the_content_decides_and_not_the_name(tmp_path):
    write(tmp_path / "a.jpg", Image.fromarray(PIXELS), format="PNG")
    assert np.array_equal(read_image(tmp_path / "a.jpg"), PIXELS)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, PIXELS),
        (2, PIXELS[:, ::-1]),
        (3, PIXELS[::-1, ::-1]),
        (4, PIXELS[::-1]),
        (5, PIXELS.transpose(1, 0, 2)),
        (6, np.rot90(PIXELS, -1)),
        (7, PIXELS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(PIXELS, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif)
    assert np.array_equal(read_image(path), upright)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_impossible_orientation_counts_as_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(write(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif)), PIXELS)


def test_transparency_is_composited_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = (0, 255, 51)  # nothing, all, a fifth of black
    image = read_image(write(tmp_path / "a.png", Image.fromarray(rgba)))
    assert image[0, :, 0].tolist() == [255, 0, 204]


def test_a_transparent_palette_colour_is_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    path = write(tmp_path / "a.png", palette, transparency=0)
    assert read_image(path).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_grey_is_spread_over_three_channels(tmp_path):
    grey = PIXELS[:, :, 0]
    image = read_image(write(tmp_path / "a.png", Image.fromarray(grey)))
    assert np.array_equal(image, np.stack([grey] * 3, axis=2))


def test_sixteen_bit_grey_keeps_the_upper_byte_and_does_not_clip(tmp_path):
    samples = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tiff"):
        image = read_image(write(tmp_path / name, Image.fromarray(samples)))
        assert image[0, :, 1].tolist() == [0, 0, 1, 128, 255]


def test_one_bit_becomes_black_and_white(tmp_path):
    image = read_image(write(tmp_path / "a.png", Image.fromarray(np.array([[0, 1]], dtype=bool))))
    assert image[0, :, 0].tolist() == [0, 255]


def test_cmyk_jpeg_keeps_its_colour(tmp_path):
    red = Image.new("RGB", (16, 16), (220, 20, 20)).convert("CMYK")
    image = read_image(write(tmp_path / "a.jpg", red, quality=95))
    assert np.abs(image.astype(int) - (220, 20, 20)).max() <= 6


def test_an_animation_gives_its_first_frame(tmp_path):
    first, second = (Image.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 0, 255)))
    path = write(tmp_path / "a.gif", first, save_all=True, append_images=[second])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


def test_floating_point_pixels_are_refused(tmp_path):
    path = write(tmp_path / "a.tiff", Image.fromarray(np.ones((2, 2), dtype=np.float32)))
    with pytest.raises(ImageError, match="float32, whose range is not known"):
        read_image(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.8])
def test_a_truncated_file_is_one_clear_error(tmp_path, form, share):
    stream = io.BytesIO()
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, format=form)
    data = stream.getvalue()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "cut")
    assert str(tmp_path / "cut") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello, world, this is text", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "no image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, says):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=says):
        read_image(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("nul\0byte.png")


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 10_000), (2_000_000_000, 1)])
def test_a_bomb_is_refused_by_its_header(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(bomb_header(*size))
    with pytest.raises(ImageError, match="pixels"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_is_on_width_times_height(tmp_path):
    path = write(tmp_path / "a.png", Image.fromarray(PIXELS))
    assert read_image(path, max_pixels=35).shape == (5, 7, 3)
    with pytest.raises(ImageError, match="7 x 5"):
        read_image(path, max_pixels=34)
