"""Class names that a model's file holds."""

import json

import numpy as np
import onnx
import onnx.parser
import pytest

from onnx_gapmil.data.class_names import class_names
from onnx_gapmil.data.stated_names import stated_names

NAMES = ("red thing", "green thing", "kid's toy")


def model(body="y = Softmax(x)", outputs="float[N, 3] y", **metadata):
    text = f'<ir_version: 8, opset_import: ["" : 13, "ai.onnx.ml" : 2]> g (float[N, 3] x) => ({outputs}) {{ {body} }}'
    made = onnx.parser.parse_model(text)
    onnx.helper.set_model_props(made, metadata)
    return made


def named(*texts, name="labels"):
    return onnx.helper.make_tensor(name, onnx.TensorProto.STRING, [len(texts)], [text.encode() for text in texts])


def names_of(made, count=3):
    return class_names(None, count, stated=stated_names(made))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", str(dict(enumerate(NAMES)))),  # Ultralytics: as Python prints it
        ("names", json.dumps(list(NAMES))),
        ("class_names", json.dumps({str(index): name for index, name in enumerate(NAMES)})),
        ("class_names", json.dumps([{str(index): name for index, name in enumerate(NAMES)}])),  # one for each output
        ("id2label", json.dumps({"2": NAMES[2], "0": NAMES[0], "1": NAMES[1]})),
        ("class_to_idx", json.dumps({name: index for index, name in enumerate(NAMES)})),
        ("character", "\n".join(NAMES) + "\n"),  # RapidAI
        ("labels", ", ".join(NAMES)),
        ("Labels", "\r\n".join(NAMES)),
        ("model_info label_info", json.dumps({"label_names": list(NAMES), "label_groups": []})),
    ],
)
def test_names_in_the_metadata_are_read(key, value):
    found = names_of(model(**{key: value}))
    assert found.names == NAMES
    assert repr(key) in found.source


def test_model_apis_labels_stand_between_spaces():
    found = names_of(model(**{"model_info labels": "red_thing green_thing toy"}))
    assert found.names == ("red_thing", "green_thing", "toy")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "{",
        "{0: 'a'",
        "[1, 2, 3]",
        "{'a': 'b'}",
        "__import__('os')",
        "[" * 5000,
        "{0: 'a', 2: 'b', 3: 'c'}",
        "x",
        "0.7",
    ],
)
def test_values_that_are_no_names_are_none(value):
    assert names_of(model(names=value)).names is None


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1", "LABEL_2"], ["class0", "class1", "class2"]])
def test_placeholders_are_no_names(names):
    assert names_of(model(names=json.dumps(names))).names is None


def test_a_zipmaps_labels_are_the_names():
    made = model('s = Softmax(x) y = ai.onnx.ml.ZipMap<classlabels_strings = ["a", "b", "c"]>(s)', "float[N, 3] y")
    found = names_of(made)
    assert (found.names, stated_names(made)[0].scores) == (("a", "b", "c"), "s")
    assert "ZipMap" in found.source


@pytest.mark.parametrize(("numbers", "names"), [("10, 20, 40", ("10", "20", "40")), ("0, 1, 2", None)])
def test_a_zipmaps_numbers_are_names_where_they_are_not_the_places(numbers, names):
    made = model(f"s = Softmax(x) y = ai.onnx.ml.ZipMap<classlabels_int64s = [{numbers}]>(s)")
    assert names_of(made).names == names


@pytest.mark.parametrize(
    "body",
    [
        "s = Softmax(x) a = ArgMax<axis = 1, keepdims = 0>(s) y = Gather(labels, a)",
        "a = ArgMax<axis = 1>(x) y = ai.onnx.ml.ArrayFeatureExtractor(labels, a)",
        "k = Constant<value = int64[1] {1}>() v, a = TopK(x, k) c = Cast<to = 7>(a) y = Gather(labels, c)",
    ],
)
def test_texts_that_the_best_class_picks_are_the_names(body):
    made = model(body, "string[N] y")
    made.graph.initializer.append(named(*NAMES))
    found = names_of(made)
    assert found.names == NAMES
    assert stated_names(made)[0].scores in ("x", "s")


def test_an_encoder_from_numbers_to_texts_names_them():
    body = (
        "a = ArgMax<axis = 1, keepdims = 0>(x) "
        'y = ai.onnx.ml.LabelEncoder<keys_int64s = [1, 0, 2], values_strings = ["b", "a", "c"]>(a)'
    )
    assert names_of(model(body, "string[N] y")).names == ("a", "b", "c")


def test_texts_that_are_picked_by_a_constant_are_no_names():
    made = model("i = Constant<value = int64[1] {0}>() y = Gather(labels, i)", "string[N] y")
    made.graph.initializer.append(named(*NAMES))
    assert stated_names(made) == ()


def test_the_first_that_fits_counts_and_what_says_otherwise_is_named():
    made = model(names=json.dumps(list(NAMES)), labels=json.dumps(["x", "y", "z"]), classes=json.dumps(["one", "two"]))
    found = names_of(made)
    assert found.names == NAMES
    assert "'labels' says otherwise" in found.source
    other = names_of(made, 5)
    assert other.names is None
    assert "'names' has 3 names" in other.source
    assert "the head has 5 classes" in other.source


def test_names_that_are_wordnet_ids_are_ids_too():
    ids = ["n01440764", "n01443537", "n01484850"]
    assert names_of(model(names=json.dumps(ids))).wnids == tuple(ids)


def test_a_file_beside_the_model_comes_before_what_the_model_holds(tmp_path):
    (tmp_path / "labels.txt").write_text("x\ny\nz\n")
    stated = stated_names(model(names=json.dumps(list(NAMES))))
    assert class_names(tmp_path / "m.onnx", 3, stated=stated).names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, ("a", "b", "c")),
        ({"label_names": ["a", "b", "c"], "architecture": "resnet18"}, ("a", "b", "c")),  # timm
        ({"id2label": {"0": "a", "1": "b"}}, None),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}, None),
        ({"model_type": "vit"}, None),
        ([1], None),
    ],
)
def test_a_librarys_configuration_beside_the_model_names_classes(tmp_path, data, names):
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert class_names(tmp_path / "m.onnx", 3).names == names
    (tmp_path / "onnx").mkdir()
    assert class_names(tmp_path / "onnx" / "m.onnx", 3).names == names


def test_what_is_read_leaves_the_model_alone():
    made = model(names=str(dict(enumerate(NAMES))))
    before = made.SerializeToString()
    stated_names(made)
    assert made.SerializeToString() == before
    assert np.all([made.metadata_props[0].key == "names"])
