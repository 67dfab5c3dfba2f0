"""The page of `make zoo`: what counts against whom, sections by themselves, results that are of this state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import make_zoo
from benchmarks.zoo import page, results, zoo_report
from benchmarks.zoo.results import Results

if TYPE_CHECKING:
    from pathlib import Path

MADE_WITH = {"framework": {"timm": "1.0"}, "environment": "e", "checked": {"onnx": "1.2"}, "sources": "s"}
ROW: dict[str, Any] = {
    "framework": "timm",
    "exporter": "torch legacy",
    "model": "m",
    "head": "avg pool, Linear",
    "pools": True,
    "date": "2026-11-20",
    "limits": [150.0, 600.0],
    "made_with": MADE_WITH,
}
REFUSED = {**ROW, "group": "a", "got": "refused", "code": "unknown-operator", "why": "no rule."}
FAILED = {**ROW, "group": "b", "got": "export failed", "why": "E: \x1b[96mno\x1b[0m file"}
TOKEN = {**REFUSED, "group": "c", "pools": False, "code": "class-token"}
LIFTED = {**ROW, "got": "exact", "size": [4, 5], "mean_residual": 1e-7, "cell_residual": 2e-7, "cells": 64}


def test_refused_pool_counts_against_us_and_a_failed_export_against_the_exporter() -> None:
    late = {**TOKEN, "group": "d", "got": "unreadable"}
    assert zoo_report.failures([REFUSED, FAILED, TOKEN, late]) == [REFUSED, late]
    assert len(zoo_report.refused([REFUSED, FAILED, TOKEN, late])) == 1
    (claim,) = zoo_report.claims([REFUSED, FAILED, TOKEN])
    assert "**no** (0 of 2; not lifted: a; not exported: b)" in claim
    text = "\n".join(zoo_report.section([REFUSED, FAILED, TOKEN], 3))
    assert "All 3 cases." in text
    assert "timm 1.0" in text
    short, exporters = text.index("### timm: falls short"), text.index("### timm: exporters that failed")
    right = text.index("### timm: refused rightly")
    assert "E: no file" in text
    assert short < text.index("timm, torch legacy, a (m)") < exporters < text.index("timm, torch legacy, b (m)") < right
    assert text.index("timm, torch legacy, c (m)") > right


def test_section_of_a_part_says_how_many_cases_it_has() -> None:
    assert "**1 of 3 cases**: the others were not run." in "\n".join(zoo_report.section([REFUSED], 3))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A page with a sentence by hand and a section of Keras."""
    path = tmp_path / "coverage-frameworks.md"
    path.write_text("# Coverage\n\nBy hand.\n\n<!-- zoo: overview -->\n<!-- /zoo: overview -->\n", encoding="utf-8")
    keras = {**LIFTED, "framework": "keras", "group": "k", "exporter": "tf2onnx", "date": "2026-11-28"}
    page.write_section(path, "keras", zoo_report.section([keras], 1))
    return path


def test_run_of_one_framework_rewrites_its_section_and_no_other(written: Path) -> None:
    page.write_section(written, "timm", zoo_report.section([REFUSED], 1))
    first = written.read_text("utf-8")
    assert "By hand." in first
    assert "| keras | 2026-11-28 | tf2onnx | 1 | 1 | 1 | 1 | 0 | 0 |" in first
    assert "| timm | 2026-11-20 | torch legacy | 1 | 1 | 0 | 0 | 0 | 1 |" in first

    page.write_section(written, "timm", zoo_report.section([{**LIFTED, "group": "a", "date": "2026-11-30"}], 1))
    second = written.read_text("utf-8")
    assert "2026-11-20" not in second
    assert "| timm | 2026-11-30 | torch legacy | 1 | 1 | 1 | 1 | 0 | 0 |" in second
    begins, ends = page.marks("keras")
    assert second[second.index(begins) : second.index(ends)] == first[first.index(begins) : first.index(ends)]
    page.write_section(written, "timm", zoo_report.section([{**LIFTED, "group": "a", "date": "2026-11-30"}], 1))
    assert written.read_text("utf-8") == second


def test_result_counts_only_with_what_it_was_made_with(tmp_path: Path) -> None:
    kept = Results(tmp_path / "results.jsonl")
    kept.add(REFUSED)
    kept.add({**FAILED, "made_with": {**MADE_WITH, "sources": "before"}})
    with kept.path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(TOKEN)[:-9])  # a run that was stopped while it wrote
    assert list(kept.read(MADE_WITH)) == ["timm/torch legacy/a/m"]
    assert list(kept.read({**MADE_WITH, "sources": "before"})) == ["timm/torch legacy/b/m"]


def test_sources_change_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnx_gapmil").mkdir()
    (tmp_path / "tests" / "references").mkdir(parents=True)
    (tmp_path / "onnx_gapmil" / "walk.py").write_text("one = 1\n", encoding="utf-8")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "SCRIPTS", tmp_path / "zoo")
    (tmp_path / "zoo").mkdir()
    for name in ("check", "protocol", "export_timm", "torch_common"):
        (tmp_path / "zoo" / f"{name}.py").write_text("", encoding="utf-8")
    (tmp_path / "zoo" / "timm_models.csv").write_text("", encoding="utf-8")
    monkeypatch.setattr(results, "installed", lambda python: {"timm": "1.0", "python": "3.11.7"})
    monkeypatch.setattr(results, "named", lambda framework: ["timm"])
    before = results.made_with("timm", tmp_path)
    assert results.made_with("timm", tmp_path) == before
    (tmp_path / "onnx_gapmil" / "walk.py").write_text("one = 2\n", encoding="utf-8")
    assert results.made_with("timm", tmp_path) != before


def test_page_stays_where_a_case_has_no_result_unless_a_part_is_asked_for(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_zoo, "PAGE", written)
    monkeypatch.setattr(make_zoo, "ROOT", written.parent)
    kept = Results(written.parent / "results.jsonl")
    kept.add(REFUSED)
    framework = make_zoo.Framework("timm", written, [REFUSED, TOKEN], MADE_WITH)
    before = written.read_text("utf-8")
    assert make_zoo.report(framework, kept, part=False) == [REFUSED]
    assert written.read_text("utf-8") == before
    assert "1 of 2 cases have a result" in capsys.readouterr().out
    make_zoo.report(framework, kept, part=True)
    assert "**1 of 2 cases**" in written.read_text("utf-8")
