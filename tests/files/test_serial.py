"""Typed values as JSON and back: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.files.serial import FLAT, JsonKey, from_json, to_json


@dataclass(frozen=True)
class Shares:
    half: Annotated[float, JsonKey("iou_0.5")]
    mean: float


@dataclass(frozen=True)
class Part:
    names: tuple[str, ...]
    pairs: tuple[tuple[int, float], ...]
    kind: Literal["a", "b"] | None


@dataclass(frozen=True)
class Whole:
    count: int
    shares: Annotated[Shares, FLAT]
    oracle: Shares
    parts: Mapping[str, Part]
    axis: int | str
    right: bool | None
    note: str = "none"


WHOLE = Whole(
    3,
    Shares(0.5, 0.25),
    Shares(0.75, 1.0),
    {"x": Part(("q",), ((1, 0.5), (2, 2.0)), "a"), "y": Part((), (), None)},
    "n",
    True,
)
TEXT = (
    '{"count": 3, "iou_0.5": 0.5, "mean": 0.25, "oracle": {"iou_0.5": 0.75, "mean": 1.0}, "parts": '
    '{"x": {"names": ["q"], "pairs": [[1, 0.5], [2, 2.0]], "kind": "a"}, '
    '"y": {"names": [], "pairs": [], "kind": null}}, '
    '"axis": "n", "right": true, "note": "none"}'
)


@dataclass(frozen=True)
class Cause:
    name: Literal["dilution", "absent"]


def test_a_value_is_an_object_with_its_fields_in_order() -> None:
    assert json.dumps(to_json(WHOLE)) == TEXT


def test_what_was_written_is_read() -> None:
    assert from_json(Whole, json.loads(TEXT)) == WHOLE


def test_what_has_a_default_may_be_absent() -> None:
    found = json.loads(TEXT)
    del found["note"]
    assert from_json(Whole, found) == WHOLE


def changed(**changes: Any) -> dict[str, Any]:
    return json.loads(TEXT) | changes


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "Whole: an object was expected"),
        (changed(count="3"), "Whole.count: int was expected, not '3'"),
        (changed(count=True), "Whole.count: int was expected, not 'True'"),
        (changed(count=3.0), "Whole.count: int was expected"),
        (changed(right=1), "Whole.right: bool was expected"),
        (changed(note=None), "Whole.note: str was expected"),
        (changed(axis=None), r"Whole.axis: int or str was expected"),
        (changed(mean=None), "Whole.mean: float was expected"),
        (changed(oracle={"mean": 1.0}), "Whole.oracle: key 'iou_0.5' is missing"),
        (changed(oracle={"iou_0.5": 1.0, "mean": 1.0, "half": 1.0}), "Whole.oracle: key 'half' is not known"),
        (changed(shares={}), "Whole: key 'shares' is not known"),
        (changed(parts={"x": {"names": "q", "pairs": [], "kind": None}}), "Whole.parts.x.names: a list was expected"),
        (changed(parts={"x": {"names": [], "pairs": [[1]], "kind": None}}), r"pairs\[0\]: a list of 2 was expected"),
        (changed(parts={"x": {"names": [], "pairs": [], "kind": "c"}}), "kind: 'a' or 'b' was expected, not 'c'"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(value: object, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        from_json(Whole, value)


def test_of_a_few_texts_all_values_are_the_same_object() -> None:
    kinds = [from_json(Cause, json.loads('{"name": "dilution"}')).name for _ in range(2)]
    assert kinds == ["dilution"] * 2
    assert kinds[0] is kinds[1]
    with pytest.raises(ValueError, match=r"Cause\.name: 'dilution' or 'absent' was expected, not 'dilute'"):
        from_json(Cause, {"name": "dilute"})


def test_a_whole_number_is_a_float_where_one_is_expected() -> None:
    found = from_json(Whole, changed(mean=1))
    assert type(found.shares.mean) is float


def test_a_path_is_its_text() -> None:
    assert to_json({"path": Path("a") / "b.txt"}) == {"path": str(Path("a") / "b.txt")}


def test_what_has_no_json_form_is_no_silent_text() -> None:
    with pytest.raises(TypeError, match="has no JSON form"):
        to_json({"array": np.zeros(2)})


@given(
    st.builds(
        Part, st.lists(st.text()).map(tuple), st.lists(st.tuples(st.integers(), st.floats())).map(tuple), st.none()
    )
)
def test_any_value_survives_a_file(part: Part) -> None:
    again = from_json(Part, json.loads(json.dumps(to_json(part))))
    assert repr(again) == repr(part)  # NaN is itself here
