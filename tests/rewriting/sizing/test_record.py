"""A size as it is asked for, and as a file says it."""

from __future__ import annotations

import pytest

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.rewriting.sizing.edges import edge_note
from onnx_gapmil.rewriting.sizing.record import SIZE_KEY, SizeRecord, parse_size, size_of, size_text


@pytest.mark.parametrize("asked", ["224x320", "224X320 ", (224, 320)])
def test_height_comes_first(asked: str | tuple[int, int]) -> None:
    assert parse_size(asked) == (224, 320)


def test_one_number_is_a_square() -> None:
    assert parse_size("448") == parse_size(448) == (448, 448)
    assert parse_size(None) is None


@pytest.mark.parametrize("asked", ["", "x", "0", "224x", "-1", "20000", "1.5", "224x224x3", (1, 2, 3)])
def test_what_is_no_size_is_one_sentence(asked: object) -> None:
    with pytest.raises(InputError, match="--size"):
        parse_size(asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("residual", [None, 0.0, 1e-7])
def test_a_record_is_read_as_it_was_written(residual: float | None) -> None:
    record = SizeRecord((448, 320), (224, 224), ("a (Reshape): b",), residual)
    assert size_of({SIZE_KEY: size_text(record)}) == record
    assert size_of({}) is None
    assert ("bit for bit" in record.describe()) == (residual == 0.0)


@pytest.mark.parametrize("text", ["", "[]", '{"size": [448]}', '{"size": [448, 0], "original": null}', "null"])
def test_a_damaged_record_is_one_sentence(text: str) -> None:
    with pytest.raises(ModelError, match="damaged"):
        size_of({SIZE_KEY: text})


def test_a_size_that_is_no_multiple_of_the_step_is_said() -> None:
    line = AxisPlaces(16.0, 32.0)
    places = Places(True, "x", line, line)
    assert edge_note((448, 224), places) == ""
    assert "450x448 is no multiple of the grid's step of 32x32 pixels" in edge_note((450, 448), places)
    assert edge_note((450, 448), Places.unknown("no order")) == ""
