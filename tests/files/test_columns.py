"""Columns hold what records hold, and where these hold nothing, say so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from onnx_gapmil.files import columns as module
from onnx_gapmil.files.columns import Columns, Growing, built, known, narrowed


@dataclass(frozen=True)
class Part:
    share: float | None
    won: bool


@dataclass(frozen=True)
class Record:
    rank: int | None
    kind: str | None
    part: Part | None


RECORDS = [
    Record(3, "late", Part(-0.25, True)),
    Record(None, None, None),
    Record(0, "early", Part(None, False)),
]
FIELDS = {"rank": "i", "kind": ("early", "late"), "part.share": "d", "part.won": "b"}


def test_a_column_for_each_field() -> None:
    found = built(RECORDS, FIELDS)
    assert len(found) == 3
    assert found["rank"].tolist() == [3, -1, 0]
    assert found["kind"].tolist() == [1, -1, 0]
    assert found["part.won"].tolist() == [1, -1, 0]
    assert np.array_equal(found["part.share"], [-0.25, np.nan, np.nan], equal_nan=True)


def test_a_text_that_is_none_of_them_is_an_error() -> None:
    with pytest.raises(KeyError):
        built([Record(0, "never", None)], FIELDS)


def test_some_records_by_place_or_by_mark() -> None:
    found = built(RECORDS, FIELDS)
    assert found.among([2, 0])["rank"].tolist() == [0, 3]
    assert found.among(np.array([True, False, True]))["rank"].tolist() == [3, 0]
    assert len(found.among([])) == 0


def test_what_was_measured_is_known() -> None:
    found = built(RECORDS, FIELDS)
    assert known(found["part.share"]).tolist() == [-0.25]
    assert known(found["part.won"]).tolist() == [1.0, 0.0]
    assert known(found["part.won"]).dtype == np.float64


def test_no_records_have_columns_too() -> None:
    found = built([], FIELDS)
    assert isinstance(found, Columns)
    assert (len(found), known(found["part.share"]).tolist()) == (0, [])


@pytest.mark.parametrize("part", [1, 2, 1 << 14])
def test_numbers_are_narrow_where_they_lie_and_wide_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(module, "_PART", part)
    shares = [0.1, None, -0.0, 1e300, 1 / 3]
    records = [Record(rank, None, Part(share, False)) for rank, share in zip([0, None, 200, 7, 1], shares, strict=True)]
    found = built(records, FIELDS)
    assert found["rank"].dtype == np.int32
    assert (100 * found["rank"]).tolist() == [0, -100, 20_000, 700, 100]
    assert found["part.share"].dtype == np.float64
    assert np.array_equal(found["part.share"], [0.1, np.nan, -0.0, 1e300, 1 / 3], equal_nan=True)
    assert np.signbit(found["part.share"][2])
    assert {name: found._arrays[name].dtype.itemsize for name in FIELDS} == {
        "rank": 2,
        "kind": 1,
        "part.share": 8,
        "part.won": 1,
    }


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ([-128, 127], 1),
        ([-129], 2),
        ([32767], 2),
        ([32768], 4),
        ([np.nan, np.nan], 2),
        ([0.5, 1.0, np.inf], 2),
        ([float(np.float32(0.1))], 4),
        ([1e-30 + 1e-40], 8),
        ([], 1),
    ],
)
def test_the_narrowest_type_keeps_every_number(values: list[float], size: int) -> None:
    whole = all(isinstance(value, int) for value in values)
    given = np.array(values, np.int32 if whole else np.float64)
    found = narrowed(given)
    assert found.dtype.itemsize == size
    assert np.array_equal(found.astype(given.dtype), given, equal_nan=True)


def test_what_grows_is_all_that_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 3)
    growing = Growing("i")
    for values in ((1, 2), (), (300, 4, 5), (70_000,), (6,)):
        growing.extend(values)
    assert growing.built().tolist() == [1, 2, 300, 4, 5, 70_000, 6]


def test_some_of_some_records() -> None:
    some = built(RECORDS * 2, FIELDS).among([5, 2, 0, 3]).among(np.array([True, False, True, True])).among([2, 0])
    assert (len(some), some["rank"].tolist()) == (2, [3, 0])


def test_a_column_grows_in_one_block_that_becomes_wider_where_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 2)
    growing = Growing("d")
    sizes = []
    for values in ((0.5, 1.0), (math.nan, 2.0), (float(np.float32(0.1)), 0.0), (0.1, 3.0), (0.25, 0.5)):
        growing.extend(values)
        sizes.append(growing._type.itemsize)
    assert sizes == [2, 2, 4, 8, 8]
    expected = [0.5, 1.0, math.nan, 2.0, float(np.float32(0.1)), 0.0, 0.1, 3.0, 0.25, 0.5]
    assert np.array_equal(growing.built(), expected, equal_nan=True)
