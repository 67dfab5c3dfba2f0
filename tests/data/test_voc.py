"""The format as the VOC development kit describes it: the upper left pixel is (1, 1), both ends belong to the box."""

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.data import RawBox, open_data, read_mask
from onnx_gapmil.errors import DataError
from tests.helpers.voc_xml import annotation


def told(path, **options):
    with pytest.raises(DataError) as caught:
        open_data(path, **options)
    return str(caught.value)


@pytest.fixture
def voc(tmp_path, photo, lay):
    photo("JPEGImages/2007_000032.jpg")
    photo("JPEGImages/2007_000033.jpg")
    photo("JPEGImages/2007_000039.jpg")
    lay("Annotations/2007_000032.xml", annotation("2007_000032.jpg", ("dog", 1, 1, 40, 30), ("cat", 5, 6, 7, 8)))
    lay("Annotations/2007_000033.xml", annotation("2007_000033.jpg", ("dog", 3, 4, 10.5, 12)))
    return tmp_path


def test_boxes_count_from_one_and_both_ends_belong(voc):
    data = open_data(voc)
    assert (data.kind, data.root, data.class_names, data.notes) == ("voc", voc, ("cat", "dog"), ())
    first, second = data.samples
    assert (first.name, first.labels) == ("JPEGImages/2007_000032.jpg", ("dog", "cat"))
    assert first.boxes == (RawBox((0, 0, 40, 30), ("dog",)), RawBox((4, 5, 7, 8), ("cat",)))
    assert second.boxes == (RawBox((2, 3, 10.5, 12), ("dog",)),)


def test_an_edge_of_zero_says_that_all_count_from_zero(voc, lay):
    lay("Annotations/2007_000039.xml", annotation("2007_000039.jpg", ("cat", 0, 4, 10, 12)))
    data = open_data(voc)
    assert data.samples[1].boxes == (RawBox((3, 4, 10.5, 12), ("dog",)),)
    assert data.samples[2].boxes == (RawBox((0, 4, 10, 12), ("cat",)),)
    assert data.notes == (
        "Boxes have edges below 1, so they count from 0, unlike Pascal VOC: they are taken as written.",
    )


def test_difficult_objects_and_images_without_one_are_noted(voc, lay):
    lay("Annotations/2007_000039.xml", annotation("2007_000039.jpg"))
    lay("Annotations/2007_000033.xml", annotation("", ("dog", 3, 4, 10, 12), difficult="1", truncated="1"))
    data = open_data(voc)
    assert len(data.samples) == 2
    assert data.notes == (
        "1 of 3 objects is marked difficult, and kept.",
        "1 image without an object is left out.",
    )


def test_parts_of_an_object_are_no_objects(voc, lay):
    part = b"<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    text = annotation("", ("dog", 3, 4, 10, 12)).replace(b"</object>", part + b"</object>")
    lay("Annotations/2007_000033.xml", text)
    assert open_data(voc).samples[1].boxes == (RawBox((2, 3, 10, 12), ("dog",)),)


@pytest.mark.parametrize("content", ["2007_000033\n", "2007_000032 -1\n2007_000033  1\n", "2007_000033 0\r\n"])
def test_an_image_set_chooses(voc, lay, content):
    image_set = lay("ImageSets/Main/val.txt", content)
    assert open_data(voc).notes == (
        f"All annotations are read; --labels takes an image set alone, such as {image_set}.",
    )
    for data in (open_data(voc, labels=image_set), open_data(image_set)):
        assert [sample.name for sample in data.samples] == ["JPEGImages/2007_000033.jpg"]
        assert data.notes == ()


def test_a_broken_image_set(voc, lay):
    assert "2 of its 2 images have no annotation: x, y" in told(lay("ImageSets/Main/a.txt", "x\ny\n"))
    assert "line 2: '2007_000033 7'; an image" in told(lay("ImageSets/Main/b.txt", "2007_000032 1\n2007_000033 7\n"))
    assert "names no image" in told(lay("ImageSets/Main/c.txt", "\n"))


def test_images_and_annotations_may_lie_apart(tmp_path, voc, photo):
    photo("elsewhere/2007_000033.png")
    data = open_data(tmp_path / "elsewhere", labels=voc / "Annotations")
    assert [sample.image.is_file() for sample in data.samples] == [False, True]
    assert data.samples[1].name == "2007_000033.png"
    assert data.notes == ("1 of 2 images is not there and will fail: 2007_000032.jpg.",)


def test_xml_beside_the_images(tmp_path, photo, lay):
    photo("flat/a.png")
    lay("flat/a.xml", annotation("other.png", ("dog", 1, 1, 4, 4)))  # the tool renamed it: the XML's own name counts
    data = open_data(tmp_path / "flat")
    assert (data.samples[0].name, data.samples[0].labels) == ("a.png", ("dog",))


def test_the_filename_finds_an_image_of_another_name(tmp_path, photo, lay):
    photo("flat/b.png")
    lay("flat/a.xml", annotation("C:\\photos\\b.png", ("dog", 1, 1, 4, 4)))
    assert open_data(tmp_path / "flat").samples[0].name == "b.png"


def test_masks_of_objects_come_before_masks_of_classes(voc):
    index = np.zeros((30, 40), np.uint8)
    index[5:10, 5:10] = 2
    index[4, 4:11] = 255
    both, one = "2007_000032", "2007_000033"
    for folder, name in (("SegmentationObject", both), ("SegmentationClass", both), ("SegmentationClass", one)):
        (voc / folder).mkdir(exist_ok=True)
        image = Image.frombytes("P", (40, 30), index.tobytes())
        image.putpalette([level for level in range(256) for _ in range(3)])
        image.save(voc / folder / f"{name}.png")
    masks = [sample.mask for sample in open_data(voc).samples]
    assert masks == [voc / "SegmentationObject/2007_000032.png", voc / "SegmentationClass/2007_000033.png"]
    assert np.array_equal(read_mask(masks[0], (30, 40)), index == 2)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]>
<annotation><filename>&y;</filename></annotation>"""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BOMB, "it declares a document type or entities, which are not read"),
        (BOMB.decode().encode("utf-16"), "it declares a document type"),
        (b"<!DOCTYPE annotation SYSTEM 'http://x/y.dtd'><annotation/>", "it declares a document type"),
        (b"<annotation><object></annotation>", "not XML: mismatched tag in line 1."),
        (b"", "not XML: no element found in line 1."),
        (b"<html/>", "its outermost element is <html>; <annotation> was expected"),
        (b"<a>" * 1000, "nested deeper than 100"),
        (b"<annotation>&nbsp;</annotation>", "not XML: undefined entity in line 1."),
        (b"<?xml version='1.0' encoding='klingon'?><annotation/>", "not XML"),
        (annotation("", ("", 1, 2, 3, 4)), "object 1: it has no <name>"),
        (annotation("", ("dog", 1, 2, "x", 4)), "object 1: <xmax> is 'x', and a number was expected"),
        (b"<annotation><object><name>a</name><bndbox/></object></annotation>", "object 1: <xmin> is '', and a number"),
    ],
)
def test_broken_and_hostile_xml(voc, lay, content, says):
    path = lay("Annotations/2007_000033.xml", content)
    message = told(voc)
    assert says in message
    assert str(path) in message


def test_a_kit_of_several_years_is_to_be_chosen(tmp_path, lay):
    for year in (2007, 2012):
        lay(f"VOCdevkit/VOC{year}/Annotations/a.xml", annotation("", ("dog", 1, 2, 3, 4)))
    kit = tmp_path / "VOCdevkit"
    assert told(kit).endswith(f"the annotations lie one folder deeper; give {kit / 'VOC2007'}, {kit / 'VOC2012'}.")


def test_images_without_annotations(tmp_path, photo):
    photo("JPEGImages/a.jpg")
    assert "it has JPEGImages, as Pascal VOC, but no Annotations" in told(tmp_path)
