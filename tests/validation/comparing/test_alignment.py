"""Which class is which: by names, by labels, by number, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.data.class_names import ClassNames
from onnx_gapmil.data.types import ClassMap
from onnx_gapmil.errors import DataError
from onnx_gapmil.validation.comparing.alignment import Alignment, ModelClasses, align


def named(*names: str, labels: ClassMap | None = None) -> ModelClasses:
    return ModelClasses(len(names), ClassNames(names, "given"), labels)


def unnamed(count: int, labels: ClassMap | None = None, *, given: bool = False) -> ModelClasses:
    return ModelClasses(count, ClassNames(None, "none"), labels, given)


def numbers(count: int, offset: int) -> ClassMap:
    return ClassMap(offset, {label: (label + offset,) for label in range(count)}, "numbers")


def mirrored(found: Alignment) -> set[tuple[int, int]]:
    return {(two, one) for one, two in found.pairs}


def test_names_decide_whatever_the_order() -> None:
    old, new = named("cat", "dog", "bird"), named("Bird", "cat", "dog")
    found = align(old, new)
    assert found.pairs == ((0, 1), (1, 2), (2, 0))
    assert found.of_new().tolist() == [2, 0, 1]
    assert mirrored(found) == set(align(new, old).pairs)


def test_labels_that_names_do_not_bear_out_decide_and_it_is_said() -> None:
    """darknet's order of ImageNet's classes under the numbers of another's."""
    names = [f"thing {index}" for index in range(20)]
    found = align(
        named(*names, labels=numbers(20, 0)), named("thing 0", *(f"n{n}" for n in range(19)), labels=numbers(20, 0))
    )
    assert found.pairs == tuple((index, index) for index in range(20))
    assert "Only 1 of these 20 pairs have the same name in both models" in found.source


def test_exchanged_sides_pair_the_same_classes() -> None:
    old = named("tench, Tinca tinca", "crane", "grey crane", "bee")
    new = named("crane bird, crane", "Tinca tinca", "bee", "crane, lifting machine")
    assert mirrored(align(old, new)) == set(align(new, old).pairs)


def test_a_dropped_class_has_no_partner_and_says_so() -> None:
    found = align(named("cat", "dog", "bird"), named("dog", "cat"))
    assert found.pairs == ((0, 1), (1, 0))
    assert found.unaligned == (1, 0)
    assert "1 of the old model's have no partner" in found.source


def test_two_cranes_between_neighbours_are_told_by_their_places() -> None:
    names = [f"bird {index}" for index in range(20)]
    names[5] = names[12] = "crane"
    found = align(named(*names), named("background", *names))
    assert found.pairs == tuple((index, index + 1) for index in range(20))
    assert "18, and 2 more by their places among these" in found.source


def test_names_that_are_no_help_leave_it_to_the_labels() -> None:
    old, new = named("a", "b", labels=numbers(2, 0)), named("x", "y", "z", labels=numbers(2, 1))
    assert align(old, new).pairs == ((0, 1), (1, 2))


def test_label_offsets_shift_and_class_maps_pair() -> None:
    found = align(unnamed(1000, numbers(1000, 0)), unnamed(1001, numbers(1000, 1)))
    assert found.pairs[:2] == ((0, 1), (1, 2))
    assert found.unaligned == (0, 1)
    tables = ClassMap(None, {"a": (4,), "b": (2,), "c": (1, 3)}, ""), ClassMap(None, {"a": (0,), "b": (1,)}, "")
    assert align(unnamed(5, tables[0]), unnamed(2, tables[1])).pairs == ((2, 1), (4, 0))


def test_a_thousand_and_one_classes_against_a_thousand_have_a_background() -> None:
    found = align(unnamed(1001), unnamed(1000))
    assert found.pairs[0] == (1, 0)
    assert "class 0 of the old model is taken for a background" in found.source
    assert align(named("background", "a", "b"), unnamed(2)).pairs == ((1, 0), (2, 1))


def test_equal_numbers_are_taken_by_number_and_that_is_said() -> None:
    found = align(unnamed(4), named("a", "b", "c", "d"))
    assert found.pairs == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert "taken for the same by number" in found.source


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (unnamed(10), unnamed(12)),
        (named("cat", "dog"), named("apple", "pear")),
        (unnamed(10, numbers(10, 0)), unnamed(100, numbers(10, 0))),
    ],
)
def test_what_cannot_be_told_is_refused_and_names_the_way_out(old: ModelClasses, new: ModelClasses) -> None:
    with pytest.raises(DataError, match="--class-map-new"):
        align(old, new)


def test_an_offset_that_the_user_gives_counts_for_other_numbers_too() -> None:
    new = unnamed(100, numbers(10, 0), given=True)
    assert align(unnamed(10, numbers(10, 0)), new).pairs == tuple((index, index) for index in range(10))


def test_without_labels_a_map_leads_from_the_old_classes_to_the_new(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"cat": 2, "1": "pear", "bird": None}))
    old, new = named("cat", "dog", "bird"), named("apple", "pear", "plum")
    assert align(old, new, map_new=file).pairs == ((0, 2), (1, 1))
    for wrong, said in (({"cat": [0, 1]}, "2 classes"), ({"horse": 1}, "no class"), ({"cat": 1, "dog": 1}, "two")):
        file.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=said):
            align(old, new, map_new=file)
