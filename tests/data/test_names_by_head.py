"""Which head the names belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.data.names_by_head import NamedHead, names_by_head
from onnx_gapmil.errors import LabelsError

SIDE, COLOUR, DEFECT = NamedHead("side", 2), NamedHead("colour", 3), NamedHead("defect", 1)
FEATURES = NamedHead("f", 3, features=True)
RGB = ["red", "green", "blue"]


def names(*heads: NamedHead, **given: object) -> list[tuple[str, ...] | None]:
    return [found.names for found in names_by_head(None, heads, **given)]  # type: ignore[arg-type]


@pytest.mark.parametrize("heads", [(SIDE, COLOUR), (COLOUR, SIDE)])
def test_names_belong_to_the_head_with_that_many_classes_wherever_it_stands(heads: tuple[NamedHead, ...]) -> None:
    found = dict(zip([head.output for head in heads], names(*heads, asked=RGB), strict=True))
    assert found == {"colour": tuple(RGB), "side": None}


def test_features_have_no_names_even_if_they_are_as_many() -> None:
    found = names_by_head(None, (COLOUR, DEFECT, FEATURES), asked=RGB)
    assert [entry.names for entry in found] == [tuple(RGB), None, None]
    assert found[2].source == "Class names as given. They are of 'colour'; those of 'f' are features, no classes."
    assert found[1].source == "Class names as given. They are of 'colour'; those of 'defect' are 2, shown by number."


def test_one_logit_takes_two_names_or_one() -> None:
    assert names(DEFECT, asked=["ok", "defect"]) == [("ok", "defect")]
    assert names(DEFECT, asked=["defect"]) == [("not defect", "defect")]
    assert names(COLOUR, DEFECT, asked=["ok", "defect"]) == [None, ("ok", "defect")]
    assert names(SIDE, DEFECT, asked=["left", "right"]) == [("left", "right"), None]  # two logits before one


def test_the_head_that_is_asked_for_has_to_fit_the_names_that_are() -> None:
    with pytest.raises(LabelsError, match="3 class names were given, and the model has 2"):
        names(COLOUR, SIDE, asked=RGB, wanted="side")
    assert names(COLOUR, SIDE, asked=["a", "b"], wanted="side") == [None, ("a", "b")]


def test_names_beside_the_model_are_those_of_the_head_that_they_fit(tmp_path: Path) -> None:
    (tmp_path / "m.labels.txt").write_text("red\ngreen\nblue\n")
    found = names_by_head(tmp_path / "m.onnx", (SIDE, COLOUR), wanted="side")
    assert [entry.names for entry in found] == [None, tuple(RGB)]
    with pytest.raises(LabelsError, match=r"3 names for a model of 2 classes.* heads: 'side' \(2 classes\), 'defect' "):
        names_by_head(tmp_path / "m.onnx", (SIDE, DEFECT, FEATURES))


def test_names_that_fit_no_head_list_the_heads() -> None:
    with pytest.raises(LabelsError, match=r"'defect' \(2 classes by one logit\), 'f' \(3 features\)"):
        names(SIDE, DEFECT, FEATURES, asked=RGB)


def test_without_names_all_are_numbers() -> None:
    assert names(SIDE, COLOUR, FEATURES) == [None, None, None]
    assert names(FEATURES) == [None]
