"""Parquet of the Hugging Face kind: what is read of it, and what is left out and named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from onnx_gapmil.data import apply_class_map, open_data, resolve_classes
from onnx_gapmil.data.photos import locate_photos
from onnx_gapmil.data.types import DataSet
from onnx_gapmil.errors import DataError, ImageError
from onnx_gapmil.images.decode import read_image
from tests.helpers.layouts import IMAGE, class_label, hugging_face

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
NAMES = ("cat", "dog", "owl")


def png(width: int = 40, height: int = 30, level: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (level, 120, 30)).save(stream, "PNG")
    return stream.getvalue()


def images(count: int) -> pa.Array:
    """A struct each; the level of red tells the row."""
    return pa.array([{"bytes": png(level=row), "path": f"{row}.png"} for row in range(count)], STRUCT)


def write(path: Path, features: dict[str, Any] | None = None, **columns: Any) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata(hugging_face(**features))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


def labelled(path: Path, labels: list[Any], names: tuple[str, ...] | None = NAMES, **more: Any) -> Path:
    features = {"image": IMAGE, **({"label": class_label(names)} if names else {})}
    return write(path, features, image=images(len(labels)), label=labels, **more)


def keys(data: DataSet) -> list[str]:
    return [sample.name for sample in data.samples]


def told(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_data(path, **options)
    return str(caught.value)


def test_names_of_a_class_label_and_slices(tmp_path: Path) -> None:
    features = {"image": IMAGE, "label": class_label(NAMES), "camera": class_label(["old", "new"])}
    path = write(
        tmp_path / "a.parquet", features, image=images(3), label=[2, 0, 2], camera=[1, 0, 1], iso=[100, 200, 3]
    )
    data = open_data(path)
    assert data.source == f"a.parquet in {tmp_path}: 3 images, 2 labels."
    assert (data.kind, data.class_names, data.numbered, data.notes) == ("parquet", NAMES, True, ())
    assert [sample.labels for sample in data.samples] == [("owl",), ("cat",), ("owl",)]
    assert data.samples[0].columns == (("camera", "new"), ("iso", "100"))
    assert keys(data) == ["a.parquet#0", "a.parquet#1", "a.parquet#2"]
    assert [int(read_image(sample.image)[0, 0, 0]) for sample in data.samples] == [0, 1, 2]


def test_a_model_without_names_takes_the_class_labels_numbers(tmp_path: Path) -> None:
    """Alphabetical order would make 0 of cat; the data set says 2."""
    data = open_data(labelled(tmp_path / "a.parquet", [2, 0], ("owl", "dog", "cat")))
    classes = resolve_classes(data, classes=3)
    assert [sample.labels for sample in apply_class_map(data, classes)] == [(2,), (0,)]
    assert "the 3 labels are numbered as the data set numbers them" in classes.source


def test_a_folder_of_shards_in_their_order(tmp_path: Path) -> None:
    for shard in (2, 0, 1):
        labelled(tmp_path / f"data/train-{shard:05}-of-00004.parquet", [shard])
    data = open_data(tmp_path)
    assert [sample.labels for sample in data.samples] == [("cat",), ("dog",), ("owl",)]
    assert keys(data)[1] == "data/train-00001-of-00004.parquet#0"
    assert data.notes == ("1 of 4 shards is not there: train-00003-of-00004.",)


def test_one_of_several_splits_is_given_by_a_pattern(tmp_path: Path) -> None:
    labelled(tmp_path / "train-00000-of-00001.parquet", [0, 1])
    labelled(tmp_path / "test-00000-of-00001.parquet", [2])
    said = told(tmp_path)
    assert said.endswith("it has the shards of several splits; give one, in quotes: test-*.parquet, train-*.parquet.")
    assert len(open_data(tmp_path / "train-*.parquet").samples) == 2
    assert len(open_data(tmp_path / "test-{00000..00000}-of-00001.parquet").samples) == 1
    assert told(tmp_path / "none-*.parquet").endswith("no such file; the pattern names none.")
    assert "2 of the 3 shards are not there" in told(tmp_path / "test-{00000..00002}-of-00001.parquet")


def test_splits_in_folders_of_their_own(tmp_path: Path) -> None:
    labelled(tmp_path / "test/0000.parquet", [0])
    labelled(tmp_path / "train/0000.parquet", [0])
    assert told(tmp_path).endswith(f"the shards lie one folder deeper; give {tmp_path / 'test'}, {tmp_path / 'train'}.")


def test_unknown_labels_and_labels_out_of_range_are_left_out_and_named(tmp_path: Path) -> None:
    data = open_data(labelled(tmp_path / "a.parquet", [0, -1, 7, None, 1, -3]))
    assert keys(data) == ["a.parquet#0", "a.parquet#4"]
    assert data.notes == (
        "2 rows are left out (a label of -1, or none: the class is not known): a.parquet#1, a.parquet#3.",
        "2 rows are left out (label out of range, which is 0 to 2): a.parquet#2 (label 7), a.parquet#5 (label -3).",
    )


def test_nothing_is_left(tmp_path: Path) -> None:
    said = told(labelled(tmp_path / "a.parquet", [-1, -1]))
    assert said.endswith(
        "no row is left. 2 rows are left out (a label of -1, or none: the class is not known): a.parquet#0, "
        "a.parquet#1."
    )


def test_several_labels_of_a_row(tmp_path: Path) -> None:
    features = {"image": IMAGE, "labels": {"feature": class_label(NAMES), "_type": "Sequence"}}
    labels = pa.array([[0, 2], [], [1]], pa.list_(pa.int64()))
    data = open_data(write(tmp_path / "a.parquet", features, image=images(3), labels=labels))
    assert [sample.labels for sample in data.samples] == [("cat", "owl"), (), ("dog",)]


def test_numbers_and_names_without_a_class_label(tmp_path: Path) -> None:
    assert open_data(labelled(tmp_path / "a.parquet", [5, 3], None)).samples[0].labels == (5,)
    named = open_data(labelled(tmp_path / "b.parquet", ["tabby", "beagle"], None))
    assert (named.samples[0].labels, named.numbered) == (("tabby",), False)


def test_of_several_columns_of_classes_one_is_asked_for(tmp_path: Path) -> None:
    features = {"img": IMAGE, "fine": class_label(NAMES), "coarse": class_label(["pet", "bird"])}
    path = write(tmp_path / "a.parquet", features, img=images(2), fine=[2, 0], coarse=[1, 0])
    assert told(path).endswith(
        "several columns of classes ('fine', 'coarse'); say with --labels COLUMN which one is meant."
    )
    data = open_data(path, labels="coarse")
    assert [sample.labels for sample in data.samples] == [("bird",), ("pet",)]
    assert data.samples[0].columns == (("fine", "owl"),)
    assert open_data(tmp_path, labels="fine").samples[0].labels == ("owl",)
    assert "it has no column 'none'; its columns are 'img', 'fine', 'coarse'" in told(path, labels="none")


@pytest.mark.parametrize("sized", [True, False])
def test_boxes_of_objects_are_read_as_they_fit_their_images(tmp_path: Path, sized: bool) -> None:
    """COCO's [x, y, width, height], or corners: the images of 40 x 30 tell."""
    corners = [[[10.0, 5.0, 40.0, 30.0], [20.0, 10.0, 30.0, 20.0]], [[0.0, 0.0, 8.0, 8.0]]]
    written = [[[x0, y0, x1 - x0, y1 - y0] if sized else [x0, y0, x1, y1] for x0, y0, x1, y1 in row] for row in corners]
    objects = [{"bbox": row, "category": [place + 1 for place in range(len(row))]} for row in written]
    features = {
        "image": IMAGE,
        "objects": {"feature": {"bbox": {}, "category": class_label(NAMES)}, "_type": "Sequence"},
    }
    data = open_data(write(tmp_path / "a.parquet", features, image=images(2), objects=objects))
    assert [[list(box.box) for box in sample.boxes] for sample in data.samples] == corners
    assert data.samples[0].labels == ("dog", "owl")
    read = "[x, y, width, height]" if sized else "[x0, y0, x1, y1]"
    assert data.notes[0].startswith(f"Boxes of 'objects' are read as {read}: of those of the first 2 images")


READINGS = {
    "[x, y, width, height]": lambda x0, y0, x1, y1: [x0, y0, x1 - x0, y1 - y0],
    "[x0, y0, x1, y1]": lambda *box: list(box),
    "[centre x, centre y, width, height]": lambda x0, y0, x1, y1: [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0],
}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("listed", [True, False])
def test_boxes_that_are_fractions_of_the_image(tmp_path: Path, reading: str, listed: bool) -> None:
    corners = [[[0.25, 0.5, 1.0, 1.0], [0.5, 0.25, 0.75, 0.5]], [[0.0, 0.0, 0.5, 0.25]]]
    written = [[READINGS[reading](*box) for box in row] for row in corners]
    objects = [
        [{"bbox": box, "category": 1} for box in row] if listed else {"bbox": row, "category": [1] * len(row)}
        for row in written
    ]
    data = open_data(write(tmp_path / "a.parquet", {"image": IMAGE}, image=images(2), objects=objects))
    assert [[list(box.box) for box in sample.boxes] for sample in data.samples] == corners
    assert all(sample.relative for sample in data.samples)
    assert data.notes[0].startswith(f"Boxes of 'objects' are read as {reading}, fractions of the image: of those of")


def test_fractions_that_fit_two_readings_are_not_guessed(tmp_path: Path) -> None:
    objects = [[{"bbox": [0.5, 0.5, 0.2, 0.2], "category": 1}]]
    path = write(tmp_path / "a.parquet", {"image": IMAGE}, image=images(1), objects=objects)
    assert told(path).endswith(
        "the boxes of 'objects' are fractions of the image, and of what is not known: of those of the first 1 image 1 "
        "fit their images as [x, y, width, height], 0 as [x0, y0, x1, y1], 1 as [centre x, centre y, width, height]. "
        "Write them in pixels, or as 'boxes' of a label file."
    )


def test_fractions_whose_readings_agree_are_read(tmp_path: Path) -> None:
    objects = [[{"bbox": [0.0, 0.0, 1.0, 0.5], "category": 1}]]
    path = write(tmp_path / "a.parquet", {"image": IMAGE}, image=images(1), objects=objects)
    assert open_data(path).samples[0].boxes[0].box == (0, 0, 1, 0.5)


@pytest.mark.parametrize("odd", [[0.2, 0.2, 1.4, 0.6], [float("nan"), 0.1, 0.2, 0.3]])
def test_a_few_boxes_do_not_turn_fractions_into_pixels(tmp_path: Path, odd: list[float]) -> None:
    """They overshoot, or are no numbers: their images fail, and the others' boxes stay what they are."""
    boxes = [odd, [0.5, 0.6, 0.9, 0.9], [0.3, 0.0, 0.8, 1.0]]
    objects = [[{"bbox": box, "category": 1}] for box in boxes]
    data = open_data(write(tmp_path / "a.parquet", {"image": IMAGE}, image=images(3), objects=objects))
    assert [sample.relative for sample in data.samples] == [True] * 3
    assert [list(sample.boxes[0].box) for sample in data.samples][1:] == boxes[1:]


def test_an_image_whose_only_object_is_of_no_known_class_is_no_negative(tmp_path: Path) -> None:
    objects = [[{"bbox": [0, 0, 9, 9], "category": -1}], [{"bbox": [0, 0, 40, 30], "category": 1}], []]
    data = open_data(write(tmp_path / "a.parquet", {"image": IMAGE}, image=images(3), objects=objects))
    assert [(sample.name, sample.labels) for sample in data.samples] == [("a.parquet#1", (1,)), ("a.parquet#2", ())]
    assert data.notes[0].startswith("1 row is left out (a label of -1, or none: the class is not known): a.parquet#0")


def test_objects_as_a_label_file_has_them_are_not_tried(tmp_path: Path) -> None:
    """`box` is ours: its corners would fit as a size as well."""
    objects = [[{"box": [5, 5, 20, 20], "class": 1}], [{"box": [1, 2, 9, 9], "class": 2}]]
    data = open_data(write(tmp_path / "a.parquet", {"image": IMAGE}, image=images(2), objects=objects))
    assert [sample.boxes[0].box for sample in data.samples] == [(5, 5, 20, 20), (1, 2, 9, 9)]
    assert data.notes == ()


@pytest.mark.parametrize("listed", [True, False])
def test_crowds_keep_their_label_and_lose_their_box_as_in_coco(tmp_path: Path, listed: bool) -> None:
    parts = {"bbox": [[0, 0, 9, 9], [0, 0, 40, 30]], "category": [1, 2], "iscrowd": [False, True]}
    each = [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
    objects = [each if listed else parts]
    data = open_data(write(tmp_path / "a.parquet", {"image": IMAGE}, image=images(1), objects=objects))
    assert [(sample.labels, [box.label for box in sample.boxes]) for sample in data.samples] == [((1, 2), [(1,)])]
    assert "1 crowd keeps its label and loses its box." in data.notes


def test_objects_in_a_column_of_another_name(tmp_path: Path) -> None:
    objects = [[{"bbox": [0, 0, 40, 30], "category_id": 2}]]
    features = {"image": IMAGE, "annotations": [{"bbox": {}, "category_id": class_label(NAMES)}]}
    data = open_data(write(tmp_path / "a.parquet", features, image=images(1), annotations=objects))
    assert data.samples[0].labels == ("owl",)
    assert data.samples[0].boxes[0].box == (0, 0, 40, 30)
    assert (data.class_names, data.numbered) == (NAMES, True)
    assert data.notes[0].startswith("Boxes of 'annotations' are read as")


@pytest.mark.parametrize(
    "image",
    [
        pa.array([png(), png(level=1)], pa.large_binary()),
        pa.array([png(), png(level=1)], pa.binary_view()),
        pa.array(
            [{"bytes": png(), "path": None}] * 2, pa.struct({"bytes": pa.binary_view(), "path": pa.string_view()})
        ),
    ],
    ids=["large", "view", "struct"],
)
def test_bytes_of_every_type(tmp_path: Path, image: pa.Array) -> None:
    light = pa.array(["day", "night"], pa.string_view())
    data = open_data(write(tmp_path / "a.parquet", None, image=image, label=pa.array([1, 2], pa.uint8()), light=light))
    assert [(sample.labels, sample.columns) for sample in data.samples] == [
        ((1,), (("light", "day"),)),
        ((2,), (("light", "night"),)),
    ]
    assert read_image(data.samples[1].image).shape == (30, 40, 3)


@pytest.mark.parametrize(
    "image",
    [
        pa.array([{"bytes": None, "path": "0.png"}, {"bytes": None, "path": "1.png"}]),
        pa.array(["0.png", "1.png"]).dictionary_encode(),
    ],
    ids=["bytes of no type", "dictionary"],
)
def test_paths_of_every_type(tmp_path: Path, photo: Any, image: pa.Array) -> None:
    for name in ("0.png", "1.png"):
        photo(name)
    path = write(tmp_path / "a.parquet", None, image=image, label=[1, 2])
    assert [sample.image for sample in open_data(path).samples] == [tmp_path / "0.png", tmp_path / "1.png"]
    found = locate_photos([str(path)])
    assert [photo.path for photo in found.photos] == [tmp_path / "0.png", tmp_path / "1.png"]
    assert [photo.inside.as_posix() for photo in found.photos] == ["a/0", "a/1"]


def test_gaps_of_columns_are_no_values(tmp_path: Path) -> None:
    """Not a number, and -1 of a ClassLabel: a table says neither, and no slice is made of them."""
    features = {"image": IMAGE, "label": class_label(NAMES), "kind": class_label(["pet", "bird"])}
    more = {"kind": [-1, 1, 0], "weight": [float("nan"), 0.5, None]}
    label = [0.0, 2.0, float("nan")]
    data = open_data(write(tmp_path / "a.parquet", features, image=images(3), label=label, **more))
    assert [(sample.labels, sample.columns) for sample in data.samples] == [
        (("cat",), ()),
        (("owl",), (("kind", "bird"), ("weight", "0.5"))),
    ]
    assert data.notes == ("1 row is left out (a label of -1, or none: the class is not known): a.parquet#2.",)


def test_files_of_several_splits_are_not_measured_together(tmp_path: Path) -> None:
    for name in ("train.parquet", "test.parquet"):
        labelled(tmp_path / name, [0])
    assert told(tmp_path).endswith(
        "it has the shards of several splits; give one, in quotes: test.parquet, train.parquet."
    )


@pytest.mark.parametrize("name", ["plain_text/test-00000-of-00001.parquet", "default/train/0000.parquet"])
def test_shards_of_a_configuration_lie_deeper(tmp_path: Path, name: str) -> None:
    place = labelled(tmp_path / name, [0]).parent
    assert told(tmp_path).startswith(f"{tmp_path}: the shards lie ")
    assert told(tmp_path).endswith(f"deeper; give {place}.")
    with pytest.raises(DataError, match=f"deeper; give {place}"):
        locate_photos([str(tmp_path)])


def test_what_is_near_to_shards_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    assert "train.parquet (a Git LFS pointer, not the file itself; run `git lfs pull`)" in told(tmp_path)
    (tmp_path / "train.parquet").unlink()
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"ARROW1")
    assert "its .arrow files are save_to_disk's; write Parquet with datasets.load_from_disk(...)" in told(tmp_path)


def test_photos_that_can_be_used_are_shown_and_the_rest_is_told(tmp_path: Path) -> None:
    image = pa.array([{"bytes": png(), "path": None}, {"bytes": None, "path": None}], STRUCT)
    write(tmp_path / "a.parquet", None, image=image)
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:99])
    write(tmp_path / "c.parquet", None, label=[1])
    found = locate_photos([str(tmp_path / "*.parquet")])
    assert [photo.inside.as_posix() for photo in found.photos] == ["a/0"]
    said = (
        "1 row is left out (no image): a.parquet#1 (the",
        "1 shard is left out (no Pa",
        "1 shard is left out (no col",
    )
    assert all(note.startswith(start) for note, start in zip(found.notes, said, strict=True))
    with pytest.raises(DataError, match=r"b\.parquet .*: no image was found\. 1 shard is left out"):
        locate_photos([str(tmp_path / "b.parquet")])


def test_our_own_fields_are_those_of_a_label_file(tmp_path: Path) -> None:
    boxes = pa.array([[[1.0, 2.0, 20.0, 20.0]], None], pa.list_(pa.list_(pa.float64())))
    path = labelled(tmp_path / "a.parquet", [3, 4], None, boxes=boxes)
    assert open_data(path).samples[0].boxes[0].box == (1.0, 2.0, 20.0, 20.0)


def test_images_beside_the_file(tmp_path: Path, photo: Any) -> None:
    photo("photos/x.png")
    image = pa.array(
        [{"bytes": None, "path": "photos/x.png"}, {"bytes": png(), "path": None}, {"bytes": None, "path": None}], STRUCT
    )
    data = open_data(write(tmp_path / "a.parquet", {"image": IMAGE}, image=image, label=[1, 2, 3]))
    assert data.samples[0].image == tmp_path / "photos/x.png"
    assert keys(data) == ["a.parquet#0", "a.parquet#1"]
    assert "(the image has neither bytes nor a path)" in data.notes[0]


def test_a_path_that_leads_out_is_not_followed(tmp_path: Path, photo: Any) -> None:
    photo("secret.png")
    image = pa.array([{"bytes": None, "path": "../secret.png"}, {"bytes": png(), "path": None}], STRUCT)
    data = open_data(write(tmp_path / "set/a.parquet", {"image": IMAGE}, image=image, label=[1, 2]))
    assert keys(data) == ["a.parquet#1"]
    assert "'../secret.png' leads out of" in data.notes[0]


def test_bytes_that_are_no_image_fail_by_their_key(tmp_path: Path) -> None:
    image = pa.array([{"bytes": b"no image", "path": "a.png"}, {"bytes": b"", "path": ""}], STRUCT)
    data = open_data(write(tmp_path / "a.parquet", {"image": IMAGE}, image=image, label=[1, 2]))
    for sample, said in zip(data.samples, ("no image in a format that is read", "the file is empty"), strict=True):
        with pytest.raises(ImageError, match=f"{sample.name}: {said}"):
            read_image(sample.image)


def test_shards_that_do_not_belong_are_left_out_and_named(tmp_path: Path) -> None:
    labelled(tmp_path / "s0.parquet", [0, 1], camera=["a", "b"])
    labelled(tmp_path / "s1.parquet", [0], ("cat", "dog", "hen"))
    write(tmp_path / "s2.parquet", {"image": IMAGE}, image=images(1), species=[0])
    write(tmp_path / "s3.parquet", {}, label=[0])
    torn = labelled(tmp_path / "s4.parquet", [0])
    torn.write_bytes(torn.read_bytes()[:-20])
    labelled(tmp_path / "s5.parquet", [2])
    data = open_data(tmp_path)
    assert keys(data) == ["s0.parquet#0", "s0.parquet#1", "s5.parquet#0"]
    assert data.notes[0] == "1 shard is left out (other names of classes than the first one's): s1.parquet."
    assert data.notes[1].startswith(
        "1 shard is left out (no column of labels; --labels names one): s2.parquet (its columns are 'image', 'sp"
    )
    assert data.notes[2].startswith("1 shard is left out (no Parquet file, or a damaged one): s4.parquet (")
    assert data.notes[3] == "Column 'camera' is not in one shard of 5: images there have no value."


def test_shards_whose_labels_are_of_another_kind_are_left_out(tmp_path: Path) -> None:
    """Numbers and names would both be matched with classes, by ways that need not agree."""
    labelled(tmp_path / "a.parquet", [1, 2], None)
    labelled(tmp_path / "b.parquet", ["cat", "dog"], None)
    labelled(tmp_path / "c.parquet", [[1], [2]], None)
    data = open_data(tmp_path)
    assert keys(data) == ["a.parquet#0", "a.parquet#1", "c.parquet#0", "c.parquet#1"]
    assert data.notes == ("1 shard is left out (labels are texts, and the first one's numbers): b.parquet.",)


def test_a_column_without_a_name_makes_no_slice(tmp_path: Path) -> None:
    path = labelled(tmp_path / "a.parquet", [1], None, **{"": [3], "light": ["day"]})
    assert open_data(path).samples[0].columns == (("light", "day"),)


def test_a_shard_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [str(value) for value in rng.integers(0, 10**9, 40_000)]
    table = pa.table({"image": pa.array([png()] * 40_000), "label": labels})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10_000, use_dictionary=False, compression="zstd")
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(2).column(1)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    middle = group.data_page_offset + group.total_compressed_size // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "a.parquet").write_bytes(data)
    found = open_data(tmp_path / "a.parquet")
    assert 16_000 <= len(found.samples) < 30_000
    assert found.notes[0].startswith(
        f"1 torn end of a shard is left out (damaged): a.parquet from row {len(found.samples):,}"
    )


def test_a_parquet_file_without_images_is_none(tmp_path: Path, photo: Any) -> None:
    photo("cat/a.png")
    photo("dog/b.png")
    write(tmp_path / "images.parquet", {}, image=["cat/a.png"], rank=[1])
    assert open_data(tmp_path).kind == "folders"
    assert "1 shard is left out (no column of images): b.parquet" in told(write(tmp_path / "b.parquet", {}, rank=[1]))
