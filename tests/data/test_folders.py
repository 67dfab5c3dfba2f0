import os

import pytest

from onnx_gapmil.data import open_data, resolve_classes
from onnx_gapmil.errors import DataError


def told(path):
    with pytest.raises(DataError) as caught:
        open_data(path)
    return str(caught.value)


def labelled(data):
    return {sample.name: sample.labels for sample in data.samples}


def test_folder_names_are_the_labels_and_images_come_in_natural_order(tmp_path, photo):
    for name in ("dog/img10.png", "dog/img2.png", "cat/x.jpg", "cat/deep/er/y.JPG"):
        photo(name)
    data = open_data(tmp_path)
    assert list(labelled(data).items()) == [
        ("cat/deep/er/y.JPG", ("cat",)),
        ("cat/x.jpg", ("cat",)),
        ("dog/img2.png", ("dog",)),
        ("dog/img10.png", ("dog",)),
    ]
    assert (data.kind, data.root, data.class_names, data.notes) == ("folders", tmp_path, ("cat", "dog"), ())
    assert data.samples[0].image == tmp_path / "cat/deep/er/y.JPG"
    assert data.source == f"Folders of classes in {tmp_path}: 4 images, 2 labels."


def test_folders_that_are_all_numbers_become_numbers(tmp_path, photo):
    for name in ("000/a.png", "7/a.png", "12/a.png"):
        photo(name)
    data = open_data(tmp_path)
    assert labelled(data) == {"000/a.png": (0,), "7/a.png": (7,), "12/a.png": (12,)}
    assert data.class_names is None


def test_one_folder_that_is_no_number_keeps_all_of_them_names(tmp_path, photo):
    for name in ("007/a.png", "bond/a.png"):
        photo(name)
    assert set(labelled(open_data(tmp_path)).values()) == {("007",), ("bond",)}


def test_hidden_files_other_files_and_empty_folders_are_passed_over_and_told(tmp_path, photo, lay):
    for name in ("cat/a.png", "cat/._a.png", ".cache/b.png", "dog/b.png", "loose.png"):
        photo(name)
    lay("cat/readme.md", "no image")
    (tmp_path / "newt").mkdir()
    data = open_data(tmp_path)
    assert set(labelled(data)) == {"cat/a.png", "dog/b.png"}
    assert data.notes == (
        "1 folder without an image is no class: newt.",
        "1 image is left out: beside the folders of classes, in none of them.",
    )


def test_links_are_followed_and_a_link_back_is_not(tmp_path, photo):
    real = photo("elsewhere/cat/a.png").parent
    root = tmp_path / "set"
    root.mkdir()
    (root / "cat").symlink_to(real)
    photo("set/dog/b.png")
    (root / "dog" / "loop").symlink_to(root / "dog")
    assert set(labelled(open_data(root))) == {"cat/a.png", "dog/b.png"}


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_in_latin_1_bytes_become_text(tmp_path, photo):
    photo("cat/a.png")
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH102
    os.rename(tmp_path / "cat/a.png", os.fsencode(tmp_path) + b"/caf\xe9/\xfcber.png")  # noqa: PTH104
    photo("cat/a.png")
    data = open_data(tmp_path)
    assert labelled(data) == {"café/über.png": ("café",), "cat/a.png": ("cat",)}
    assert all(sample.image.is_file() for sample in data.samples)


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "test", "validation")])
def test_splits_are_no_classes(tmp_path, photo, names):
    for name in names:
        photo(f"{name}/cat/a.png")
    message = told(tmp_path)
    assert "its folders are splits of a data set, not classes; give one of them: " in message
    assert all(str(tmp_path / name) in message for name in names)


def test_one_folder_deeper_is_named(tmp_path, photo):
    photo("animals/cat/a.png")
    photo("animals/dog/a.png")
    assert told(tmp_path).endswith(f"give {tmp_path / 'animals'} instead.")


def test_one_folder_of_images_is_no_class(tmp_path, photo):
    photo("images/a.png")
    assert "its only folder with images is 'images', which is no class; labels are missing" in told(tmp_path)


def test_nothing_is_told_with_what_was_found_and_what_is_known(tmp_path, photo):
    assert "no data set was recognised: no folder and no image. Known layouts: folders of classes" in told(tmp_path)
    (tmp_path / "cat").mkdir()
    assert "1 folder, none with an image" in told(tmp_path)
    photo("a.png")
    assert "1 image, but no folders of classes" in told(tmp_path)
    assert "no such file or folder" in told(tmp_path / "none")


def test_only_deep_images_are_noted(tmp_path, photo):
    photo("cat/x/a.png")
    photo("dog/x/a.png")
    assert open_data(tmp_path).notes == (
        "All images lie in deeper folders; the top folders are taken for the classes.",
    )


@pytest.mark.parametrize("above", ["set", ".", "set/val"])
def test_words_of_wordnet_ids_come_from_a_list_nearby(tmp_path, photo, lay, above):
    photo("set/val/n02012849/a.png")
    lines = ("n01440764 tench, Tinca tinca", "n02012849 crane")
    lay(f"{above}/LOC_synset_mapping.txt", "\n".join(lines))
    data = open_data(tmp_path / "set/val")
    assert data.class_names == lines
    assert resolve_classes(data, classes=3, names=["newt", "Crane", "tench"]).table == {"n02012849": (1,)}


def test_a_label_file_of_other_fields_is_named_beside_folders_that_are_no_classes(tmp_path, photo, lay):
    """Kaggle's table beside its folder of images, FiftyOne's labels beside `data`."""
    photo("train/a.png")
    lay("train.csv", "image_id,label\na.png,1\n")
    said = "needed too; train.csv has the fields 'image_id', 'label'; needed are 'image', and 'label'"
    assert said in told(tmp_path)
    (tmp_path / "train").rename(tmp_path / "data")
    assert "labels are missing; train.csv has the fields 'image_id', 'label'; needed are" in told(tmp_path)
