import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.data import Box, DataSet, RawBox, RawSample, apply_class_map, resolve_classes
from onnx_gapmil.errors import DataError

SYNSETS = ("n01440764 tench, Tinca tinca", "n02012849 crane", "n03126707 crane", "n03710721 maillot, tank suit")


def labelled(*labels, kind="csv", class_names=None):
    samples = tuple(RawSample(Path(f"/{place}.png"), f"{place}.png", (label,)) for place, label in enumerate(labels))
    return DataSet(samples, kind, Path("/"), "A set.", class_names or tuple(sorted(map(str, labels))))


def told(data, **options):
    with pytest.raises(DataError) as caught:
        resolve_classes(data, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("label", "name", "how"),
    [
        ("tench", "tench", "exactly"),
        ("Great_White-Shark", "great white  shark", "apart from case, spaces, underscores and hyphens"),
        ("tench", "tench, Tinca tinca", "by their first name"),
        ("tench, Tinca tinca", "tench", "by their first name"),
        ("Tinca_tinca", "tench, Tinca tinca", "by another of their names"),
        ("n01440764", "n01440764 tench, Tinca tinca", "by WordNet id"),
        ("n01440764-tench", "n01440764", "by WordNet id"),
        ("n02012849", "crane (n02012849)", "by WordNet id"),
        ("tench", "n01440764 tench, Tinca tinca", "by their first name"),
        ("crane", "crane (n02012849)", "apart from case, spaces, underscores and hyphens"),
        ("Cafe\u0301", "CAFÉ", "apart from case, spaces, underscores and hyphens"),
    ],
)
def test_ways_to_match_a_name(label, name, how):
    found = resolve_classes(labelled(label), classes=3, names=("newt", name, "snail"))
    assert found.table == {label: (1,)}
    assert found.source == f"Labels are matched with class names (1 {how})."
    assert found.offset is None


def test_a_stricter_way_wins_over_a_looser_one():
    known = ("Cat", "cat", "cat, house cat", "CAT")
    found = resolve_classes(labelled("cat", "Cat"), classes=4, names=known)
    assert found.table == {"cat": (1,), "Cat": (0,)}


def test_names_that_two_classes_share_match_neither():
    message = told(labelled("crane", "maillot"), classes=4, names=SYNSETS)
    assert message.startswith(
        "1 of 2 labels match no class of the model: 'crane'. The model has 4 classes ('n01440764 "
    )
    assert "Give the model's class names (--names, or STEM.labels.txt beside it), or a map file" in message


def test_wordnet_ids_beside_the_names():
    wnids = [line.split()[0] for line in SYNSETS]
    known = ["tench", "crane (bird)", "crane (machine)", "maillot"]
    found = resolve_classes(labelled(*wnids), classes=4, names=known, wnids=wnids)
    assert found.table == {wnid: (index,) for index, wnid in enumerate(wnids)}
    assert resolve_classes(labelled("n03126707"), classes=4, wnids=wnids).table == {"n03126707": (2,)}


def test_labels_that_match_nothing_are_named_up_to_five():
    data = labelled("dog", *(f"x{number}" for number in range(1, 8)))
    message = told(data, classes=9, names=["dog", *(f"class {index}" for index in range(8))])
    assert message.startswith("7 of 8 labels match no class of the model: 'x1', 'x2', 'x3', 'x4', 'x5', .... The model")
    assert "9 classes ('dog', 'class 0', 'class 1', ...)" in message


def test_more_labels_than_classes():
    message = told(labelled("a", "b", "c"), classes=2, names=["a", "b"])
    assert message.startswith("The data set has 3 labels ('a', 'b', 'c'), and the model only 2 classes ('a', 'b').")


def test_two_spellings_of_one_class_are_one_and_two_things_are_not():
    found = resolve_classes(labelled("cat", "Cat"), classes=2, names=["cat", "dog"])
    assert found.table == {"cat": (0,), "Cat": (0,)}
    message = told(labelled("tank suit", "maillot"), classes=4, names=SYNSETS)
    assert message.startswith(
        "Labels 'tank suit' and 'maillot' both match 'n03710721 maillot, tank suit'; say with --class-map"
    )


def test_names_need_as_many_as_classes():
    assert told(labelled("a"), classes=2, names=["a"]) == "1 class name was given for a model of 2 classes."


@pytest.mark.parametrize(("classes", "first"), [(3, 0), (4, 1)])
def test_folders_without_class_names_are_numbered_in_order(classes, first):
    found = resolve_classes(labelled("dog", "cat", "newt", kind="folders"), classes=classes)
    assert found.table == {"cat": (first,), "dog": (first + 1,), "newt": (first + 2,)}
    assert "The model's class names are not known: the 3 labels are numbered in alphabetical order" in found.source
    assert ("class 0 is taken for a background class" in found.source) == (first == 1)


def test_wnids_without_a_models_wnids_are_numbered_in_order_only_if_all_are_there():
    data = labelled("n02012849", "n01440764", kind="folders")
    found = resolve_classes(data, classes=3, names=["background", "tench", "crane"])
    assert found.table == {"n01440764": (1,), "n02012849": (2,)}
    assert "The model's classes have names, but no WordNet ids" in found.source
    message = told(data, classes=3, names=["newt", "tench", "crane"])
    assert "so the labels ('n01440764', 'n02012849') cannot be matched with its 3 classes" in message


def test_order_says_nothing_where_labels_are_no_folders():
    assert "The model's class names are not known, so the labels ('a', 'b') cannot" in told(
        labelled("a", "b"), classes=2
    )


def test_names_and_numbers_in_one_set():
    found = resolve_classes(labelled("cat", 2, 0), classes=4, names=["newt", "cat", "dog", "snail"])
    assert found.table == {"cat": (1,), 0: (0,), 2: (2,)}
    assert found.offset == 0
    assert found.to_json()["table"] == {"cat": [1], "0": [0], "2": [2]}


NAMES = ["newt", "cat", "dog", "wolf, timber wolf"]


def mapped(tmp_path, content, *labels, names=NAMES, file="map.json"):
    path = tmp_path / file
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return resolve_classes(labelled(*labels), classes=4, names=names, map_file=path)


def test_a_map_file_decides(tmp_path):
    content = {"kitty": "cat", "canine": ["dog", 3], "7": 0, "person": None, "unused": "timber wolf"}
    found = mapped(tmp_path, content, "kitty", "canine", 7, "person")
    assert found.table == {"kitty": (1,), "canine": (2, 3), 7: (0,), "person": ()}
    assert found.source == f"Labels are mapped to classes by {tmp_path / 'map.json'}; 1 label is left out ('person')."
    assert found.to_json()["table"] == {"kitty": [1], "canine": [2, 3], "7": [0], "person": []}


@pytest.mark.parametrize(
    "text", ["kitty,cat\n7,0\n", "label;class\r\nkitty;cat\r\n7;0\r\n", "\ufeffkitty\tCAT\n\n7\t0\n"]
)
def test_a_map_as_a_table(tmp_path, text):
    assert mapped(tmp_path, text, "kitty", 7, file="map.csv").table == {"kitty": (1,), 7: (0,)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"x": 1},
            "it has 0 of the data set's 1 labels; 'kitty' lack. Add them; null as the class",
        ),
        ({"kitty": "bird"}, "label 'kitty': 'bird' is no class: no class of the model has this name"),
        ({"kitty": 4}, "label 'kitty': class 4 is not there; the model has classes 0 to 3."),
        ({"kitty": -1}, "class -1 is not there"),
        ({"kitty": True}, "True is no class"),
        ({"kitty": 1.5}, "1.5 is no class"),
        ({"kitty": None, "x": 0}, "it leaves out all labels of the data set"),
        ({"kitty": None}, "the map gives no label a class"),
        ([1, 2], "a JSON object from label to class was expected"),
        ("{", "not JSON"),
        ("kitty,cat,1\n", "line 1: 3 columns; two were expected"),
        ("kitty,cat\nkitty,dog\n", "line 2: label 'kitty' occurs twice"),
    ],
)
def test_a_broken_map_is_told(tmp_path, content, says):
    with pytest.raises(DataError) as caught:
        mapped(tmp_path, content, "kitty")
    assert says in str(caught.value)


def test_a_map_of_names_needs_the_models_names(tmp_path):
    with pytest.raises(DataError, match="'cat' is no class: the model's class names are not known"):
        mapped(tmp_path, {"kitty": "cat"}, "kitty", names=None)
    assert mapped(tmp_path, {"kitty": "2"}, "kitty", names=None).table == {"kitty": (2,)}


def test_samples_in_the_models_classes(tmp_path):
    box = (1.0, 2.0, 3.0, 4.0)
    raw = (
        RawSample(
            Path("/a.png"), "a.png", ("canine", "kitty"), (RawBox(box), RawBox(box, ("kitty",))), Path("/m/a.png")
        ),
        RawSample(Path("/b.png"), "b.png", ("person",), (RawBox(box, ("person",)),)),
        RawSample(Path("/c.png"), "c.png", ("kitty", "person"), (RawBox(box, ("person",)), RawBox(box, ("kitty",)))),
    )
    data = DataSet(raw, "csv", Path("/"), "A set.")
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"kitty": 1, "canine": [3, 2], "person": None}))
    samples = apply_class_map(data, resolve_classes(data, classes=4, map_file=path))
    first, third = samples
    assert (first.name, first.image, first.labels, first.mask) == ("a.png", Path("/a.png"), (1, 2, 3), Path("/m/a.png"))
    assert first.boxes == (Box(box, (1, 2, 3)), Box(box, (1,)))
    assert (third.name, third.labels, third.boxes) == ("c.png", (1,), (Box(box, (1,)),))


def test_labels_of_boxes_are_resolved_too():
    raw = RawSample(Path("/a.png"), "a.png", (1,), (RawBox((0, 0, 1, 1), (9,)),))
    data = DataSet((raw,), "jsonl", Path("/"), "A set.")
    found = resolve_classes(data, classes=10)
    assert found.table == {1: (1,), 9: (9,)}
    assert apply_class_map(data, found)[0].boxes == (Box((0, 0, 1, 1), (9,)),)
    with pytest.raises(DataError, match="no entry for label 9"):
        apply_class_map(data, resolve_classes(labelled(1), classes=10))


_NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip), min_size=1)


@given(_NAMES.filter(lambda names: len({name.strip() for name in names}) == len(names)), st.data())
def test_the_models_own_names_are_their_classes(names, data):
    """Whatever the names are: a label that is exactly one of them is never taken for another."""
    labels = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    table = resolve_classes(labelled(*labels), classes=len(names), names=names).table
    assert table == {label: (names.index(label),) for label in labels}
