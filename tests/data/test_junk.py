"""Whatever bytes lie in a label file: a data set or a DataError, never another exception, never a hang."""

import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from onnx_gapmil.data import DataSet, check_sample, open_data, resolve_classes
from onnx_gapmil.data.classes import apply_class_map
from onnx_gapmil.errors import DataError
from tests.helpers.voc_xml import annotation

FIELDS = ["image", "label", "labels", "boxes", "box_labels", "objects", "mask", "box", "class"]
FIELDS += [
    "images",
    "annotations",
    "categories",
    "id",
    "file_name",
    "image_id",
    "category_id",
    "bbox",
    "name",
    "iscrowd",
]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["a.png", "../a.png", "/etc/hostname", "", ".", "..", "\ud800", "masks", "a.png\0", "cat"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=25,
)
RECORD = st.fixed_dictionaries(
    {"image": st.just("a.png") | SCALARS, "label": SCALARS | st.lists(SCALARS, max_size=3)},
    optional={
        "boxes": st.lists(st.lists(SCALARS, max_size=5) | ANYTHING, max_size=3) | ANYTHING,
        "box_labels": ANYTHING,
        "objects": st.lists(st.dictionaries(st.sampled_from(["box", "class", "label"]), ANYTHING), max_size=2),
        "mask": SCALARS,
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("junk")
    (path / "masks").mkdir()
    Image.new("RGB", (8, 6)).save(path / "a.png")
    return path


def opened(path):
    """Open it, go on to the model's classes as an audit does, and let nothing but a DataError through."""
    data, message = None, ""
    try:
        data = open_data(path)
    except DataError as error:
        message = str(error)
    message.encode("utf-8")
    if data is None:
        return None
    assert isinstance(data, DataSet)
    names = [sample.name for sample in data.samples]
    assert len(names) == len(set(names)) > 0
    json.dumps(data.to_json()).encode("utf-8")
    "".join(names).encode("utf-8")
    try:
        for sample in apply_class_map(data, resolve_classes(data, classes=5, names=["cat", "b", "c", "d", "e"])):
            check_sample(sample, (6, 8))
    except DataError:
        pass
    return data


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


@given(st.binary(max_size=300), st.sampled_from(["csv", "tsv", "json", "jsonl", "txt", "xml", "png", "bin"]))
def test_random_bytes(folder, content, ending):
    assert opened(written(folder, f"x.{ending}", content)) is None or ending in {"csv", "tsv", "txt"}


@given(st.text(max_size=200), st.sampled_from(["csv", "txt", "jsonl"]))
def test_random_text_after_a_good_start(folder, text, ending):
    start = {"csv": "image,label,boxes\na.png,1,\n", "txt": "a.png 1\n", "jsonl": '{"image": "a.png", "label": 1}\n'}
    opened(written(folder, f"x.{ending}", (start[ending] + text).encode("utf-8", "surrogatepass")))


@given(ANYTHING, st.sampled_from(["json", "jsonl"]))
def test_random_json(folder, value, ending):
    opened(written(folder, f"x.{ending}", json.dumps(value).encode()))


@given(st.lists(RECORD, max_size=3))
@example([{"image": "\ud800", "label": 1}, {"image": "a.png", "label": 1}])
@example([{"image": "a.png", "label": "\ud800"}])
@example([{"image": "a.png", "label": 1, "mask": "\ud800"}])
def test_random_records(folder, records):
    opened(written(folder, "x.json", json.dumps(records).encode()))
    opened(written(folder, "x.jsonl", "\n".join(map(json.dumps, records)).encode()))


@given(
    st.fixed_dictionaries(
        {
            "images": st.lists(
                st.fixed_dictionaries({"id": st.integers(0, 2) | ANYTHING, "file_name": st.just("a.png") | SCALARS}),
                max_size=2,
            ),
            "annotations": st.lists(
                st.fixed_dictionaries(
                    {
                        "image_id": st.integers(0, 2) | ANYTHING,
                        "category_id": st.integers(0, 2) | ANYTHING,
                        "bbox": st.lists(SCALARS, min_size=4, max_size=4) | ANYTHING,
                        "iscrowd": SCALARS,
                    }
                ),
                max_size=3,
            ),
            "categories": st.lists(
                st.fixed_dictionaries({"id": st.integers(0, 2) | ANYTHING, "name": st.just("cat") | SCALARS}),
                max_size=2,
            ),
        }
    )
)
def test_random_coco(folder, value):
    opened(written(folder, "x.json", json.dumps(value).encode()))


@given(st.data())
def test_broken_copies_of_good_files(folder, data):
    """Cut, doubled and changed bytes of files that are right."""
    good = {
        "x.csv": b'image,label,boxes\r\na.png,"1;2","[[1, 2, 3, 4, 2]]"\r\n',
        "x.jsonl": b'{"image": "a.png", "labels": [1], "objects": [{"class": 2, "box": [1, 2, 3, 4]}]}\n',
        "x.json": b'{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "cat"}], '
        b'"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 2]}]}',
        "LOC_val_solution.csv": b"ImageId,PredictionString\na,n01440764 1 2 3 4\n",
        "x.txt": b"a.png 3\n",
    }
    name = data.draw(st.sampled_from(sorted(good)))
    assert opened(written(folder, name, good[name])) is not None
    content = bytearray(good[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 5))] = data.draw(
            st.binary(max_size=3)
            | st.sampled_from([b'"', b"\n", b"[", b"NaN", b"-1", b"1e999", b"null", b"\0", b"\xff"])
        )
    opened(written(folder, name, bytes(content)))


@given(st.data())
def test_broken_xml(tmp_path_factory, data):
    root = tmp_path_factory.getbasetemp() / "junk_voc"
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(root / "a.png")
    content = bytearray(annotation("a.png", ("cat", 1, 2, 3, 4)))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 5))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"<", b"&x;", b"<!DOCTYPE a>", b"<![CDATA[", b"nan", b"\xff"])
        )
    written(root / "Annotations", "a.xml", bytes(content))
    opened(root)


@given(
    st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, 47}), max_size=3, unique=True)
)
@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_folders_of_any_name(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("names")
    for name in names:
        if name not in (b".", b".."):
            os.mkdir(os.path.join(os.fsencode(root), name))  # noqa: PTH102, PTH118
            Image.new("RGB", (8, 6)).save(os.path.join(os.fsencode(root), name, b"a.png"))  # noqa: PTH118
    opened(root)
