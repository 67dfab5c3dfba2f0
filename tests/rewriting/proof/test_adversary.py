"""Random whole models that try to trick: what is said of them must hold, seen from outside (`benchmarks.adversary`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from benchmarks.adversary import check as outside
from benchmarks.adversary.__main__ import trick_of
from benchmarks.adversary.further import FURTHER
from benchmarks.adversary.models import build
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.rewriting.result import Rewrite


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(data=st.data())
def test_what_is_said_of_a_random_model_holds(data: st.DataObject) -> None:
    def pick(options: Sequence[Any]) -> Any:
        return data.draw(st.sampled_from(list(options)))

    trick = build(pick, data.draw(st.integers(0, 1 << 20)), FURTHER)
    note(trick.trace)
    found = outside.check(trick)
    assert found.wrong == ()
    assert found.kind != "unproved", found.detail


#: Numbers of models, by seed, that once were wrong; they are others where the way in which models are drawn changes.
FOUND = [(2, 137), (2, 289), (77, 76), (77, 242), (77, 332)]


@pytest.mark.parametrize(("seed", "number"), FOUND)
def test_what_was_found_once_is_not_found_again(seed: int, number: int) -> None:
    found = outside.check(trick_of(seed, number))
    assert (found.wrong, found.kind == "unproved") == ((), False)


def test_most_random_models_lift_and_have_places() -> None:
    """A program that refuses all is never wrong."""
    found = [outside.check(trick_of(0, number)) for number in range(40)]
    assert sum(each.known for each in found) >= 20
    assert {each.kind for each in found} >= {"exact", "conditional", "refused"}


def spoilt(monkeypatch: pytest.MonkeyPatch, places: Any) -> list[str]:
    """What is found wrong where all heads claim other places than they have."""
    real = outside.rewrite

    def wrong(*args: Any, **kwargs: Any) -> Rewrite:
        made = real(*args, **kwargs)
        return replace(made, heads=tuple(replace(head, places=places(head.places)) for head in made.heads))

    monkeypatch.setattr(outside, "rewrite", wrong)
    found = [outside.check(trick_of(0, number)) for number in range(12)]
    return [said for each in found if each.known for said in each.wrong]


def mirrored(places: Places) -> Places:
    if not places.known or places.rows is None:
        return places
    return replace(places, rows=AxisPlaces(-places.rows.first + 40, -places.rows.step))


def shifted(places: Places) -> Places:
    if not places.known or places.columns is None:
        return places
    return replace(places, columns=AxisPlaces(places.columns.first + 2 * places.columns.step, places.columns.step))


@pytest.mark.parametrize("places", [mirrored, shifted])
def test_wrong_places_are_seen_from_outside(monkeypatch: pytest.MonkeyPatch, places: Any) -> None:
    found = spoilt(monkeypatch, places)
    assert len(found) >= 2
    assert all(said.startswith("place: ") for said in found)


def test_a_wrong_sum_and_wrong_cells_are_seen_from_outside() -> None:
    rng = np.random.default_rng(0)
    grid = rng.standard_normal((2, 5, 4, 4))
    assert outside._sum(grid, grid.mean(axis=(2, 3))) == []
    assert outside._sum(grid, grid.mean(axis=(2, 3)) + 0.01) != []


def test_cells_that_are_others_than_the_pooled_ones_are_seen_where_a_border_brings_back_what_a_crop_took() -> None:
    """As many cells before a crop and a border of two columns as behind both: which they are is told by the numbers."""
    trick = trick_of(77, 2925)
    made = outside.rewrite(trick.model, write=False)
    head, images = made.heads[0], outside._images(trick)
    (features,) = outside._session(made.model).run([head.features], {"x": images})
    assert trick.map is not None
    assert (features.shape[2:], head.position_dependent) == ((8, 6), True)
    assert (trick.map.height, trick.map.width) == (6, 8)
    assert outside._same_cells(trick, made.model, head, images, features) == []
    twice = features.copy()
    twice[:, :, 0] = twice[:, :, 1]
    assert outside._same_cells(trick, made.model, head, images, twice) != []
    claimed = replace(head, feature_grids=(replace(head.feature_grids[0], source=trick.map.name),))
    assert outside._same_cells(trick, made.model, claimed, images, features) == [
        "features are not the cells of the map"
    ]
