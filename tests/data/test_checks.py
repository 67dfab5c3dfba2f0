from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnx_gapmil.data import Box, Sample, check_sample, open_data
from onnx_gapmil.data.sizes import upright_size
from onnx_gapmil.errors import DataError

SIZE = (30, 40)


def sample(*boxes):
    return Sample(Path("a.png"), "a.png", (3,), tuple(Box(box, (3,)) for box in boxes))


def told(*boxes):
    with pytest.raises(DataError) as caught:
        check_sample(sample(*boxes), SIZE)
    return str(caught.value)


def test_boxes_inside_stay_as_they_are():
    good = sample((0, 0, 40, 30), (1.5, 2, 3, 4))
    assert check_sample(good, SIZE) is good
    assert check_sample(sample(), SIZE) == sample()


def test_two_pixels_outside_are_clipped():
    checked = check_sample(sample((-2, -0.5, 42, 31)), SIZE)
    assert checked == sample((0, 0, 40, 30))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((0, 0, NAN, 5), "a.png: its box: (0, 0, nan, 5) is not finite."),
        ((-INF, 0, 5, 5), "(-inf, 0, 5, 5) is not finite"),
        ((5, 5, 5, 9), "(5, 5, 5, 9) is empty or inverted"),
        (
            (10, 20, 15, 8),
            "(10, 20, 15, 8) is empty or inverted; [x0, y0, x1, y1] was expected",
        ),
        ((40, 0, 41, 5), "(40, 0, 41, 5) lies outside the image, which is 40 x 30 (width x height)"),
        ((-9, 3, 0, 5), "lies outside the image"),
        ((0, 0, 42.5, 30), "(0, 0, 42.5, 30) reaches out of the image, which is 40 x 30"),
        ((0, -3, 4, 3), "reaches out of the image"),
        ((0, 0, 30, 40), "reaches out of the image"),
    ],
)
def test_bad_boxes_are_told(box, says):
    assert says in told(box)
    assert told((0, 0, 9, 9), box).startswith("a.png: box 2 of 2: ")


@given(st.tuples(*[st.floats(width=32)] * 4))
def test_what_passes_lies_inside_and_has_an_area(box):
    try:
        checked = check_sample(sample(box), SIZE)
    except DataError:
        return
    x0, y0, x1, y1 = checked.boxes[0].box
    assert 0 <= x0 < x1 <= 40
    assert 0 <= y0 < y1 <= 30


@pytest.mark.parametrize(("orientation", "upright"), [(1, (30, 40)), (3, (30, 40)), (6, (40, 30)), (8, (40, 30))])
def test_size_is_that_of_the_upright_image(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert upright_size(tmp_path / "a.jpg") == upright


def test_size_of_no_image_is_none(tmp_path, lay):
    assert upright_size(lay("a.png", b"no image")) is None
    assert upright_size(tmp_path / "none.png") is None


def records(boxes):
    return [{"image": f"{index}.png", "label": 1, "boxes": [box]} for index, box in enumerate(boxes)]


def opened(photo, path, count):
    for index in range(count):
        photo(f"{index}.png")
    return open_data(path)


def test_one_bad_box_is_no_matter_of_the_set(photo, lay):
    boxes = [[0, 0, 9, 9], [0, 0, 9, 9], [70, 70, 90, 90]]
    assert opened(photo, lay("x.json", records(boxes)), 3).notes == ()


def test_most_bad_is_noted(photo, lay):
    boxes = [[0, 0, 9, 9], [0, 0, 90, 9], [70, 70, 90, 90]]
    (note,) = opened(photo, lay("x.json", records(boxes)), 3).notes
    assert note.startswith(
        "2 of the first 3 images with boxes have one that does not lie inside (1.png: (0, 0, 90, 9) "
    )
    assert "they will fail. The boxes were likely made for images of another size" in note


def test_all_bad_is_an_error_with_a_hint(photo, lay):
    boxes = [[41, 0, 90, 9], [0, 0, 90, 9], [70, 70, 90, 90]]
    with pytest.raises(DataError, match=r"3 of the first 3 images .* and no box does\. The boxes were likely made for"):
        opened(photo, lay("x.json", records(boxes)), 3)


@pytest.mark.parametrize("odd", [[0.5, 0.5, 1.3, 0.9], [float("nan"), 0, 1, 1]])
def test_fractions_among_which_one_overshoots_are_refused(photo, lay, odd):
    boxes = [[0.1, 0.1, 0.5, 0.5], odd, [0, 0, 1, 1]]
    with pytest.raises(
        DataError, match="most of the first 3 boxes lie within 0 to 1: they look like fractions; pixels"
    ):
        opened(photo, lay("x.json", records(boxes)), 3)


def test_fractions_are_refused(photo, lay):
    with pytest.raises(DataError, match="all boxes lie within 0 to 1: they look like fractions; pixels are needed"):
        opened(photo, lay("x.json", records([[0, 0.5, 1, 1], [0.25, 0, 0.5, 0.5]])), 2)
    assert opened(photo, lay("x.json", records([[0, 0, 1, 1], [0, 0, 2, 1]])), 2).samples
