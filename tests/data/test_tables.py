import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.data import RawBox, apply_class_map, open_data, resolve_classes
from onnx_gapmil.data.files import ImageFinder, Text
from onnx_gapmil.data.tables import read_table
from onnx_gapmil.errors import DataError


def told(path):
    with pytest.raises(DataError) as caught:
        open_data(path)
    return str(caught.value)


def labels_of(data):
    return [sample.labels for sample in data.samples]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separator_line_ends_and_byte_order_mark(photo, lay, delimiter, end):
    photo("a.png")
    photo("b.png")
    rows = [["Image", "note", "Label"], ["a.png", "x", "3"], ["b.png", "", "17"]]
    text = end.join(delimiter.join(row) for row in rows) + end
    data = open_data(lay("labels.csv", b"\xef\xbb\xbf" + text.encode()))
    assert labels_of(data) == [(3,), (17,)]
    assert data.kind == "csv"


def test_several_labels_and_names(photo, lay):
    for name in "abcd":
        photo(f"{name}.png")
    text = 'image,labels\na.png,cat;dog\nb.png,cat | newt\nc.png,"[""a;b"", ""dog""]"\nd.png,"tench, Tinca tinca"\n'
    data = open_data(lay("labels.csv", text))
    assert labels_of(data) == [("cat", "dog"), ("cat", "newt"), ("a;b", "dog"), ("tench, Tinca tinca",)]
    assert data.class_names == ("a;b", "cat", "dog", "newt", "tench, Tinca tinca")


def test_numbers_of_a_column_with_gaps_are_numbers(photo, lay):
    photo("a.png")
    photo("b.png")
    assert labels_of(open_data(lay("labels.csv", "image,label\na.png,3.0\nb.png,12\n"))) == [(3,), (12,)]


def test_boxes_with_labels_in_each_form(photo, lay):
    for name in "abcd":
        photo(f"{name}.png")
    rows = [
        ("a.png", "1", json.dumps([[1, 2, 3.5, 4]]), "", ""),
        ("b.png", "1", "[1, 2, 3, 4]", "7", ""),
        ("c.png", "1", json.dumps([[1, 2, 3, 4, 7], {"box": [5, 6, 7, 8], "label": [8, 9]}]), "", ""),
        ("d.png", "", json.dumps([[1, 2, 3, 4], [5, 6, 7, 8]]), "[7, [8, 9]]", "masks/d.png"),
    ]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("image", "label", "boxes", "box_labels", "mask"), *rows])
    data = open_data(lay("labels.csv", stream.getvalue()))
    assert [sample.boxes for sample in data.samples] == [
        (RawBox((1, 2, 3.5, 4)),),
        (RawBox((1, 2, 3, 4), (7,)),),
        (RawBox((1, 2, 3, 4), (7,)), RawBox((5, 6, 7, 8), (8, 9))),
        (RawBox((1, 2, 3, 4), (7,)), RawBox((5, 6, 7, 8), (8, 9))),
    ]
    assert data.samples[3].labels == (7, 8, 9)
    assert data.samples[3].mask == data.root / "masks/d.png"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,class\na.png,3\n", "line 1 (the header): its fields are 'file', 'class'; needed are 'image', and"),
        ("image,label\na.png,3\nb.png\n", "line 3: 1 cell, and the header has 2"),
        ("image,label\n\na.png,3,4\n", "line 3: 3 cells, and the header has 2"),
        ("image,label\na.png,\n", "line 2: 'a.png' has no label"),
        ("image,label\na.png,3;;4\n", "line 2: 'label' is '3;;4', which has an empty label"),
        ("image,label,label\na.png,3,3\n", "the header has 'label' twice"),
        ("image,label\n,3\n", "line 2: the path of the image is empty"),
        ('image,label\n"a.png,3\n', "line 2: not a table that can be read (unexpected end of data)"),
        ("image,label\na.png,3\na.png,4\n", "line 3: a.png was listed before ("),
        ("image,label,boxes\na.png,3,1 2 3 4\n", "line 2, 'boxes': not JSON: Extra data (column 3)"),
        ('image,label,boxes\na.png,3,"[[1,2,3]]"\n', "line 2: box [1, 2, 3]; a list of four numbers was expected"),
        ('image,label,boxes,box_labels\na.png,3,"[[1,2,3,4]]",1;2\n', "needs one label for each of the 1 box"),
        ("image,label\nhttp://x/a.png,3\n", "line 2: 'http://x/a.png' is a web address"),
        ("image,label\n../a.png,3\n", "line 2: '../a.png' leads out of "),
        ("image,label\n", "no labelled image was found"),
        ("", "the table is empty"),
        ("image,label\nx.png,3\ny.png,4\n", "none of the 2 images named there exists; the first was expected at "),
    ],
)
def test_a_broken_table_is_told_with_its_line(photo, lay, text, says):
    photo("a.png")
    assert says in told(lay("labels.csv", text))


def test_a_row_that_spans_lines_is_named_by_its_first(photo, lay):
    photo("a.png")
    text = 'image,label,note\na.png,3,"one\ntwo"\nb.png,4\n'
    assert "line 4: 2 cells" in told(lay("labels.csv", text))


def test_latin_1_is_read_and_noted(photo, lay):
    photo("café.png")
    data = open_data(lay("labels.csv", "image,label\ncafé.png,Käse\n".encode("latin-1")))
    assert labels_of(data) == [("Käse",)]
    assert data.samples[0].name == "café.png"
    assert data.notes == ("labels.csv is not UTF-8 (byte 15); it was read as Latin-1 (Windows-1252).",)


def test_utf_16_is_read(photo, lay):
    photo("café.png")
    data = open_data(lay("labels.csv", "image;label\r\ncafé.png;Käse\r\n".encode("utf-16")))
    assert labels_of(data) == [("Käse",)]
    assert data.notes == ()


_NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
_LABEL = _NAME.filter(
    lambda text: text.strip() and not any(mark in text for mark in ";|[") and not text.strip().isdecimal()
)


@given(
    st.lists(st.lists(_LABEL, min_size=1, max_size=3, unique_by=str.strip), min_size=1, max_size=5),
    st.sampled_from(",;\t"),
)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, labels, delimiter):
    folder = tmp_path_factory.getbasetemp()
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(["image", "labels"])
    writer.writerows([f"{index}.png", "|".join(row)] for index, row in enumerate(labels))
    placed = read_table(folder / "x.csv", Text(stream.getvalue()), ImageFinder([folder]))
    assert [sample.labels for sample, _ in placed] == [tuple(label.strip() for label in row) for row in labels]
    assert [sample.name for sample, _ in placed] == [f"{index}.png" for index in range(len(labels))]


def test_other_columns_of_a_table_make_slices(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    path = tmp_path / "a.csv"
    path.write_text("Image,Label,Camera,\na.png,3,night,x\n")
    data = open_data(path)
    assert data.samples[0].columns == (("Camera", "night"),)
    assert apply_class_map(data, resolve_classes(data, classes=10))[0].columns == (("Camera", "night"),)
