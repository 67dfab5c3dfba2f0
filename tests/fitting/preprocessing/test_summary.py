"""The ranking of a search: which candidates are shown, in which order, and which cannot be told from the chosen one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from onnx_gapmil.fitting.preprocessing.candidates import Candidate
from onnx_gapmil.fitting.preprocessing.ranking import Ranking, resizing
from onnx_gapmil.fitting.preprocessing.scoring import Outcome
from onnx_gapmil.fitting.preprocessing.summary import summarize
from onnx_gapmil.fitting.preprocessing.trials import Entry
from tests.helpers.support import raw_pixels

RAW = raw_pixels(8, 8)
COUNT = 40


class Searched(SimpleNamespace):
    """What a summary reads of the trials."""

    def __init__(self) -> None:
        photos = type("Photos", (list,), {"failed": [(Path("gone.png"), "no such file")]})(range(COUNT))
        super().__init__(photos=photos, forward_passes=123)


def entry(name: str, right: int, *, preprocess: Any = RAW, offset: int = 0, tried: int = COUNT) -> Entry:
    """A candidate that is right, and sure of it, on the first so many photos."""
    good, bad = Outcome(True, True, -0.1, 0.8, 0.9), Outcome(False, False, -5.0, 0.1, 0.2)
    outcomes = tuple(good if number < right else bad for number in range(tried))
    return Entry(Candidate(name, preprocess), offset, outcomes)


def summary(*entries: Entry, chosen: int = 0, conclusive: bool = True, default: Any = RAW) -> Ranking:
    trials: Any = Searched()
    return summarize(entries, entries[chosen], default=default, conclusive=conclusive, trials=trials)


BGR = replace(RAW, color="BGR")
UNIT = replace(RAW, scale=1 / 255)


def test_rows_are_ordered_by_images_then_by_what_is_right() -> None:
    some = entry("unit", 10, preprocess=UNIT, tried=10)
    found = summary(entry("raw BGR", 5, preprocess=BGR), some, entry("raw", 30), chosen=2)
    assert [(row.name, row.images, row.top1) for row in found.rows] == [
        ("raw", 40, 0.75),
        ("raw BGR", 40, 0.125),
        ("unit", 10, 1.0),
    ]
    assert [row.chosen for row in found.rows] == [True, False, False]
    assert (found.best, found.offset, found.images, found.forward_passes) == (RAW, 0, 40, 123)
    assert found.failed == ((Path("gone.png"), "no such file"),)


def test_what_cannot_be_told_apart_is_tied_and_what_is_certainly_worse_is_not() -> None:
    found = summary(entry("raw", 30), entry("unit", 30, preprocess=UNIT), entry("raw BGR", 3, preprocess=BGR))
    assert {row.name: row.tied for row in found.rows} == {"raw": False, "unit": True, "raw BGR": False}
    assert found.sentence == (
        "raw, RGB, squash, nearest: right on 30 of 40 labelled images, after 3 candidates and 123 forward passes. "
        "1 other is indistinguishable from it on 40 images, in normalization (unit); of these, the default is taken."
    )


def test_a_candidate_of_fewer_images_is_not_tied_however_good_it_was() -> None:
    found = summary(entry("raw", 30), entry("unit", 10, preprocess=UNIT, tried=10))
    assert not any(row.tied for row in found.rows)
    assert found.sentence.endswith("Every other candidate is certainly worse.")


def test_of_each_preprocessing_and_of_each_offset_the_best_is_shown() -> None:
    kept, hidden = entry("raw", 30, offset=1), entry("raw", 2, offset=0)
    best_of_its_offset = entry("unit", 4, preprocess=UNIT, offset=0)
    found = summary(kept, hidden, best_of_its_offset, entry("unit", 3, preprocess=UNIT, offset=1))
    assert [(row.name, row.offset) for row in found.rows] == [("raw", 1), ("unit", 0)]
    assert "class offset 1: right on 30" in found.sentence


def test_a_tie_over_resizing_is_said_as_such() -> None:
    other = replace(RAW, resize="shortest", crop=0.875)
    found = summary(entry("raw", 30), entry("raw", 30, preprocess=other), default=BGR)
    assert found.sentence.endswith(
        "1 other is indistinguishable from it on 40 images, in resizing (1 other rule); of these, the one that comes "
        "first in the documented order is taken."
    )


def test_a_search_that_only_guessed_says_so_and_keeps_the_default() -> None:
    found = summary(entry("raw", 4), conclusive=False)
    assert found.sentence == (
        "None of 1 candidates is right more often than guessing on 40 labelled images (123 forward passes): the labels "
        "may not be numbered as the model's classes, or there are too few. The default is kept: raw, RGB, squash, "
        "nearest."
    )


def test_the_ranking_is_plain_json_with_all_of_it() -> None:
    found = summary(entry("raw", 30), entry("unit", 30, preprocess=UNIT))
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["best"] == RAW.to_json()
    assert told["failed"] == [{"image": "gone.png", "error": "no such file"}]
    assert [(row["name"], row["chosen"], row["tied"]) for row in told["rows"]] == [
        ("raw", True, False),
        ("unit", False, True),
    ]


def test_resizing_in_few_words() -> None:
    assert resizing(RAW) == "squash, nearest"
    assert resizing(replace(RAW, resize="shortest", crop=0.875)) == "shortest 0.875, nearest"
    assert resizing(replace(RAW, resize="shortest", crop=224 / 256.5)) == "shortest 0.8733, nearest"
