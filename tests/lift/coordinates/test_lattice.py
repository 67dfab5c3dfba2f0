"""Rows and columns from the coordinates of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.images.places import AxisPlaces
from onnx_gapmil.lift.coordinates.lattice import Line, NoLattice, lattice


def lines(size: tuple[int, int], first: float = 7.0, step: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.meshgrid(*(first + step * np.arange(count) for count in size), indexing="ij")
    return rows.ravel(), columns.ravel()


@given(high=st.integers(1, 5), wide=st.integers(1, 5), data=st.data())
def test_any_order_is_put_back(high: int, wide: int, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(high * wide))))
    rows, columns = lines((high, wide))
    found = lattice([Line(rows[order], 8.0, 64), Line(columns[order], 8.0, 64)], (1, high * wide))
    assert found.size == (high, wide)
    back = order if found.order is None else order[found.order]
    np.testing.assert_array_equal(back, np.arange(high * wide))
    assert found.lines == (AxisPlaces(7.0, 8.0), AxisPlaces(7.0, 8.0))


@pytest.mark.parametrize(
    ("first", "stated"),
    [(0.5, 0.5), (1.9, 1.9), (2.0, 4.0), (4.0, 4.0), (5.5, 4.0), (6.0, 4.0), (6.1, 6.1), (-14.0, -14.0)],
)
def test_first_cell_within_a_quarter_of_the_plain_tiling_is_stated_there(first: float, stated: float) -> None:
    rows, columns = lines((4, 4), first)
    assert lattice([Line(rows, 8.0, 32), Line(columns, 8.0, 32)], (4, 4)).lines[0] == AxisPlaces(stated, 8.0)


def test_stairs_are_divided() -> None:
    rows, columns = (np.repeat(np.repeat(line.reshape(3, 2), 2, 0), 3, 1).ravel() for line in lines((3, 2), 4.0))
    found = lattice([Line(rows, 8.0, 24), Line(columns, 8.0, 16)], (6, 6))
    assert found.size == (6, 6)
    assert found.order is None
    assert found.lines == (AxisPlaces(2.0, 4.0), AxisPlaces(1.333333, 2.666667))


def test_axis_without_places_is_one_row_of_the_whole_image() -> None:
    found = lattice([Line(None, 1.0, 20), Line(4.0 + 8 * np.arange(5), 8.0, 40)], (1, 5))
    assert found.lines == (AxisPlaces(10.0, 20.0), AxisPlaces(4.0, 8.0))


@pytest.mark.parametrize(
    ("columns", "size", "twice"),
    [
        ([4, 12, 28, 36], (1, 4), False),
        ([4, 12, 4, 12], (1, 4), True),
        ([4, 4, 4, 12], (1, 4), True),
        ([4, 12, 20, 20], (2, 2), True),
    ],
    ids=["uneven", "two_views_side_by_side", "runs_of_two_lengths", "one_place_twice"],
)
def test_what_is_no_lattice(columns: list[float], size: tuple[int, int], twice: bool) -> None:
    with pytest.raises(NoLattice) as told:
        lattice([Line(None, 1.0, 20), Line(np.array(columns, float), 8.0, 40)], size)
    assert told.value.twice is twice


@given(size=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)), data=st.data())
def test_volumes_are_put_back_from_any_order(size: tuple[int, int, int], data: st.DataObject) -> None:
    count = int(np.prod(size))
    order = np.array(data.draw(st.permutations(range(count))))
    axes = [axis.ravel() for axis in np.meshgrid(*(7.0 + 8.0 * np.arange(length) for length in size), indexing="ij")]
    found = lattice([Line(axis[order], 8.0, 64) for axis in axes], (count, 1, 1))
    assert found.size == size
    np.testing.assert_array_equal(order if found.order is None else order[found.order], np.arange(count))
    assert found.lines == (AxisPlaces(7.0, 8.0),) * 3


def test_stairs_of_a_volume_are_divided() -> None:
    axes = np.meshgrid(4.0 + 8 * np.arange(2), 4.0 + 8 * np.arange(3), 4.0 + 8 * np.arange(2), indexing="ij")
    fine = [np.repeat(np.repeat(np.repeat(axis, 2, 0), 1, 1), 2, 2).ravel() for axis in axes]
    found = lattice([Line(axis, 8.0, 24) for axis in fine], (4, 3, 4))
    assert found.size == (4, 3, 4)
    assert found.order is None
    assert found.lines == (AxisPlaces(2.0, 4.0), AxisPlaces(4.0, 8.0), AxisPlaces(2.0, 4.0))
