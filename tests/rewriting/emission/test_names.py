"""The names of a head's outputs, to JSON and back."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.emission.names import ClassesOutput, HeadOutputs, TopKOutputs, read_outputs

FULL = HeadOutputs(
    logits="l",
    features="f",
    grid="g",
    argmax="a",
    certainty="c",
    peaks="p",
    topk=TopKOutputs(2, "tc", "tg"),
    classes=ClassesOutput((3, 1), "cg"),
    scores={"max": "m", "lse=10": "s"},
)
BARE = HeadOutputs(logits="l")


@pytest.mark.parametrize("names", [FULL, BARE], ids=["full", "bare"])
def test_names_come_back_from_json(names: HeadOutputs) -> None:
    assert HeadOutputs(**read_outputs(names.outputs_json())) == names


def test_what_a_name_is_of() -> None:
    assert FULL.by_name() == {
        "logits": "l", "grid": "g", "features": "f", "argmax": "a", "certainty": "c", "peaks": "p",
        "topk_classes": "tc", "topk_grid": "tg", "classes_grid": "cg", "scores.max": "m", "scores.lse=10": "s",
    }  # fmt: skip
    assert BARE.by_name() == {"logits": "l"}
    assert FULL.tensors == tuple(FULL.by_name().values())


def test_names_tell_what_was_emitted() -> None:
    assert FULL.emit == Emit.parse("features,grid,argmax,certainty,peaks,topk:2,classes:3,1,scores:max,lse=10")
    assert BARE.emit == Emit(features=False, grid=False)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"logits": None}, TypeError),
        ({"grid": 3}, TypeError),
        ({"topk": {"k": 0, "classes": "tc", "grid": "tg"}}, InputError),
        ({"topk": {"k": 2, "classes": "tc"}}, KeyError),
        ({"classes": {"indices": [-1], "grid": "cg"}}, InputError),
        ({"scores": {"nonsense": "n"}}, InputError),
        ({"scores": ["max"]}, AttributeError),
    ],
)
def test_json_of_something_else_is_an_error(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_outputs(FULL.outputs_json() | change)


def test_fields_are_those_of_the_dataclass() -> None:
    assert set(FULL.as_fields()) == set(asdict(FULL))
