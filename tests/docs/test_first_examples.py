"""The first example of a page: what is taken for one, which pages have none, and that a failure is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import first_examples
from tools.first_examples import Example, first_example, pages, run_all

ROOT = Path(__file__).resolve().parents[2]
#: Pages on how the program is made and on what was measured, those that are made from code, and one whose commands
#: want a store (`tests/end_to_end/test_remote_results.py` starts one).
WITHOUT = {
    "docs/architecture.md",
    "docs/coverage-frameworks.md",
    "docs/coverage.md",
    "docs/flexpooling.md",
    "docs/index.md",
    "docs/paper.md",
    "docs/reference/cli.md",
    "docs/reference/library.md",
    "docs/reference/messages.md",
    "docs/reliability.md",
    "docs/urls.md",
}


def test_every_page_that_a_user_reads_has_an_example() -> None:
    without = {page.relative_to(ROOT).as_posix() for page in pages() if first_example(page) is None}
    assert without == WITHOUT


def test_outputs_and_installing_are_no_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_examples, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```{toctree}\na\n```\n```sh\nmake demo\n```\n```\n$ onnx-gapmil doctor\nonnx-gapmil is what it prints\n```\n"
    )
    assert first_example(page) == Example("page.md", "sh", "onnx-gapmil doctor")


def test_an_example_that_fails_is_told_with_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nimport onnx_gapmil\nraise SystemExit('not so')\n```\n")
    monkeypatch.setattr(first_examples, "ROOT", tmp_path)
    monkeypatch.setattr(first_examples, "pages", lambda: [page])
    said: list[str] = []
    (why,) = run_all(Path(sys.executable), said.append)
    assert said == ["page.md: FAILS"]
    assert "not so" in why
