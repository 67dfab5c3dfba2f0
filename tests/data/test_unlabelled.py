"""Images that a data set says to have no label."""

from __future__ import annotations

import pytest

from onnx_gapmil.data import apply_class_map, open_data, resolve_classes
from onnx_gapmil.errors import DataError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.jsonl", '{"image": "a.png", "labels": ["cat"]}\n{"image": "b.png", "labels": []}\n'),
        ("labels.csv", "image,labels\na.png,cat\nb.png,\n"),
    ],
)
def test_an_empty_list_of_labels_says_that_nothing_is_there(lay, photo, name, text):
    photo("a.png")
    photo("b.png")
    data = open_data(lay(name, text))
    assert [sample.labels for sample in data.samples] == [("cat",), ()]
    assert "1 image has no label: negatives for a multi-label head, left out for another." in data.notes
    found = resolve_classes(data, classes=2, names=["dog", "cat"])
    assert [sample.labels for sample in apply_class_map(data, found)] == [(1,)]
    assert [sample.labels for sample in apply_class_map(data, found, unlabelled=True)] == [(1,), ()]


def test_what_a_map_leaves_out_is_no_negative(lay, photo, tmp_path):
    """Of an image whose only label is left out nobody says that the other classes are not there."""
    photo("a.png")
    photo("b.png")
    data = open_data(lay("labels.csv", "image,labels\na.png,cat\nb.png,bird\n"))
    (tmp_path / "map.json").write_text('{"cat": 1, "bird": null}')
    found = resolve_classes(data, classes=2, names=["dog", "cat"], map_file=tmp_path / "map.json")
    assert [sample.labels for sample in apply_class_map(data, found, unlabelled=True)] == [(1,)]


def test_a_data_set_without_any_label_is_none(lay, photo):
    photo("a.png")
    with pytest.raises(DataError, match="no labelled image was found"):
        open_data(lay("labels.jsonl", '{"image": "a.png", "labels": []}\n'))
