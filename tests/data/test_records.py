"""One record of a label file, of JSON or of a table: every form of labels and boxes, and what is told of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil.data.files import ImageFinder
from onnx_gapmil.data.records import MAX_BOXES, MAX_LABEL, MAX_NAME, read_record
from onnx_gapmil.data.types import RawBox, RawSample
from onnx_gapmil.errors import DataError


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """`read(label=3, ...)` reads a record of a.png."""

    def of(**fields: object) -> RawSample:
        return read_record({"image": "a.png", **fields}, "line 7", ImageFinder((tmp_path,)))

    return of


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"label": 3}, (3,)),
        ({"label": 3.0}, (3,)),
        ({"label": " cat "}, ("cat",)),
        ({"labels": [3, "cat", 3]}, (3, "cat")),
        ({"label": "cat", "labels": ["dog", "cat"]}, ("cat", "dog")),
        ({"label": "", "labels": [0]}, (0,)),
        ({"label": MAX_LABEL}, (MAX_LABEL,)),
        ({"boxes": [[0, 0, 1, 1, "cat"], [2, 2, 3, 3, "dog"], [0, 0, 2, 2, "cat"]]}, ("cat", "dog")),
    ],
)
def test_labels_are_each_once_in_their_order(read: Any, fields: dict[str, object], labels: tuple[object, ...]) -> None:
    assert read(**fields).labels == labels


@pytest.mark.parametrize(
    "fields",
    [
        {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8.5]], "box_labels": ["cat", ["dog", 7]]},
        {"boxes": [[1, 2, 3, 4, "cat"], [5, 6, 7, 8.5, ["dog", 7]]]},
        {"objects": [{"box": [1, 2, 3, 4], "label": "cat"}, {"box": [5, 6, 7, 8.5], "labels": ["dog", 7]}]},
        {"boxes": [[1, 2, 3, 4, "cat"]], "objects": [{"box": [5, 6, 7, 8.5], "class": "dog", "labels": ["dog", 7]}]},
    ],
)
def test_every_form_of_labelled_boxes_says_the_same(read: Any, fields: dict[str, object]) -> None:
    first, (box, labels) = read(**fields).boxes[0], (read(**fields).boxes[1].box, read(**fields).boxes[1].label)
    assert first == RawBox((1.0, 2.0, 3.0, 4.0), ("cat",))
    assert box == (5.0, 6.0, 7.0, 8.5)
    assert set(labels) == {"dog", 7}


@pytest.mark.parametrize("boxes", [[[1, 2, 3, 4]], [1, 2, 3, 4]])
def test_a_single_box_may_lack_its_list_and_is_of_the_images_own_label(read: Any, boxes: list[object]) -> None:
    assert read(label=3, boxes=boxes).boxes == (RawBox((1.0, 2.0, 3.0, 4.0)),)


def test_numbers_beyond_all_floats_lie_outside_every_image(read: Any) -> None:
    assert read(label=3, boxes=[[0, 0, 10**400, 4]]).boxes[0].box[2] == float("inf")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "its fields are 'image'; needed are"),
        ({"label": None}, "'a.png' has no label"),
        ({"label": -1}, "label -1; a number has to be 0 or more"),
        ({"label": MAX_LABEL + 1}, "below 2^31"),
        ({"label": 1.5}, "label 1.5 is neither a number nor a name"),
        ({"label": True}, "label True is neither a number nor a name"),
        ({"label": {"cat": 1}}, "is neither a number nor a name"),
        ({"label": "x" * (MAX_NAME + 1)}, "a name has 1 to 1,000 letters"),
        ({"label": "\ud800"}, "all of them Unicode"),
        ({"image": 3, "label": 3}, "'image' is 3, and a path was expected"),
        ({"label": 3, "boxes": "here"}, "'boxes' is 'here', and a list of boxes was expected"),
        ({"label": 3, "boxes": [[1, 2, 3]]}, "box [1, 2, 3]; a list of four numbers was expected"),
        ({"label": 3, "boxes": [[1, 2, 3, "4"]]}, "has '4' where a number was expected"),
        ({"label": 3, "boxes": [[1, 2, 3, True]]}, "has True where a number was expected"),
        ({"label": 3, "boxes": [[0, 0, 1, 1]] * (MAX_BOXES + 1)}, "'boxes' has 10,001 boxes; at most 10,000 are read"),
        ({"boxes": [[0, 0, 1, 1]], "box_labels": []}, "'box_labels' needs one label for each of the 1 box"),
        ({"label": 3, "objects": [{"bbox": [0, 0, 1, 1]}]}, "an object has the fields 'bbox'; needed is 'box'"),
        ({"label": 3, "mask": 7}, "'mask' is 7, and a path was expected"),
        ({"image": "../a.png", "label": 3}, "../a.png"),
    ],
)
def test_any_other_record_is_told_with_its_place(read: Any, fields: dict[str, object], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(**fields)
    assert str(caught.value).startswith("line 7: ")
    assert said in str(caught.value)


def test_a_long_value_is_cut(read: Any) -> None:
    with pytest.raises(DataError) as caught:
        read(label=3, boxes=[list(range(1000))])
    assert len(str(caught.value)) < 150


def test_a_folder_of_masks_has_the_images_mask_by_its_name(read: Any, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    assert read(label=3, mask="masks").mask == tmp_path / "masks" / "a.png"
    assert read(label=3, mask="m.png").mask == tmp_path / "m.png"
    assert read(label=3, mask="").mask is None


def test_short_values_of_other_fields_make_slices(read: Any) -> None:
    fields = {"label": 1, "camera": " night ", "lens": 35, "flash": False, "note": "", "tags": ["a"], "none": None}
    found = read(**fields, text="x" * 101, half="\ud800")
    assert found.columns == (("camera", "night"), ("lens", "35"), ("flash", "false"))
