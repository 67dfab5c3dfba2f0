"""The page of `benchmarks.repooled`: two parts that stand by themselves, and rows that are of the code at hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import repooled
from benchmarks.pages import write_between
from benchmarks.repooled_page import FAILED, Row, marks, report

ROWS = [
    Row("models/a.onnx", "exact", "max", 1e-7, 5e-5),
    Row("models/a.onnx", "exact", "lse", 3e-7, 5e-5),
    Row("models/b.onnx", "exact", "max", 1e-3, 5e-5),
    Row("models/b.onnx", "exact", "lse", why=f"{FAILED}no"),
    Row("models/c.onnx", "their heads are refused, `class-token`", ""),
]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "repooled.md"


def test_what_differs_or_fails_counts_against_the_program() -> None:
    assert [row.wrong for row in ROWS] == [False, False, True, True, False]


def test_models_made_by_others_have_a_line_each_and_what_is_refused_has_its_name() -> None:
    text = "\n".join(report("real", ROWS, absent=["models/d.onnx"]))
    assert "## Models made by others: 3 files" in text
    assert "**3 of 4 files were run; the others have yet to be: `models/d.onnx`.**" in text
    assert "| `models/a.onnx` | 2 of 2 | 3.0e-07 | `lse` |" in text
    assert "| `models/b.onnx` | 0 of 1 | 1.0e-03 | `max` |" in text
    assert "- 1: failed: no" in text
    assert "- 1 file: their heads are refused, `class-token`: `models/c.onnx`" in text


def test_the_zoo_has_a_line_for_each_aggregator() -> None:
    text = "\n".join(report("zoo", ROWS))
    assert "| `max` | 2 | 1 | 0 | 5.0e-04 | 1.0e-03 | `models/b.onnx` |" in text
    assert "| `lse` | 1 | 1 | 0 | 3.0e-07 | 3.0e-07 | `models/a.onnx` |" in text


def test_a_part_of_the_page_is_written_and_the_other_stays(tmp_path: Path) -> None:
    page = tmp_path / "repooled.md"
    page.write_bytes(PAGE.read_bytes())
    before = page.read_text("utf-8")
    write_between(page, marks("real"), report("real", ROWS))
    after = page.read_text("utf-8")
    zoo = slice(before.index(marks("zoo")[0]), before.index(marks("zoo")[1]))
    assert after[zoo] == before[zoo]
    assert "| `models/b.onnx` | 0 of 1 |" in after[after.index(marks("real")[0]) :]


def test_rows_of_other_code_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows"
    monkeypatch.setattr(repooled, "code", lambda: "now")
    lines = [
        {"sha256": digest, "code": code, "rows": [asdict(ROWS[0])]} for digest, code in (("a", "now"), ("b", "then"))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert repooled.kept(path) == {"a": [ROWS[0]]}
