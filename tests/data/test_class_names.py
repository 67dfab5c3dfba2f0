import json

import pytest

from onnx_gapmil.data.class_names import find_class_names, read_class_names, read_wnids
from onnx_gapmil.errors import LabelsError

NAMES = ("cat", "dog, small", "newt")


def lay(folder, content, name="labels.txt"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog, small\nnewt\n",
        "\ufeffcat\r\ndog, small\r\nnewt\r\n\r\n",
        "0 cat\n1 dog, small\n2 newt",
        "2: newt\n0: cat\n1: dog, small\n",
        list(NAMES),
        {"2": "newt", "0": "cat", "1": "dog, small"},
        {"cat": 0, "newt": 2, "dog, small": 1},
        {"0": ["n1", "cat"], "1": ["n2", "dog, small"], "2": ["n3", "newt"]},
        {"model_type": "vit", "id2label": {"0": "cat", "1": "dog, small", "2": "newt"}},
    ],
)
def test_every_form_gives_the_names_in_order(tmp_path, content):
    assert read_class_names(lay(tmp_path, content), 3) == NAMES


def test_synset_words_keep_the_first_name_and_more_where_it_is_shared(tmp_path):
    words = (
        "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"
        "n03710637 maillot\nn03710721 maillot, tank suit\n"
    )
    assert read_class_names(lay(tmp_path, words), 5) == (
        "tench",
        "crane (n02012849)",
        "crane (n03126707)",
        "maillot",
        "maillot, tank suit",
    )


def test_bare_synsets_and_numbers_that_are_names_stay(tmp_path):
    assert read_class_names(lay(tmp_path, "n01440764\nn02012849\n"), 2) == ("n01440764", "n02012849")
    assert read_class_names(lay(tmp_path, "7 up\n20 euros\n"), 2) == ("7 up", "20 euros")


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (4, "3 names for a model of 4 classes. One is missing: the model likely has a background class"),
        (2, "3 names for a model of 2 classes. One too many: .* background class"),
        (10, "3 names for a model of 10 classes. Give the file"),
    ],
)
def test_a_wrong_count_tells_both_numbers_and_guesses_a_background_class(tmp_path, count, says):
    with pytest.raises(LabelsError, match=says):
        read_class_names(lay(tmp_path, "a\nb\nc\n"), count)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("l.txt", "a\n\nb\n", "line 2 is empty"),
        ("l.csv", "0,a\n", "tables are not read"),
        ("l.json", '{"0": "a", "2": "b"}', "without a gap"),
        ("l.json", '{"0": "a", "00": "b"}', "without a gap"),
        ("l.json", '{"a": "x", "b": "y"}', "not class indexes"),
        ("l.json", "[1, 2]", "is '1', which is no text"),
        ("l.json", '"a"', "list of names"),
        ("l.json", "{}", "list of names"),
        ("l.json", "[", "not JSON"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, content, says):
    with pytest.raises(LabelsError, match=says):
        read_class_names(lay(tmp_path, content, name), 2)


def test_unreadable_files_are_labels_errors(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(LabelsError, match="UTF-8"):
        read_class_names(tmp_path / "latin.txt", 1)
    with pytest.raises(LabelsError, match="no such file"):
        read_class_names(tmp_path / "none.txt", 1)
    with pytest.raises(LabelsError, match="folder"):
        read_class_names(tmp_path, 1)


def test_labels_beside_the_model_are_found_and_announced(tmp_path):
    assert find_class_names(tmp_path / "m.onnx", 3) is None
    lay(tmp_path, "x\ny\nz\n", "labels.txt")
    assert find_class_names(tmp_path / "m.onnx", 3).names == ("x", "y", "z")
    lay(tmp_path, "a\nb\nc\n", "m.labels.txt")
    found = find_class_names(tmp_path / "m.gapmil.onnx", 3)
    assert found.names == ("a", "b", "c")
    assert "m.labels.txt, beside the model" in found.source
    with pytest.raises(LabelsError, match=r"m\.labels\.txt: 3 names for a model of 7"):
        find_class_names(tmp_path / "m.onnx", 7)


@pytest.mark.parametrize(
    ("content", "count", "wnids"),
    [
        ("n01440764 tench, Tinca tinca\nn02012849 crane\n", 2, ("n01440764", "n02012849")),
        ("n01440764\r\nn02012849\r\n\r\n", 2, ("n01440764", "n02012849")),
        ("background\nn01440764 tench\nn02012849 crane\n", 3, ("", "n01440764", "n02012849")),
        ({"1": ["n02012849", "crane"], "0": ["n01440764", "tench"]}, 2, ("n01440764", "n02012849")),
        (["n01440764", "n02012849"], 2, ("n01440764", "n02012849")),
        ({"id2label": {"0": "n01440764", "1": "n02012849"}}, 2, ("n01440764", "n02012849")),
        ("n01440764 tench\nn02012849 crane\n", 3, None),
        ("cat\nn02012849\n", 2, None),
        ("n014407641\nn020128491\n", 2, None),
        ({"cat": 0, "dog": 1}, 2, None),
    ],
)
def test_wordnet_ids_of_a_file_of_names(tmp_path, content, count, wnids):
    assert read_wnids(lay(tmp_path, content), count) == wnids


def test_wordnet_ids_are_found_beside_a_model_too(tmp_path):
    lay(tmp_path, "n01440764 tench, Tinca tinca\nn02012849 crane\n", "m.labels.txt")
    found = find_class_names(tmp_path / "m.onnx", 2)
    assert (found.names, found.wnids) == (("tench", "crane"), ("n01440764", "n02012849"))
