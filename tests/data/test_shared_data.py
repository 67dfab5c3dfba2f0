"""Real annotations that others made; they stay where they are, and a test's folder only links to them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from onnx_gapmil.data import apply_class_map, candidate_offsets, check_sample, open_data, read_mask, resolve_classes
from onnx_gapmil.data.class_names import read_class_names, read_wnids
from onnx_gapmil.errors import DataError
from onnx_gapmil.images import read_image

pytestmark = pytest.mark.shared


@pytest.fixture
def ilsvrc(shared, tmp_path):
    """400 photos; a writer of label files for them from the fields of their own annotations."""
    folder = shared / "real/images/ilsvrc_val_227"
    records = json.loads((folder / "annotations.json").read_text())

    def write(label, boxes="boxes_227_xyxy"):
        path = tmp_path / "val.jsonl"
        lines = [{"image": item["file"], "label": item[label], "boxes": item[boxes]} for item in records]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return open_data(folder, labels=path)

    return write


@pytest.fixture
def names(shared):
    def read(name, count):
        path = shared / "real/models/labels" / name
        return read_class_names(path, count), read_wnids(path, count)

    return read


def test_its_own_file_has_other_fields_and_they_are_named(shared):
    with pytest.raises(DataError, match=r"record 1: its fields are 'file', 'label', 'wnid', .*needed are 'image'"):
        open_data(shared / "real/images/ilsvrc_val_227")


def test_every_box_lies_in_its_photo(ilsvrc):
    data = ilsvrc("label")
    assert data.source.endswith("400 images, 338 labels, 609 boxes.")
    assert data.notes == ()
    for sample in apply_class_map(data, resolve_classes(data, classes=1000))[:40]:
        height, width = read_image(sample.image).shape[:2]
        assert check_sample(sample, (height, width)).boxes


def test_boxes_of_the_photos_before_they_were_squashed_are_noticed(ilsvrc):
    (note,) = ilsvrc("label", "boxes_orig_xyxy").notes
    assert "have one that does not lie inside" in note
    assert "The boxes were likely made for images of another size" in note


def test_numbers_wnids_and_words_lead_to_the_same_classes(ilsvrc, names):
    words, wnids = names("imagenet1000_synset_words.txt", 1000)
    numbers = ilsvrc("label")
    expected = [sample.labels for sample in apply_class_map(numbers, resolve_classes(numbers, classes=1000))]
    by_wnid = ilsvrc("wnid")
    found = resolve_classes(by_wnid, classes=1000, names=words, wnids=wnids)
    assert found.source == "Labels are matched with class names (338 exactly)."
    assert [sample.labels for sample in apply_class_map(by_wnid, found)] == expected


def test_a_background_class_is_found_from_the_names(ilsvrc, names):
    data = ilsvrc("label")
    coral, _ = names("imagenet1001_coral.txt", 1001)
    assert candidate_offsets(data, 1001, coral) == (1,)
    found = resolve_classes(data, classes=1001, names=coral)
    assert "class = label + 1, since class 0 is a background class." in found.source
    sample = apply_class_map(data, found)[0]
    assert coral[sample.labels[0]].startswith("puffer")


def test_names_of_the_photos_match_those_of_the_model_with_a_background(ilsvrc, names):
    """Both cranes are called `crane` there, so this name says nothing."""
    coral, _ = names("imagenet1001_coral.txt", 1001)
    by_name, by_number = ilsvrc("name"), ilsvrc("label")
    with pytest.raises(DataError, match="1 of 337 labels match no class of the model: 'crane'"):
        resolve_classes(by_name, classes=1001, names=coral)
    clear = [place for place, sample in enumerate(by_name.samples) if sample.labels != ("crane",)]
    by_name, by_number = (
        replace(data, samples=tuple(data.samples[place] for place in clear)) for data in (by_name, by_number)
    )
    found = resolve_classes(by_name, classes=1001, names=coral)
    expected = apply_class_map(by_number, resolve_classes(by_number, classes=1001, names=coral))
    assert [sample.labels for sample in apply_class_map(by_name, found)] == [sample.labels for sample in expected]


def test_wnids_in_another_order_of_classes(ilsvrc, names):
    order, wnids = names("imagenet1000_darknet_order_synsets.txt", 1000)
    data = ilsvrc("wnid")
    found = resolve_classes(data, classes=1000, names=order, wnids=wnids)
    assert all(order[classes[0]] == wnid for wnid, classes in found.table.items())


@pytest.fixture
def voc(shared, tmp_path):
    real = shared / "real/images/voc2011_labelme"
    for part in ("JPEGImages", "SegmentationObject", "SegmentationClass"):
        (tmp_path / part).symlink_to(real / "instance_segmentation/data_dataset_voc" / part)
    shutil.copytree(real / "bbox_detection/data_dataset_voc/Annotations", tmp_path / "Annotations")
    return tmp_path


def test_real_pascal_voc(voc):
    data = open_data(voc)
    assert [sample.labels for sample in data.samples] == [("person",), ("person",), ("bus", "car")]
    assert [len(sample.boxes) for sample in data.samples] == [2, 4, 3]
    for sample in apply_class_map(data, resolve_classes(data, classes=3, names=["car", "bus", "person"])):
        size = read_image(sample.image).shape[:2]
        checked = check_sample(sample, size)
        assert sample.mask.parent.name == "SegmentationObject"
        mask = read_mask(sample.mask, size)
        index = np.asarray(Image.open(sample.mask))
        assert np.array_equal(mask, (index > 0) & (index < 255))
        inside = np.zeros(size, bool)
        for box in checked.boxes:
            x0, y0, x1, y1 = (round(edge) for edge in box.box)
            inside[y0:y1, x0:x1] = True
        if sample.name != "JPEGImages/2011_000006.jpg":  # whose boxes leave out a person
            assert mask[inside].sum() > 0.99 * mask.sum()


def test_boxes_of_objects_with_several_ids(shared, tmp_path):
    folder = shared / "real/images/photos"
    photos = json.loads((folder / "multi_object_boxes.json").read_text())["images"]
    lines = []
    for name, objects in photos.items():
        height, width = read_image(folder / name).shape[:2]
        scale = (width, height, width, height)
        boxes = [
            {"box": [edge * side for edge, side in zip(item["box"], scale, strict=True)], "label": item["ids"]}
            for item in objects
        ]
        lines.append({"image": name, "boxes": boxes})
    path = tmp_path / "photos.json"
    path.write_text(json.dumps(lines))
    data = open_data(folder, labels=path)
    samples = apply_class_map(data, resolve_classes(data, classes=1000))
    assert len(samples) == 6
    assert sum(len(sample.boxes) for sample in samples) == 13
    for sample in samples:
        assert sample.labels == tuple(sorted({index for box in sample.boxes for index in box.classes}))
        check_sample(sample, read_image(sample.image).shape[:2])
