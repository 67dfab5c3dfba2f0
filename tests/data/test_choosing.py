"""Classes by name or number, and thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.data.choosing import choose_classes, read_thresholds
from onnx_gapmil.errors import InputError

NAMES = ["tench, Tinca tinca", "great white shark", "cock", "3"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["cock"], (2,)),
        (["2,0"], (2, 0)),
        (["tench, Tinca tinca"], (0,)),
        (["tench", "2"], (0, 2)),
        (["Great_White-Shark, cock, cock"], (1, 2)),
        (["class 1"], (1,)),
        ([1, "cock"], (1, 2)),
        (["3"], (3,)),
    ],
)
def test_names_and_numbers(asked: list[str | int], found: tuple[int, ...]) -> None:
    assert choose_classes(asked, 4, NAMES, "output 'y'") == found


def test_without_names_numbers_are_all_there_is() -> None:
    assert choose_classes(["0,5", "class 3"], 6, None, "output 'y'") == (0, 5, 3)
    with pytest.raises(InputError, match="'6' is no class; output 'y' has 6, without names, by number from 0 to 5"):
        choose_classes(["6"], 6, None, "output 'y'")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("cok", r"'cok' is no class; output 'y' has 4: 'tench, Tinca tinca', .* Is it 'cock'\?"),
        ("4", "'4' is no class"),
        ("-1", "'-1' is no class"),
        (",", "',' names no class"),
        ("class 9", "'class 9' is no class"),
    ],
)
def test_what_is_no_class_is_told_with_those_that_are(asked: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        choose_classes([asked], 4, NAMES, "output 'y'")


def test_a_number_that_is_another_classs_name_is_asked_about() -> None:
    with pytest.raises(
        InputError, match="'2' is the name of class 0 and the number of another: say 'class 0' or 'class 2'"
    ):
        choose_classes(["2"], 3, ["2", "1", "0"], "output 'y'")
    assert choose_classes(["class 2", "1"], 3, ["2", "1", "0"], "output 'y'") == (2, 1)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20))
def test_each_class_once_in_the_order_that_was_asked_for(numbers: list[int]) -> None:
    names = [f"kind {number}" for number in range(100)]
    as_names = choose_classes([",".join(names[number] for number in numbers)], 100, names, "y")
    assert as_names == choose_classes(list(numbers), 100, names, "y") == tuple(dict.fromkeys(numbers))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("t.json", "[0.1, 0.2, 0.3]", (0.1, 0.2, 0.3)),
        ("t.json", '{"b": 0.25, "2": 0.75}', (0.5, 0.25, 0.75)),
        ("t.txt", "0.1\n0.2\n\n0.3\n", (0.1, 0.2, 0.3)),
        ("t.csv", "c,0.9\na,0.2\n", (0.2, 0.5, 0.9)),
    ],
)
def test_thresholds_from_a_file(tmp_path: Path, name: str, text: str, found: tuple[float, ...]) -> None:
    (tmp_path / name).write_text(text)
    assert read_thresholds(tmp_path / name, 3, ["a", "b", "c"], "output 'y'") == found


def test_one_threshold_is_that_of_all() -> None:
    assert read_thresholds("0.3", 3, None, "output 'y'") == (0.3, 0.3, 0.3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([0.1, 0.2], "2 thresholds, and output 'y' has 3 classes"),
        ([0.1, 0.2, 1.5], "a threshold is a probability above 0 and below 1, not 1.5"),
        ({"d": 0.5}, "'d' is no class"),
        ({"a": "high"}, "a JSON list of numbers, or an object from class to number, was expected"),
        ({"a": 0.1, "0": 0.2}, "has two thresholds"),
    ],
)
def test_thresholds_that_do_not_fit_are_told(tmp_path: Path, content: object, says: str) -> None:
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=says):
        read_thresholds(tmp_path / "t.json", 3, ["a", "b", "c"], "output 'y'")


def test_a_line_that_is_no_threshold_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a,0.5\nb high\n")
    with pytest.raises(InputError, match="line 2, 'b high', is neither a number nor 'name,threshold'"):
        read_thresholds(tmp_path / "t.txt", 3, ["a", "b", "c"], "output 'y'")
