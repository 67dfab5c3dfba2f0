import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnx_gapmil.data import read_mask
from onnx_gapmil.errors import DataError

SIZE = (6, 8)


@pytest.fixture
def save(tmp_path):
    def write(pixels, mode=None, name="m.png", **options):
        array = np.asarray(pixels)
        image = Image.fromarray(array) if mode is None else Image.frombytes(mode, array.shape[1::-1], array.tobytes())
        if mode == "P":
            image.putpalette([level for level in range(256) for _ in range(3)])
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def levels(*values):
    """A mask whose rows have these levels, from the top; the rest is 0."""
    pixels = np.zeros(SIZE, np.uint8)
    for row, value in enumerate(values):
        pixels[row] = value
    return pixels


def rows(mask):
    """Which rows are object; every row has to be one thing."""
    assert mask.shape == SIZE
    assert mask.dtype == np.bool_
    assert (mask == mask[:, :1]).all()
    return [int(row) for row in np.flatnonzero(mask[:, 0])]


def told(path, size=SIZE):
    with pytest.raises(DataError) as caught:
        read_mask(path, size)
    return str(caught.value)


def test_palette_every_index_but_zero_and_void(save):
    assert rows(read_mask(save(levels(0, 1, 255, 20, 254), "P"), SIZE)) == [1, 3, 4]


@pytest.mark.parametrize("high", [1, 2, 127, 128, 254, 255])
def test_two_levels_of_grey_whatever_they_are(save, high):
    assert rows(read_mask(save(levels(0, high, high)), SIZE)) == [1, 2]


def test_one_bit(save):
    assert rows(read_mask(save(levels(0, 255).astype(bool)), SIZE)) == [1]


def test_grey_label_map(save):
    assert rows(read_mask(save(levels(0, 1, 2, 127)), SIZE)) == [1, 2, 3]


def test_soft_edges_are_cut_in_the_middle(save):
    assert rows(read_mask(save(levels(255, 255, 128, 127, 3)), SIZE)) == [0, 1, 2]


def test_a_grey_label_map_with_void_is_refused(save):
    message = told(save(levels(3, 3, 3, 255)))
    assert "3 levels of grey (0, 3, 255, ...)" in message
    assert "is it a label map?" in message


def test_colours_are_objects_but_black_and_void(save):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[1] = (128, 0, 0)
    pixels[2] = (224, 224, 192)
    pixels[3] = (0, 0, 1)
    assert rows(read_mask(save(pixels), SIZE)) == [1, 3]
    opaque = np.concatenate([pixels, np.full((*SIZE, 1), 255, np.uint8)], axis=2)
    assert rows(read_mask(save(opaque), SIZE)) == [1, 3]
    opaque[0, 0, 3] = 7
    assert "transparent in places" in told(save(opaque))


def test_grey_saved_as_colour_is_grey(save):
    assert rows(read_mask(save(np.repeat(levels(255, 255, 100)[..., None], 3, axis=2)), SIZE)) == [0, 1]


def test_sixteen_bits(save):
    assert rows(read_mask(save(levels(0, 1).astype(np.uint16) * 65535), SIZE)) == [1]
    assert rows(read_mask(save(levels(0, 1).astype(np.uint16)), SIZE)) == [1]


@pytest.mark.parametrize("level", [0, 255, 1])
def test_one_level_is_all_or_nothing(save, level):
    assert read_mask(save(levels() + np.uint8(level)), SIZE).all() == (level > 0)


def test_what_cannot_be_read_is_told(save, tmp_path):
    path = save(levels(0, 255))
    assert "the mask is 8 x 6 and its image 6 x 8 (width x height)" in told(path, (8, 6))
    assert "the mask is 8 x 6 and its image 9 x 6" in told(path, (6, 9))
    assert "a mask in JPEG is lossy" in told(save(levels(0, 255), name="m.jpg"))
    assert "no such file, and a mask was expected" in told(tmp_path / "none.png")
    assert "this is a folder, and a mask was expected" in told(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    assert "the mask is damaged, or no image" in told(path)
    path.write_bytes(b"")
    assert "the mask is damaged, or no image" in told(path)


@given(st.binary(max_size=200), st.booleans())
def test_junk_is_never_more_than_a_data_error(tmp_path_factory, junk, png):
    path = tmp_path_factory.getbasetemp() / "junk.png"
    path.write_bytes((b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" if png else b"") + junk)
    with pytest.raises(DataError):
        read_mask(path, SIZE)
