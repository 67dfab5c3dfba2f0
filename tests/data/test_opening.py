import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnx_gapmil.data import apply_class_map, check_sample, open_data, resolve_classes
from onnx_gapmil.errors import DataError

CSV = "image,label\nx/a.png,3\n"


def told(path, **options):
    with pytest.raises(DataError) as caught:
        open_data(path, **options)
    return str(caught.value)


def test_a_label_file_in_the_folder_comes_before_folders_of_classes(tmp_path, photo, lay):
    photo("x/a.png")
    photo("y/b.png")
    assert open_data(tmp_path).kind == "folders"
    lay("notes.csv", "who,when\nme,now\n")
    lay("readme.txt", "two words\n")
    lay("model.json", {"layout": "NCHW"})
    assert open_data(tmp_path).kind == "folders"
    lay("truth.csv", CSV)
    data = open_data(tmp_path)
    assert (data.kind, data.samples[0].labels) == ("csv", (3,))


def test_two_label_files_are_to_be_chosen(tmp_path, photo, lay):
    photo("x/a.png")
    first, second = lay("one.csv", CSV), lay("two.jsonl", {"image": "x/a.png", "label": 5})
    assert told(tmp_path).endswith("it has several label files; say which with --labels: one.csv, two.jsonl.")
    assert open_data(tmp_path, labels=first).samples[0].labels == (3,)
    assert open_data(tmp_path, labels=second).samples[0].labels == (5,)
    assert open_data(first).samples[0].labels == (3,)


def test_the_only_label_file_says_what_it_lacks(tmp_path, photo, lay):
    photo("a.png")
    lay("annotations.json", [{"file": "a.png", "label": 3, "boxes_227": []}])
    message = told(tmp_path)
    assert "annotations.json, record 1: its fields are 'file', 'label', 'boxes_227'; needed are 'image', and" in message


def test_several_files_that_are_no_labels_are_named_with_their_fields(tmp_path, photo, lay):
    photo("a.png")
    lay("one.json", {"note": 1})
    lay("two.csv", "who;when\n")
    message = told(tmp_path)
    assert "1 image, but no folders of classes; one.json has the fields 'note'; two.csv has the fields 'who'" in message


def test_a_list_needs_a_folder_without_folders(tmp_path, photo, lay):
    photo("a.png")
    lay("list.txt", "a.png 3\n")
    assert open_data(tmp_path).kind == "list"
    photo("cat/b.png")
    assert open_data(tmp_path).kind == "folders"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.orc", b"ORC", "not a label file that is known. Known layouts: folders of classes"),
        ("a.parquet", b"PAR1", "1 shard is left out (no Parquet file, or a damaged one): a.parquet"),
        ("a.tar", b"none", "no labelled image was found. 1 shard is left out (no tar): a.tar"),
        ("a.png", b"\x89PNG", "this is one image; a labelled data set was expected"),
        ("a.xml", "<annotation/>", "this is the annotation of one image; give the folder of the data set"),
        ("a.json", "3", "its fields are none. A list of objects is read"),
    ],
)
def test_files_that_are_no_label_files(lay, name, content, says):
    assert says in told(lay(name, content))


def test_labels_need_a_folder_of_images(tmp_path, photo, lay):
    photo("x/a.png")
    file = lay("a.csv", CSV)
    assert "with a label file in --labels, DATA has to be the folder of its images" in told(file, labels=file)
    assert "no such file, and a label file was expected; check the path" in told(tmp_path, labels=tmp_path / "none.csv")
    assert "the folder given with --labels has no XML file" in told(tmp_path, labels=tmp_path / "x")
    assert "no such file or folder" in told("x" * 5000)


def test_the_same_from_anywhere(tmp_path, photo, lay, monkeypatch):
    photo("set/x/a.png")
    lay("set/a.csv", CSV)
    monkeypatch.chdir(tmp_path)
    data = open_data("set")
    assert data.source.startswith("a.csv in set: ")
    monkeypatch.chdir(tmp_path / "set")
    inside = open_data(".")
    assert inside.source.startswith(f"a.csv in {tmp_path / 'set'}: ")
    assert inside == open_data(tmp_path / "set") == replace(data, source=inside.source)
    assert data.samples[0].image.is_absolute()


def test_json_of_a_data_set(tmp_path, photo, lay):
    photo("set/x/a.png")
    lay("set/a.csv", CSV)
    data = open_data(tmp_path / "set")
    assert data.to_json() == {
        "kind": "csv",
        "root": str(tmp_path / "set"),
        "source": f"a.csv in {tmp_path / 'set'}: 1 image, 1 label.",
        "images": 1,
        "keys_sha256": hashlib.sha256(b"x/a.png").hexdigest(),
        "notes": [],
    }


def test_the_scenes_of_the_sample_models():
    scenes = Path(__file__).resolve().parents[2] / "sample_models/scenes"
    data = open_data(scenes)
    assert data.source.startswith("scenes.json in ")
    assert data.source.endswith("sample_models/scenes: 8 images, 10 labels, 23 boxes.")
    samples = apply_class_map(data, resolve_classes(data, classes=10))
    assert samples[1].labels == (3,)
    assert [box.classes for box in samples[1].boxes] == [(3,), (7,)]
    for sample in samples:
        assert check_sample(sample, (96, 96)) is sample


def test_columns_say_the_same_in_every_layout(tmp_path, photo):
    """Truth values as each writer spells them, names with capitals, and not a number, which is nothing."""
    columns = {"Camera": ["Old", "New"], "sunny": [True, False], "weight": [0.5, float("nan")]}
    for name in ("a.png", "b.png"):
        photo(name)
    table = pa.table({"image": ["a.png", "b.png"], "label": [1, 2], **columns})
    pq.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in table.to_pylist()))
    (tmp_path / "x.csv").write_text("Image,label,Camera,sunny,weight\na.png,1,Old,True,0.5\nb.png,2,New,False,\n")
    found = [
        [sample.columns for sample in open_data(tmp_path / f"x.{kind}").samples] for kind in ("csv", "jsonl", "parquet")
    ]
    assert found[0] == [
        (("Camera", "Old"), ("sunny", "true"), ("weight", "0.5")),
        (("Camera", "New"), ("sunny", "false")),
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_the_metadata_of_an_image_folder(tmp_path, photo, name):
    """Hugging Face's ImageFolder calls the image `file_name`."""
    photo("a.png")
    row = {"file_name": "a.png", "label": "cat", "light": "day"}
    (tmp_path / name).write_text(
        f"{','.join(row)}\n{','.join(row.values())}\n" if name.endswith("csv") else json.dumps(row)
    )
    (sample,) = open_data(tmp_path).samples
    assert (sample.name, sample.labels, sample.columns) == ("a.png", ("cat",), (("light", "day"),))
