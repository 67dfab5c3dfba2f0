"""``predictions.json`` while it grows: whole, in order, whatever the order of the threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.errors import InputError
from onnx_gapmil.prediction.report import Report

SUMMARY = {"schema_version": 1, "model": "m.onnx", "provider": {"used": "cpu", "nodes": {"CPU": 3}}}


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Report]:
    with closing(Report(tmp_path)) as made:
        yield made


def text(report: Report, **options: bool) -> dict:
    return json.loads("".join(report.chunks(SUMMARY, **options)))


def test_an_empty_report_is_json_and_writes_nothing(tmp_path: Path) -> None:
    report = Report(tmp_path / "out")
    assert text(report) == {**SUMMARY, "images": [], "failed": []}
    assert list(text(report)) == [*SUMMARY, "images", "failed"]
    assert report.save(SUMMARY) is None
    assert not (tmp_path / "out").exists()


@given(st.permutations(range(7)))
def test_entries_are_listed_by_place_in_whatever_order_they_come(order: list[int]) -> None:
    report = Report(Path("nowhere-at-all"))
    for place in order:
        report.add(place, "failed", {"place": place})
    assert [entry["place"] for entry in text(report)["failed"]] == list(range(7))
    report.close()


def test_done_and_failed_are_listed_apart(report: Report) -> None:
    for place, part in enumerate(["images", "failed", "failed", "images"]):
        report.add(place, part, {"image": f"{place}.png", "name": "zażółć"})
    found = text(report)
    assert [entry["image"] for entry in found["images"]] == ["0.png", "3.png"]
    assert [entry["image"] for entry in found["failed"]] == ["1.png", "2.png"]
    assert found["images"][0]["name"] == "zażółć"
    assert text(report) == found  # it can be read twice: into the file and on stdout
    assert report.counts == {"images": 2, "failed": 2}


def test_an_interrupted_report_has_what_was_done_behind_a_gap_too(tmp_path: Path) -> None:
    report = Report(tmp_path)
    for place in (0, 1, 3, 5):
        report.add(place, "images", {"place": place})
    path = report.save(SUMMARY, interrupted=True)
    found = json.loads(path.read_text())
    assert found["interrupted"] is True
    assert [entry["place"] for entry in found["images"]] == [0, 1, 3, 5]
    report.close()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]


def test_one_line_for_each_photo(report: Report) -> None:
    for place in range(3):
        report.add(place, "images", {"place": place, "heads": [{"top": [1, 2]}]})
    lines = "".join(report.chunks(SUMMARY)).splitlines()
    assert sum('"place"' in line for line in lines) == 3
    assert lines.count('    {"place": 1, "heads": [{"top": [1, 2]}]},') == 1


def test_numbers_that_json_has_no_word_for_are_null(report: Report) -> None:
    report.add(0, "images", {"score": float("-inf")})
    assert json.loads("".join(report.chunks({"x": float("nan")}))) == {
        "x": None,
        "images": [{"score": None}],
        "failed": [],
    }


def test_threads_may_add_at_once(report: Report) -> None:
    threads = [
        threading.Thread(target=lambda first=first: [report.add(k, "images", {"k": k}) for k in range(first, 400, 4)])
        for first in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry["k"] for entry in text(report)["images"]] == list(range(400))


def test_a_full_disk_while_the_report_grows_is_one_sentence(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: str) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr(report, "_new_spool", lambda part: Full())
    with pytest.raises(InputError, match="results cannot be written: No space left on device"):
        report.add(0, "images", {})
