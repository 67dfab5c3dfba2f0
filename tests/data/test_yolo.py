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


LINE = "1 0.5 0.5 0.25 0.5\n"
BOX = (0.375, 0.25, 0.625, 0.75)


@pytest.mark.parametrize(
    "config",
    [
        "val: images/val\nnames: {'0': owl, '1': cat}",
        "train: gone\nvalidation: images/val\nnames: [owl, cat]",
        "path: a/set\nval: ../images/val\nnames: [owl, cat]",
        "val: {here}/images/val\nnames: [owl, cat]",
        "path: ./\nval: val.txt\nnames: [owl, cat]",
    ],
    ids=["texts for numbers", "validation", "path", "absolute", "list"],
)
@pytest.mark.parametrize("listed", ["images/val/a.png", "{here}/images/val/a.png", "data/images/val/a.png"])
def test_what_a_data_yaml_may_spell(tmp_path: Path, photo: Any, lay: Any, config: str, listed: str) -> None:
    """JSON's texts for numbers, ultralytics' `validation`, paths from the root, CVAT's lists, which begin at `data`."""
    photo("images/val/a.png")
    lay("labels/val/a.txt", LINE)
    lay("val.txt", listed.replace("{here}", str(tmp_path)))
    lay("data.yaml", config.replace("{here}", str(tmp_path)))
    (sample,) = open_data(tmp_path).samples
    assert (sample.name, sample.labels, sample.boxes[0].box) == ("images/val/a.png", ("cat",), BOX)


@pytest.mark.parametrize("name", ["coco8.yaml", "set.yml"])
def test_a_data_yaml_of_another_name(tmp_path: Path, photo: Any, lay: Any, name: str) -> None:
    photo("coco8/images/val/a.png")
    lay("coco8/labels/val/a.txt", LINE)
    lay(name, "path: coco8\nval: images/val\nnc: 2\n")
    lay("other.yaml", "names: [1, 2]")
    data = open_data(tmp_path)
    assert [sample.labels for sample in data.samples] == [(1,)]
    assert data.class_names is None
    lay("again.yaml", "val: images/val\nnc: 2\n")
    assert "it has several files like data.yaml; give one: " in told(tmp_path)


def test_a_data_yaml_that_cannot_be_read_is_not_passed_over(tmp_path: Path, photo: Any, lay: Any) -> None:
    photo("images/a.png")
    lay("labels/a.txt", LINE)
    lay("data.yaml", "val: images\nnames: [owl, cat\n")
    assert f"{tmp_path / 'data.yaml'}: not YAML that is accepted" in told(tmp_path)


@pytest.mark.parametrize(("shape", "points"), [("[2, 3]", "0.9 0.9 2 0.1 0.1 0"), ("[2, 2]", "0.9 0.9 0.1 0.1")])
def test_points_of_a_skeleton_are_no_outline(tmp_path: Path, photo: Any, lay: Any, shape: str, points: str) -> None:
    photo("images/a.png")
    lay("labels/a.txt", f"1 0.5 0.5 0.25 0.5 {points}\n")
    lay("data.yaml", f"val: images\nnames: [owl, cat]\nkpt_shape: {shape}\n")
    assert open_data(tmp_path).samples[0].boxes[0].box == BOX


def test_what_label_studio_lays_beside(tmp_path: Path, photo: Any, lay: Any) -> None:
    """Its `notes.json` has categories, and is no COCO; and NumPy writes classes as 1.0."""
    photo("images/a.png")
    lay("labels/a.txt", LINE.replace("1 ", "1.0 ", 1))
    lay("classes.txt", "owl\ncat\n")
    lay("notes.json", {"categories": [{"id": 0, "name": "owl"}, {"id": 1, "name": "cat"}], "info": {"version": "1.0"}})
    assert open_data(tmp_path).samples[0].labels == ("cat",)


def test_splits_without_a_data_yaml_are_not_measured_together(tmp_path: Path, photo: Any, lay: Any) -> None:
    for split in ("train", "val"):
        photo(f"images/{split}/a.png")
        lay(f"labels/{split}/a.txt", LINE)
    data = open_data(tmp_path)
    assert [sample.name for sample in data.samples] == ["images/val/a.png"]
    assert data.notes == ("Of the splits of images 'val' is read, and not train.",)


def test_darknets_lists(tmp_path: Path, photo: Any, lay: Any) -> None:
    """CVAT's YOLO 1.1: the folder of `obj.data` is called `data` in its paths, and text files lie beside images."""
    photo("obj_train_data/a.png")
    lay("obj_train_data/a.txt", LINE)
    lay("obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    lay("obj.names", "owl\ncat\n")
    lay("train.txt", "data/obj_train_data/a.png\n")
    for place in (tmp_path, tmp_path / "obj.data"):
        data = open_data(place)
        assert [(sample.name, sample.labels) for sample in data.samples] == [("obj_train_data/a.png", ("cat",))]
        assert data.class_names == ("owl", "cat")


def test_a_list_of_darknets_that_is_not_there_is_not_the_whole_folder(tmp_path: Path, photo: Any, lay: Any) -> None:
    photo("obj_train_data/a.png")
    lay("obj_train_data/a.txt", LINE)
    config = lay("obj.data", "classes = 2\nvalid = test.txt\nnames = obj.names\n")
    lay("obj.names", "owl\ncat\n")
    assert told(config).endswith(f"it has no split whose images are there; looked for {tmp_path / 'test.txt'}.")


def test_text_files_that_are_not_there_or_no_text(tmp_path: Path, photo: Any, lay: Any) -> None:
    photo("images/a.png")
    photo("images/b.png")
    config = lay("data.yaml", "val: images\nnames: [owl, cat]\n")
    assert told(config).endswith(
        f"no image has a label; the first text file was looked for at {tmp_path}/labels/a.txt."
    )
    lay("labels/a.txt", b"\0\1")
    lay("labels/b.txt", LINE)
    data = open_data(config)
    assert [sample.name for sample in data.samples] == ["images/b.png"]
    assert data.notes[0].startswith(
        f"1 image is left out (a text file that cannot be read): {tmp_path}/labels/a.txt: this"
    )


def test_a_list_whose_paths_all_lead_out(tmp_path: Path, lay: Any) -> None:
    lay("val.txt", "/data/elsewhere/a.png\n")
    assert told(lay("data.yaml", "val: val.txt\nnames: [owl, cat]\n")).endswith(
        f"looked for {tmp_path / 'val.txt'}. 1 image is left out (a path that leads out): /data/elsewhere/a.png."
    )
