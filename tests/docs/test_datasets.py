"""Every example of docs/datasets.md is laid out and opened."""

import re
from pathlib import Path

import pytest

from onnx_gapmil.data import open_data

PAGE = (Path(__file__).resolve().parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- kind: (\w+); images: ([^;]*?)(?:; file: (\S+))? -->\n```\w*\n(.*?)```", PAGE, re.DOTALL)


def test_every_kind_has_an_example():
    assert {kind for kind, *_ in EXAMPLES} == {"folders", "csv", "jsonl", "list", "coco", "voc", "ilsvrc", "yolo"}


@pytest.mark.parametrize(("kind", "images", "file", "content"), EXAMPLES)
def test_an_example_opens(tmp_path, photo, lay, kind, images, file, content):
    for image in images.split():
        photo(image, 120, 100)
    path = lay(file, content) if file else tmp_path
    data = open_data(tmp_path if kind in {"voc", "yolo"} else path)
    assert data.kind == kind
    assert data.notes == ()
    assert sorted(sample.image for sample in data.samples) == sorted(tmp_path / image for image in images.split())
    assert data.samples[0].boxes or kind in {"folders", "list"}
