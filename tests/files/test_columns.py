"""Columns hold what records hold, and where these hold nothing, say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from onnx_gapmil.files.columns import Columns, built, known


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
