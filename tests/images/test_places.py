"""Where cells look: by hand, and there and back through JSON."""

from __future__ import annotations

import json

import pytest

from onnx_gapmil.images.places import AxisPlaces, Places

KNOWN = Places(True, "x", AxisPlaces(16.0, 32.0), AxisPlaces(8.5, 16.0))


def test_cells_that_tile_the_input_look_at_the_middle_of_their_part() -> None:
    rows = AxisPlaces.tiling(7, 224)
    assert [rows.centre(cell) for cell in range(7)] == [16, 48, 80, 112, 144, 176, 208]
    assert AxisPlaces.tiling(1, 5).centre(0) == 2.5


def test_json_has_the_keys_that_a_record_promises() -> None:
    assert KNOWN.to_json() == {
        "known": True,
        "input": "x",
        "rows": {"first": 16.0, "step": 32.0},
        "columns": {"first": 8.5, "step": 16.0},
    }
    assert Places.unknown("tokens").to_json() == {"known": False, "reason": "tokens"}


@pytest.mark.parametrize(
    "places", [KNOWN, Places.unknown("the order is not known"), Places(True, "x", columns=AxisPlaces(0.5, 1.0))]
)
def test_places_come_back_from_json_as_they_were(places: Places) -> None:
    assert Places.from_json(json.loads(json.dumps(places.to_json()))) == places


@pytest.mark.parametrize(
    "entry", [{}, {"known": True}, {"known": False}, {"known": True, "input": "x", "rows": {"first": "a", "step": 1}}]
)
def test_what_is_no_record_of_places_is_an_error(entry: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        Places.from_json(entry)
