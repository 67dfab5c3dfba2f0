"""Cells that answer to nothing: masks, which are no places of the image."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.rewriting.proof.unmoved import masked_cells, still_lines
from tests.helpers.stripes import PATCHES, check
from tests.helpers.support import weights

#: Zeros above the diagonal, and in one cell.
ABOVE, ONE = np.tril(np.ones((8, 8), np.float32)), np.ones((8, 8), np.float32)
ONE[3, 4] = 0


@pytest.mark.parametrize(
    ("body", "cells"),
    [
        ("t = Trilu<upper=0>(a)\n y = Exp(t)", 28),
        ("t = Mul(a, above)\n y = Relu(t)", 28),
        ("t = Mul(a, one)\n y = Relu(t)", 1),
        ("t = Where(there, a, seven)\n y = Relu(t)", 1),
    ],
    ids=["triangle", "product", "one cell", "a number"],
)
def test_cells_that_a_mask_hides_look_at_nothing(body: str, cells: int) -> None:
    found = check(f"{PATCHES}\n {body}", above=ABOVE, one=ONE, there=ONE > 0, seven=np.float32(7))
    assert found.passed is False
    for axis in (found.rows, found.columns):
        assert axis is not None
        assert (axis.masked, axis.still) == (cells, 0)
    assert f"{cells} cell{'s answer' if cells > 1 else ' answers'} to nothing" in found.reason


def test_weights_that_are_not_zero_hide_nothing() -> None:
    found = check(f"{PATCHES}\n t = Mul(a, small)\n y = Relu(t)", small=np.where(ONE > 0, 1, 0.01).astype(np.float32))
    assert found.passed is True


def test_cells_of_one_channel_that_are_off_now_and_then_are_no_mask() -> None:
    """A quarter of them is off whatever one stripe shows, and some in four images."""
    body = "c = Conv<strides=[4,4]>(x, one)\n y = Relu(c)"
    found = check(body, x="float[N,3,64,64] x", y="float[N,1,H,W] y", size=(64, 64), one=weights(1, 3, 4, 4))
    assert found.passed is True


def test_padding_around_is_no_mask() -> None:
    moved = np.zeros((4, 5, 6))
    moved[:, 1:4, 1:5] = 1
    everywhere = np.ones(5, bool)
    assert masked_cells([moved], everywhere, 0) == 0
    assert still_lines([moved], 0).tolist() == [True, False, False, False, True]
    assert still_lines([moved], 1).tolist() == [True, False, False, False, False, True]


def test_a_cell_that_is_off_in_one_image_alone_is_no_mask() -> None:
    off, on = np.ones((4, 5, 6)), np.ones((4, 5, 6))
    off[:, 2, 3] = 0
    inside = np.array([True, True, True, False, False])
    assert masked_cells([off], inside, 0) == 1
    assert masked_cells([off, on], inside, 0) == 0
    assert masked_cells([off], ~inside, 0) == 0
    assert masked_cells([off], inside, 0, np.zeros((5, 6), bool)) == 0


@pytest.mark.parametrize(
    ("start", "end", "repeated"),
    [(1, 8, 1), (0, 7, 1), (0, 8, 0)],
    ids=["left", "right", "nothing"],
)
def test_a_border_that_repeats_a_map_where_it_had_been_cut_is_no_part_of_the_image(
    start: int, end: int, repeated: int
) -> None:
    """A column of the map is taken off and its border repeated; where nothing was taken off, it lies outside."""
    body = f'{PATCHES}\n s = Slice(a, start, end, axes)\n b = Pad<mode="edge">(s, pads)\n y = Relu(b)'
    found = check(
        body,
        places=Places(True, "x", AxisPlaces(2.0, 4.0), AxisPlaces(2.0, 4.0)),
        start=np.array([start]),
        end=np.array([end]),
        axes=np.array([3]),
        pads=np.array([0, 0, 0, int(start > 0), 0, 0, 0, int(start == 0)]),
    )
    assert found.columns is not None
    assert found.columns.repeated == repeated
    assert found.passed is (repeated == 0)
    assert not repeated or "columns repeats another where the map had been cut" in found.reason


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_cells_that_were_upsampled_repeat_each_other_and_answer_to_where_they_lie(mode: str) -> None:
    found = check(
        f'{PATCHES}\n u = Resize<mode="{mode}">(a, none, twice)\n y = Relu(u)',
        places=Places(True, "x", AxisPlaces(1.0, 2.0), AxisPlaces(1.0, 2.0)),
        none=np.zeros(0, np.float32),
        twice=np.array([1, 1, 2, 2], np.float32),
    )
    assert found.passed is True
