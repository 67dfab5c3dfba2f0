"""The format as cocodataset.org describes it: boxes are [x, y, width, height], counted from 0."""

import copy
import json

import pytest

from onnx_gapmil.data import RawBox, open_data
from onnx_gapmil.errors import DataError

COCO = {
    "info": {"year": 2017},
    "licenses": [],
    "images": [
        {"id": 42, "file_name": "000042.png", "width": 40, "height": 30},
        {"id": 7, "file_name": "000007.png", "width": 40, "height": 30},
        {"id": 9, "file_name": "000009.png", "width": 40, "height": 30},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10.5, 5, 20, 4.25], "iscrowd": 0, "area": 85.0},
        {"id": 2, "image_id": 42, "category_id": 18, "bbox": [0, 0, 40, 30], "iscrowd": 0, "segmentation": [[0, 0]]},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        {"id": 4, "image_id": 7, "category_id": 18, "bbox": [2, 2, 2, 2], "iscrowd": 0},
    ],
    "categories": [
        {"id": 18, "name": "dog", "supercategory": "animal"},
        {"id": 1, "name": "person", "supercategory": "person"},
    ],
}


def told(path, **options):
    with pytest.raises(DataError) as caught:
        open_data(path, **options)
    return str(caught.value)


@pytest.fixture
def images(photo):
    for number in (7, 9, 42):
        photo(f"val2017/{number:06}.png")


def test_boxes_labels_names_and_notes(tmp_path, lay, images):
    data = open_data(lay("annotations/instances_val2017.json", COCO))
    assert (data.kind, data.root, data.class_names) == ("coco", tmp_path, ("person", "dog"))
    first, second, third = data.samples
    assert (first.name, first.labels) == ("val2017/000042.png", ("dog",))
    assert first.boxes == (RawBox((0, 0, 40, 30), ("dog",)),)
    assert (second.name, second.labels) == ("val2017/000007.png", ("dog", "person"))
    assert second.boxes == (RawBox((10.5, 5, 30.5, 9.25), ("dog",)), RawBox((2, 2, 4, 4), ("dog",)))
    assert (third.name, third.labels, third.boxes) == ("val2017/000009.png", (), ())
    assert data.notes == (
        "1 crowd keeps its label and loses its box.",
        "1 image has no label: negatives for a multi-label head, left out for another.",
    )


def test_every_way_to_name_it(tmp_path, lay, images):
    file = lay("annotations/instances_val2017.json", json.dumps(COCO, indent=1))
    by_file = open_data(file)
    lay("annotations/captions_val2017.json", {"images": COCO["images"], "annotations": []})
    assert open_data(tmp_path).samples == by_file.samples
    with_folder = open_data(tmp_path / "val2017", labels=file)
    assert [sample.name for sample in with_folder.samples] == ["000042.png", "000007.png", "000009.png"]
    assert [sample.image for sample in with_folder.samples] == [sample.image for sample in by_file.samples]


def test_images_beside_the_file(tmp_path, lay, photo):
    for number in (7, 9, 42):
        photo(f"{number:06}.png")
    lay("_annotations.coco.json", COCO)  # as Roboflow lays it
    assert [sample.name for sample in open_data(tmp_path).samples] == ["000042.png", "000007.png", "000009.png"]


def test_several_instances_are_to_be_chosen(tmp_path, lay, images):
    lay("annotations/instances_val2017.json", COCO)
    lay("annotations/instances_train2017.json", COCO)
    message = told(tmp_path)
    assert "it has several label files; say which with --labels: annotations/instances_train2017.json, " in message


def broken(change):
    data = copy.deepcopy(COCO)
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.pop("categories"), "it has no 'categories'; give COCO's instances_*.json"),
        (lambda data: data["categories"].append({"id": 18, "name": "cat"}), "category 3: its id occurs twice"),
        (lambda data: data["categories"][0].pop("id"), "category 1: 'id' is missing"),
        (lambda data: data["images"].append(data["images"][0]), "image 4: its id occurs twice"),
        (lambda data: data["images"][0].pop("file_name"), "image 1: 'file_name' is missing"),
        (lambda data: data["images"].append("x"), "image 4: 'id' is missing"),
        (lambda data: data["images"][1].update(file_name="../../a.png"), "image 7: '../../a.png' leads out of"),
        (lambda data: data["annotations"][0].update(category_id=5), "annotation 1: category 5 is not among the"),
        (lambda data: data["annotations"][1].update(image_id=5), "annotation 2: image 5 is not among the 'images'"),
        (lambda data: data["annotations"][3].update(bbox=[1, 2, 3]), "annotation 4: box [1, 2, 3]; a list of four"),
        (lambda data: data["annotations"][3].pop("category_id"), "annotation 4: 'category_id' is missing"),
        (lambda data: data["annotations"].append([]), "annotation 5: 'category_id' is missing"),
        (lambda data: data["annotations"].clear(), "no labelled image was found"),
    ],
)
def test_a_broken_file_is_told_with_its_place(lay, images, change, says):
    assert says in told(lay("annotations/instances_val2017.json", broken(change)))


def test_an_annotation_without_a_box_keeps_its_label(lay, images):
    data = open_data(
        lay("annotations/instances_val2017.json", broken(lambda data: data["annotations"][0].update(bbox=[])))
    )
    assert data.samples[1].labels == ("dog", "person")
    assert data.notes[0] == "1 annotations without a box keep their label."


@pytest.mark.parametrize(
    ("labels", "image", "written"),
    [
        ("labels.json", "data/1.png", "1.png"),  # FiftyOne
        ("annotations/instances_default.json", "images/default/1.png", "1.png"),  # CVAT
        ("result.json", "images/1.png", "images/1.png"),  # Label Studio
    ],
)
def test_what_annotation_tools_export(tmp_path, photo, lay, labels, image, written):
    photo(image, 60, 50)
    content = {
        "images": [{"id": 1, "file_name": written}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 2, 30, 40]}],
        "categories": [{"id": 0, "name": "cat"}],
    }
    lay(labels, content)
    assert open_data(tmp_path).samples[0].image == tmp_path / image


def test_categories_of_one_name_are_one_class(lay, images):
    """Roboflow's first category is called after the project, which may be a class's name."""
    data = copy.deepcopy(COCO)
    data["categories"].insert(0, {"id": 0, "name": "person", "supercategory": "none"})
    found = open_data(lay("annotations/instances_val2017.json", data))
    assert found.class_names == ("person", "dog")
    assert found.samples[1].labels == ("dog", "person")
    assert "Categories of one name are one class: person." in found.notes


def test_a_file_of_categories_alone_is_no_data_set(tmp_path, lay, photo):
    for number in (7, 9, 42):
        photo(f"{number:06}.png")
    lay("categories.json", {"categories": COCO["categories"]})
    lay("a.json", COCO)
    assert len(open_data(tmp_path).samples) == 3


def test_splits_that_hold_their_label_files_need_no_other(tmp_path, lay, photo):
    for split in ("train", "valid"):
        photo(f"{split}/000007.png")
        lay(f"{split}/_annotations.coco.json", COCO)
    assert told(tmp_path).endswith(f"give one of them: {tmp_path / 'train'}, {tmp_path / 'valid'}.")
    assert len(open_data(tmp_path / "valid").samples) == 2
