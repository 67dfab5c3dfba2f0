"""A map from labels to classes: both forms say the same. What is wrong in one is told in test_classes.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.data.mapfile import look_up, read_map_file
from onnx_gapmil.errors import DataError

NAMES = ["newt", "cat", "dog"]
WNIDS = ["n01631663", "n02121808", "n02084071"]


def read(path: Path, content: str, classes: int = 3) -> dict[str, tuple[int, ...]]:
    path.write_text(content, encoding="utf-8")
    return read_map_file(path, classes=classes, names=NAMES, wnids=WNIDS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.json", json.dumps({" kitty ": "Cat", "7": 0, "hound": "n02084071", "amphibian": " newt ", "none": None})),
        ("m.csv", "kitty,Cat\n7,0\nhound,n02084071\namphibian, newt\nnone,\n"),
        ("m.txt", "from;to\nkitty;cat\n7;0\n\nhound;n02084071\namphibian;newt\nnone;\n"),
        ("m.tsv", 'kitty\tcat\n7\t0\nhound\tn02084071\n"amphibian"\tnewt\nnone\t\n'),
    ],
)
def test_a_class_is_an_index_a_name_or_a_wordnet_id(tmp_path: Path, name: str, content: str) -> None:
    found = read(tmp_path / name, content)
    assert found == {"kitty": (1,), "7": (0,), "hound": (2,), "amphibian": (0,), "none": ()}


def test_several_classes_of_a_label_are_sorted_and_each_once(tmp_path: Path) -> None:
    assert read(tmp_path / "m.json", '{"pet": ["dog", 1, "cat", "2"]}') == {"pet": (1, 2)}


def test_the_last_class_is_there_and_the_next_is_not(tmp_path: Path) -> None:
    assert read(tmp_path / "m.csv", "a,2\n") == {"a": (2,)}
    with pytest.raises(DataError, match=r"m\.csv, line 1: class 3 is not there; the model has classes 0 to 2\."):
        read(tmp_path / "m.csv", "a,3\n")


def test_labels_that_are_numbers_are_looked_up_by_their_text() -> None:
    table = {"7": (1,), "none": ()}
    assert look_up(table, 7) == look_up(table, "7") == (1,)
    assert look_up(table, "none") == ()
    assert look_up(table, 8) is None
