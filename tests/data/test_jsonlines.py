import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.data import RawBox, open_data
from onnx_gapmil.data.files import ImageFinder, Text
from onnx_gapmil.data.jsonlines import read_json_lines
from onnx_gapmil.errors import DataError


def told(path):
    with pytest.raises(DataError) as caught:
        open_data(path)
    return str(caught.value)


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


A, B = {"image": "a.png", "label": 3}, {"image": "b.png", "labels": ["cat", 4]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", lines(A, B)),
        ("x.ndjson", "\n" + lines(A, B).replace("\n", "\r\n\r\n")),
        ("x.json", lines(A, B)),
        ("x.json", [A, B]),
        ("x.json", json.dumps([A, B], indent=2)),
    ],
)
def test_lines_and_lists(photo, lay, name, content):
    photo("a.png")
    photo("b.png")
    data = open_data(lay(name, content))
    assert [sample.labels for sample in data.samples] == [(3,), ("cat", 4)]
    assert (data.kind, data.class_names) == ("jsonl", ("cat",))


def test_one_record_alone(photo, lay):
    photo("a.png")
    for name in ("x.json", "x.jsonl"):
        assert open_data(lay(name, A)).samples[0].labels == (3,)


def test_label_and_labels_are_joined_without_doubles(photo, lay):
    photo("a.png")
    record = {"image": "a.png", "label": 3, "labels": [5, 3], "boxes": [[0, 0, 9, 9, 8]]}
    assert open_data(lay("x.json", [record])).samples[0].labels == (3, 5)


def test_objects_are_boxes_with_labels_and_the_label_stays_the_images(photo, lay):
    photo("a.png")
    objects = [{"class": 7, "box": [1, 2, 3, 4]}, {"label": [0, 5], "box": [5.5, 6, 7, 8]}]
    sample = open_data(lay("x.json", [{"image": "a.png", "label": 7, "objects": objects}])).samples[0]
    assert sample.labels == (7,)
    assert sample.boxes == (RawBox((1, 2, 3, 4), (7,)), RawBox((5.5, 6, 7, 8), (0, 5)))


def test_labels_of_an_image_come_from_its_boxes_if_it_has_none(photo, lay):
    photo("a.png")
    objects = [{"class": 7, "box": [1, 2, 3, 4]}, {"class": 2, "box": [1, 2, 9, 9]}, {"class": 7, "box": [4, 4, 9, 9]}]
    assert open_data(lay("x.json", [{"image": "a.png", "objects": objects}])).samples[0].labels == (7, 2)


def test_texts_that_are_all_numbers_become_numbers(photo, lay):
    photo("a.png")
    record = {"image": "a.png", "label": "03", "boxes": [[1, 2, 3, 4, "12"]]}
    sample = open_data(lay("x.json", [record])).samples[0]
    assert (sample.labels, sample.boxes[0].label) == ((3,), (12,))


def test_numbers_of_boxes_are_kept_for_the_check(photo, lay):
    photo("a.png")
    photo("b.png")
    text = '{"image": "a.png", "label": 1, "boxes": [[NaN, 0, 1e999, 5], [9, 9, 3, 3]]}\n' + lines(
        {"image": "b.png", "label": 1, "boxes": [[0, 0, 9, 9]]}
    )
    boxes = open_data(lay("x.jsonl", text)).samples[0].boxes
    assert math.isnan(boxes[0].box[0])
    assert boxes[0].box[2] == math.inf
    assert boxes[1].box == (9, 9, 3, 3)


def test_a_mask_folder_has_a_png_of_the_same_stem(photo, lay):
    photo("a.jpg")
    mask = photo("masks/a.png")
    records = [{"image": "a.jpg", "label": 1, "mask": "masks"}]
    assert open_data(lay("x.json", records)).samples[0].mask == mask
    assert open_data(lay("x.json", [records[0] | {"mask": "masks/a.png"}])).samples[0].mask == mask


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"file": "a.png", "label": 3}, "line 2: its fields are 'file', 'label'; needed are 'image', and 'label' or"),
        ({"image": "a.png"}, "line 2: its fields are 'image'; needed are"),
        ({"image": "a.png", "label": None}, "line 2: 'a.png' has no label"),
        ({"image": "a.png", "label": []}, "line 2: 'a.png' has no label"),
        ({"image": "a.png", "label": -1}, "line 2: label -1; a number has to be 0 or more"),
        ({"image": "a.png", "label": 2**40}, "line 2: label 1099511627776; a number"),
        ({"image": "a.png", "label": True}, "line 2: label True is neither a number nor a name"),
        ({"image": "a.png", "label": 2.5}, "line 2: label 2.5 is neither"),
        ({"image": "a.png", "label": {"id": 3}}, "line 2: label {'id': 3} is neither"),
        ({"image": "a.png", "label": "  "}, "line 2: label '  '; a name has"),
        ({"image": 3, "label": 3}, "line 2: 'image' is 3, and a path was expected"),
        ({"image": "a.png", "label": 3, "boxes": "all"}, "line 2: 'boxes' is 'all', and a list of boxes"),
        ({"image": "a.png", "label": 3, "boxes": [[1, 2, "3", 4]]}, "has '3' where a number was expected"),
        ({"image": "a.png", "label": 3, "boxes": [[1, 2, None, 4]]}, "has None where a number was expected"),
        (
            {"image": "a.png", "label": 3, "objects": [{"bbox": [1, 2, 3, 4]}]},
            "has the fields 'bbox'; needed",
        ),
        ({"image": "a.png", "label": 3, "mask": 5}, "line 2: 'mask' is 5, and a path"),
        ([1, 2], "line 2: [1, 2] is no JSON object"),
    ],
)
def test_a_broken_record_is_told_with_its_line(photo, lay, record, says):
    photo("a.png")
    photo("b.png")
    assert says in told(lay("x.jsonl", lines(B, record)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (lines(A) + '{"image": "b.png", \n', "line 2: not JSON: "),
        (
            '{"image": "a.png", "image": "b.png", "label": 1}\n',
            "line 1: not JSON that is accepted: key 'image' occurs",
        ),
        ("[" * 100_000, "not JSON that is accepted"),
        ("", "no labelled image was found"),
    ],
)
def test_broken_json_lines(photo, lay, text, says):
    photo("a.png")
    assert says in told(lay("x.jsonl", text))


def test_broken_json_says_line_and_column_and_a_record_its_number(photo, lay):
    photo("a.png")
    assert "x.json: not JSON: Expecting value (line 2, column 3)." in told(lay("x.json", "[\n  ?]"))
    assert "x.json, record 2: label -4" in told(lay("x.json", [A, B | {"labels": [-4]}]))
    assert "its fields are 'note', 'images'" in told(lay("x.json", {"note": 1, "images": {}}))


_LABELS = st.one_of(st.integers(0, 2**31 - 1), st.text(min_size=1, max_size=9).filter(str.strip).map(str.strip))
_NUMBERS = st.floats(allow_nan=False, width=32)


@given(
    st.lists(
        st.tuples(
            st.lists(_LABELS, min_size=1, max_size=3, unique=True),
            st.lists(st.tuples(*[_NUMBERS] * 4, st.lists(_LABELS, max_size=2, unique=True)), max_size=3),
        ),
        max_size=4,
    )
)
def test_what_the_json_module_writes_is_read_back(tmp_path_factory, records):
    folder = tmp_path_factory.getbasetemp()
    text = lines(
        *(
            {"image": f"{index}.png", "labels": labels, "boxes": [[*box[:4], box[4]] for box in boxes]}
            for index, (labels, boxes) in enumerate(records)
        )
    )
    placed = read_json_lines(folder / "x.jsonl", Text(text), ImageFinder([folder])).placed
    assert [sample.labels for sample, _ in placed] == [tuple(labels) for labels, _ in records]
    assert [[(*box.box, list(box.label)) for box in sample.boxes] for sample, _ in placed] == [
        boxes for _, boxes in records
    ]


def test_objects_of_an_image_folder_are_read_as_they_fit(tmp_path, photo):
    """Hugging Face's ImageFolder: two lists, and boxes are mostly COCO's."""
    photo("a.png")
    path = tmp_path / "metadata.jsonl"
    row = {"file_name": "a.png", "objects": {"bbox": [[10, 5, 30, 25], [0, 0, 9, 9]], "categories": [1, 2]}}
    photo("b.png")
    bare = {"file_name": "b.png", "objects": {"bbox": [], "categories": []}}
    path.write_text(f"{json.dumps(row)}\n{json.dumps(bare)}")
    data = open_data(tmp_path)
    sample, empty = data.samples
    assert (sample.labels, empty.labels) == ((1, 2), ())
    assert [box.box for box in sample.boxes] == [(10, 5, 40, 30), (0, 0, 9, 9)]
    assert data.notes[0].startswith(
        "Boxes of 'objects' are read as [x, y, width, height]: of those of the first 1 image 2"
    )
    row["objects"]["categories"] = [1]
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match="line 1: 'objects' has to have one of 'categories' for each 'bbox'"):
        open_data(tmp_path)
    row["objects"]["categories"] = [1, 2]
    own = {"image": "b.png", "label": 1, "boxes": [[1, 1, 5, 5]]}
    path.write_text(f"{json.dumps(row)}\n{json.dumps(own)}")
    with pytest.raises(
        DataError, match=r"line 2: boxes are spelled in two ways, as 'bbox' in .*line 1, and as 'box' or"
    ):
        open_data(tmp_path)
