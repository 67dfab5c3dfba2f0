import unicodedata

import pytest

from onnx_gapmil.data import files as files_module
from onnx_gapmil.data import open_data
from onnx_gapmil.data.files import ImageFinder, printable, read_text
from onnx_gapmil.errors import DataError


def told(call, *args, **options):
    with pytest.raises(DataError) as caught:
        call(*args, **options)
    return str(caught.value)


def test_text_that_is_none(tmp_path, lay, monkeypatch):
    assert "this is a folder" in told(read_text, tmp_path)
    assert "no such file" in told(read_text, tmp_path / "x")
    assert "this is not text (byte 2 is zero)" in told(read_text, lay("x", b"ab\0c"))
    assert "starts like UTF-16, but is none" in told(read_text, lay("x", b"\xff\xfea"))
    assert "Git LFS pointer" in told(read_text, lay("x", "version https://git-lfs.github.com/spec/v1\noid"))
    monkeypatch.setattr(files_module, "MAX_BYTES", 10)
    assert "11 bytes are more than a label file should have (10)" in told(read_text, lay("x", b"x" * 11))


def test_all_bytes_of_latin_1_are_read(lay):
    assert read_text(lay("x", bytes(range(1, 256)))).text == bytes(range(1, 256)).decode("latin-1")
    assert read_text(lay("x", b"\x80 5")).text == "€ 5"


def test_relative_paths_are_looked_for_in_data_then_beside_the_file(tmp_path, photo, lay):
    file = lay("labels/x.json", [{"image": "a.png", "label": 1}, {"image": "b.png", "label": 1}])
    photo("set/a.png")
    photo("labels/a.png")
    photo("labels/b.png")
    data = open_data(tmp_path / "set", labels=file)
    assert [sample.image for sample in data.samples] == [tmp_path / "set/a.png", tmp_path / "labels/b.png"]
    assert [sample.name for sample in data.samples] == ["a.png", "b.png"]


@pytest.mark.parametrize("written", ["../set/a.png", "sub/../a.png", "./a.png", "ABSOLUTE"])
def test_paths_that_end_in_data_are_read_however_they_go(tmp_path, photo, lay, written):
    image = photo("set/a.png")
    written = str(image) if written == "ABSOLUTE" else written
    data = open_data(lay("set/x.json", [{"image": written, "label": 1}]))
    assert (data.samples[0].image, data.samples[0].name) == (image, "a.png")


@pytest.mark.parametrize("written", ["../a.png", "ABSOLUTE", "sub/../../a.png", "../set2/a.png"])
def test_paths_that_leave_data_are_refused_and_wider_data_lets_them(tmp_path, photo, lay, written):
    image, other = photo("a.png"), photo("set2/a.png")
    written = str(image) if written == "ABSOLUTE" else written
    file = lay("set/x.json", [{"image": written, "label": 1}])
    message = told(open_data, file)
    assert f"leads out of {tmp_path / 'set'}, and is not read; give the folder that holds everything as DATA" in message
    assert open_data(tmp_path, labels=file).samples[0].image in (image, other)


def test_links_inside_data_are_the_users_own(tmp_path, photo, lay):
    image = photo("elsewhere/a.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").symlink_to(image)
    assert open_data(lay("set/x.json", [{"image": "a.png", "label": 1}])).samples[0].image == tmp_path / "set/a.png"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_either_unicode_form_of_a_name_is_found(photo, lay, form):
    image = photo(unicodedata.normalize("NFD" if form == "NFC" else "NFC", "schön.png"))
    data = open_data(lay("x.json", [{"image": unicodedata.normalize(form, "schön.png"), "label": 1}]))
    assert data.samples[0].image == image


def test_windows_slashes_are_found(photo, lay):
    image = photo("cat/a.png")
    assert open_data(lay("x.json", [{"image": "cat\\a.png", "label": 1}])).samples[0].image == image


def test_a_name_that_is_too_long_is_missing_and_no_crash(photo, lay):
    photo("a.png")
    records = [{"image": "a.png", "label": 1}, {"image": "x" * 1000, "label": 1}]
    assert open_data(lay("x.json", records)).notes[0].startswith("1 of 2 images is not there and will fail: xxx")


def test_the_same_image_by_two_ways_is_listed_twice(photo, lay):
    photo("a.png")
    file = lay("x.json", [{"image": "a.png", "label": 1}, {"image": "./a.png", "label": 2}])
    assert "record 2: a.png was listed before (" in told(open_data, file)


def test_equal_names_from_two_folders_stay_apart(tmp_path, photo, lay):
    photo("one/a.png")
    two = photo("two/a.png")
    file = lay("two/x.json", [{"image": "a.png", "label": 1}, {"image": str(two), "label": 1}])
    data = open_data(tmp_path / "one", labels=file)
    assert [sample.name for sample in data.samples] == ["a.png", str(two)]


def test_finder_prefers_an_earlier_ending(tmp_path, photo):
    photo("a.JPEG")
    photo("a.png")
    finder = ImageFinder([tmp_path])
    assert finder.find("a", "here", endings=("", ".JPEG", ".png")).name == "a.JPEG"
    assert finder.find("b", "here", endings=("", ".JPEG")) == tmp_path / "b"


def test_printable():
    assert printable("plain") == "plain"
    assert printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "café"
