"""The page on arrays runs, and its comments are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "arrays.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "docs/arrays.md", "exec"), {})  # noqa: S102 - our own page
    said = [line.split("  # ")[1].strip() for line in block.splitlines() if line.startswith("print(")]
    assert capsys.readouterr().out.splitlines() == said
