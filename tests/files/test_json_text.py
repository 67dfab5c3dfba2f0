"""JSON text: strict, and null where JSON has no number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil.files.json_text import json_text


def test_numbers_that_json_has_no_word_for_are_null() -> None:
    assert json_text({"a": float("nan"), "b": [float("inf"), 1.5], "c": (2,)}) == (
        '{"a": null, "b": [null, 1.5], "c": [2]}'
    )


def test_numpy_numbers_arrays_and_paths_are_plain() -> None:
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": np.array([np.nan, 1.0]), "d": Path("x") / "y"}
    assert json.loads(json_text(value)) == {"a": 0.5, "b": [0, 1, 2], "c": [None, 1.0], "d": str(Path("x") / "y")}


def test_order_of_keys_and_form_are_those_asked_for() -> None:
    value = {"b": 1, "a": [1, 2]}
    assert json_text(value, compact=True) == '{"b":1,"a":[1,2]}'
    assert json_text(value, indent=2) == json.dumps(value, indent=2)


def test_what_has_no_form_in_json_is_an_error() -> None:
    with pytest.raises(TypeError, match="set has no form in JSON"):
        json_text({"a": {1, 2}})
