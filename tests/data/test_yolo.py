"""YOLO's detection data sets, as ultralytics, Roboflow and labelImg lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil.data import apply_class_map, check_sample, open_data, resolve_classes
from onnx_gapmil.errors import DataError

YAML = "path: ../datasets/toy\ntrain: images/train\nval: images/val\nnames:\n  0: owl\n  1: cat\n"


def told(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_data(path)
    return str(caught.value)


def test_a_data_yaml_and_its_validation_split(tmp_path: Path, photo: Any, lay: Any) -> None:
    for name in ("images/train/9.png", "images/val/a.png", "images/val/deep/b.png", "images/val/c.png"):
        photo(name, 80, 40)
    lay("labels/val/a.txt", "1 0.5 0.5 0.25 0.5\n0 0.1 0.2 0.5 0.2 0.3 0.9\n")
    lay("labels/val/deep/b.txt", "")
    config = lay("data.yaml", YAML)
    for place in (config, tmp_path):
        data = open_data(place)
        assert (data.kind, data.class_names, data.root) == ("yolo", ("owl", "cat"), tmp_path)
        assert [sample.name for sample in data.samples] == [
            "images/val/a.png",
            "images/val/c.png",
            "images/val/deep/b.png",
        ]
        assert [sample.labels for sample in data.samples] == [("cat", "owl"), (), ()]
        assert data.notes[0] == "Of the splits of data.yaml 'val' is read, and not train."


def test_fractions_become_pixels_of_the_image_that_is_decoded(tmp_path: Path, photo: Any, lay: Any) -> None:
    photo("images/a.png", 80, 40)
    lay("labels/a.txt", "1 0.5 0.5 0.25 0.5\n0 0.1 0.2 0.5 0.2 0.3 0.9\n")
    lay("classes.txt", "owl\ncat\n")
    data = open_data(tmp_path)
    (sample,) = apply_class_map(data, resolve_classes(data, classes=2))
    assert "numbered as the data set numbers them" in resolve_classes(data, classes=2).source
    boxes = check_sample(sample, (40, 80)).boxes
    assert [box.classes for box in boxes] == [(1,), (0,)]
    assert boxes[0].box == (30, 10, 50, 30)
    assert boxes[1].box == pytest.approx((8, 8, 40, 36))


def test_without_names_classes_are_numbers(tmp_path: Path, photo: Any, lay: Any) -> None:
    photo("images/a.png")
    lay("labels/a.txt", "17 0.5 0.5 0.25 0.5\n")
    assert open_data(tmp_path).samples[0].labels == (17,)


@pytest.mark.parametrize(
    ("names", "split"),
    [("[owl, cat]", "../valid/images"), ("{0: owl, 1: cat}", "list.txt"), ("[owl, cat]", "./valid/images/")],
)
def test_what_exporters_write(tmp_path: Path, photo: Any, lay: Any, names: str, split: str) -> None:
    """Roboflow's paths climb out of the folder that they lie in; others list images in a text file."""
    photo("valid/images/a.png")
    lay("valid/labels/a.txt", "1 0.5 0.5 0.25 0.5\n")
    lay("list.txt", "./valid/images/a.png\n../../secret.png\n")
    data = open_data(lay("data.yaml", f"val: {split}\nnames: {names}\nnc: 2\n"))
    assert (data.samples[0].name, data.samples[0].labels) == ("valid/images/a.png", ("cat",))
    assert data.notes == (
        ("1 image is left out (a path that leads out): ../../secret.png.",) if "list" in split else ()
    )


def test_images_whose_lines_cannot_be_used_are_left_out_and_named(tmp_path: Path, photo: Any, lay: Any) -> None:
    for name, line in (("a", "1 .5 .5 .1 .1"), ("b", "7 .5 .5 .1 .1"), ("c", "1 .5 .5 .1"), ("d", "x .5 .5 .1 .1")):
        photo(f"images/{name}.png")
        lay(f"labels/{name}.txt", f"\n{line}\n")
    lay("classes.txt", "owl\ncat\n")
    data = open_data(tmp_path)
    assert [sample.name for sample in data.samples] == ["images/a.png"]
    assert data.notes == (
        "1 image is left out (class out of range, which is 0 to 1): labels/b.txt, line 2 (class 7).",
        "2 images are left out (a line that is no class and box): labels/c.txt, line 2 ('1 .5 .5 .1'), labels/d.txt, "
        "line 2 ('x .5 .5 .1 .1').",
    )


def test_whole_sets_that_are_wrong(tmp_path: Path, photo: Any, lay: Any) -> None:
    photo("images/a.png")
    lay("labels/a.txt", "1 20 15 10 10\n")
    assert "the numbers of all boxes are pixels, and YOLO's are fractions" in told(tmp_path)
    assert "it has no split whose images are there; looked for" in told(lay("data.yaml", YAML))
    assert "'names' is no list of names" in told(lay("data.yaml", "val: images\nnames: {1: cat}\n"))


def test_the_splits_of_a_classification_set_are_folders_of_classes(tmp_path: Path, photo: Any) -> None:
    """YOLO's classification: train and val hold folders of classes, and one of them is given."""
    for name in ("train/owl/1.png", "train/cat/1.png", "val/owl/2.png", "val/cat/2.png"):
        photo(name)
    assert told(tmp_path).endswith(f"not classes; give one of them: {tmp_path / 'train'}, {tmp_path / 'val'}.")
    assert open_data(tmp_path / "val").class_names == ("cat", "owl")
