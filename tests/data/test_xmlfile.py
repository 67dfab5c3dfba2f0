"""Annotations in XML from anybody: what they say, and what a hostile one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.data.xmlfile import (
    MAX_DEPTH,
    MAX_XML_BYTES,
    XmlAnnotation,
    XmlObject,
    counts_from_zero,
    read_annotation,
)
from onnx_gapmil.errors import DataError
from tests.helpers.voc_xml import annotation


def read(path: Path, content: bytes) -> XmlAnnotation:
    path.write_bytes(content)
    return read_annotation(path)


def test_an_annotation_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    found = read(path, annotation("folder\\sub/a b.jpg", (" dog ", 1, 2.5, "  30 ", 4e1), ("cät", 0, 0, 1, 1)))
    assert found == XmlAnnotation(
        path,
        "a b.jpg",
        (XmlObject("dog", (1.0, 2.5, 30.0, 40.0), False), XmlObject("cät", (0.0, 0.0, 1.0, 1.0), False)),
    )


@pytest.mark.parametrize(
    ("text", "difficult"), [("1", True), ("true", True), ("0", False), ("false", False), ("", False)]
)
def test_what_annotators_found_difficult_is_kept(tmp_path: Path, text: str, difficult: bool) -> None:
    found = read(tmp_path / "a.xml", annotation("a.jpg", ("dog", 1, 2, 3, 4), difficult=text))
    assert found.objects[0].difficult is difficult


def test_an_object_may_have_no_box_and_a_file_no_object(tmp_path: Path) -> None:
    found = read(tmp_path / "a.xml", b"<annotation><object><name>dog</name></object></annotation>")
    assert (found.filename, found.objects) == ("", (XmlObject("dog", None, False),))
    assert read(tmp_path / "a.xml", b"<annotation/>").objects == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'<!DOCTYPE a [<!ENTITY x "ha">]><annotation>&x;</annotation>', "it declares a document type or entities"),
        (b"<!DOCTYPE annotation SYSTEM 'file:///etc/passwd'><annotation/>", "it declares a document type or entities"),
        (b"<annotation>&x;</annotation>", "not XML: undefined entity in line 1"),
        (b"<annotation>\n<object>\n</annotation>", "not XML: mismatched tag in line 3"),
        (b"", "not XML: no element found in line 1"),
        (b"<html/>", "its outermost element is <html>; <annotation> was expected"),
        (b"<a>" * (MAX_DEPTH + 1), f"elements are nested deeper than {MAX_DEPTH}"),
        (b" " * (MAX_XML_BYTES + 1), f"are more than the annotation of one image should have ({MAX_XML_BYTES:,})"),
        (b"<?xml version='1.0' encoding='no-such-code'?><annotation/>", "not XML"),
        (b"<annotation><object/></annotation>", "object 1: it has no <name>"),
    ],
)
def test_what_is_no_annotation_is_told_and_nothing_of_it_is_believed(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.xml", content)
    assert str(caught.value).startswith(f"{tmp_path / 'a.xml'}")
    assert said in str(caught.value)


def test_as_deep_as_is_allowed_is_read(tmp_path: Path) -> None:
    inside = b"<a>" * (MAX_DEPTH - 1) + b"</a>" * (MAX_DEPTH - 1)
    assert read(tmp_path / "a.xml", b"<annotation>" + inside + b"</annotation>").objects == ()


@pytest.mark.parametrize(("side", "edge"), [(0, "wide"), (2, ""), (3, "1,5")])
def test_an_edge_that_is_no_number_is_named(tmp_path: Path, side: int, edge: str) -> None:
    box = ["1", "2", "3", "4"]
    box[side] = edge
    name = ("xmin", "ymin", "xmax", "ymax")[side]
    with pytest.raises(DataError, match=rf"object 2: <{name}> is '{edge}', and a number was expected"):
        read(tmp_path / "a.xml", annotation("a.jpg", ("dog", 1, 2, 3, 4), ("cat", *box)))


def test_one_edge_below_one_says_that_pixels_count_from_zero(tmp_path: Path) -> None:
    from_one = read(tmp_path / "a.xml", annotation("a.jpg", ("dog", 1, 1, 3, 4)))
    from_zero = read(tmp_path / "b.xml", annotation("b.jpg", ("dog", 1, 1, 3, 4), ("cat", 5, 0, 9, 9)))
    assert not counts_from_zero([from_one])
    assert counts_from_zero([from_one, from_zero])
    assert not counts_from_zero([])
