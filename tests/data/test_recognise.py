"""What a label file is, by its first bytes; and what its fields are where it is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.data.recognise import fields_of, recognise
from onnx_gapmil.errors import DataError

COCO = '{"info": {"year": 2017}, "images": [], "annotations": [], "categories": []}'


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", "image,label\nx.png,cat\n", "csv"),
        ("a.CSV", "\n\nlabel;image\ncat;x.png\n", "csv"),
        ("a.tsv", "image\tboxes\n", "csv"),
        ("a.csv", "ImageId,PredictionString\nx,n01440764 1 2 3 4\n", "loc"),
        ("a.csv", "width,height\n1,2\n", None),
        ("a.json", '[{"image": "x.png", "label": 3}]', "json"),
        ("a.jsonl", '{"image": "x.png", "labels": [3]}\n{"image"', "json"),
        ("a.ndjson", '{"image": "x.png", "objects": []}', "json"),
        ("a.json", COCO, "coco"),
        ("a.json", f"\n  {COCO}", "coco"),
        ("a.json", '{"layout": "NCHW", "mean": [0, 0, 0]}', None),
        ("a.json", '[{"images": []}]', None),
        ("a.json", "no json", None),
        ("a.txt", "x.png 7\n", "list"),
        ("a.txt", "\nmy photo.jpeg\tgreat white shark\n", "list"),
        ("a.txt", "ILSVRC2012_val_00000001 490\n", "list"),
        ("a.txt", "great white shark\n", None),
        ("a.txt", "490\n361\n", None),
        ("a.txt", "", None),
        ("a.md", "image,label\n", None),
        ("a", "image,label\n", None),
    ],
)
def test_a_file_is_told_by_its_first_line(tmp_path: Path, name: str, content: str, kind: str | None) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert recognise(tmp_path / name) == kind


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_hides_nothing(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text("image,label\nx.png,cat\n", encoding=encoding)
    assert recognise(tmp_path / "a.csv") == "csv"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        recognise(tmp_path / "none.csv")
    (tmp_path / "a.md").mkdir()
    assert recognise(tmp_path / "a.md") is None, "what has another ending is not opened"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "Width,Height\n1,2\n", "'width', 'height'"),
        ("a.json", '[{"file": "x.png", "class": 1}]', "'file', 'class'"),
        ("a.json", "[]", "none"),
    ],
)
def test_the_fields_of_an_unknown_file_are_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    assert fields_of(tmp_path / name) == said


def test_many_and_long_fields_are_cut(tmp_path: Path) -> None:
    names = [f"{place:02}{'x' * 90}" for place in range(12)]
    (tmp_path / "a.json").write_text(json.dumps([dict.fromkeys(names, 1)]))
    assert fields_of(tmp_path / "a.json") == ", ".join(repr(name[:40]) for name in names[:10])
