"""The README shows real output and runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.readme import holds

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_commands_of_the_readme_print_what_it_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.readme", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_python_of_the_readme_runs_and_its_comments_are_true(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    monkeypatch.chdir(ROOT)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - our own README
        said = [line.split("  # ")[1].strip() for line in block.splitlines() if line.startswith("print(")]
        assert capsys.readouterr().out.splitlines() == said


def test_an_output_in_parts_is_held_against_what_is_printed() -> None:
    printed = "$ do\na 1\nb 20\nc 3\n"
    assert holds(printed, "$ do\n...\nb 20\n", about=False)
    assert holds(printed, "$ do\na 1\n...\nc 3\n", about=False)
    assert not holds(printed, "$ do\n...\nb 21\n", about=False)
    assert not holds(printed, "$ do\n...\nc 3\n...\na 1\n", about=False)
    assert holds(printed, "$ do\n...\nb 21\n", about=True)
    assert not holds(printed, "$ do\n...\nb 40\n", about=True)
    assert not holds(printed, "$ do\n...\nd 20\n", about=True)


def test_the_sentence_on_speed_is_what_was_measured_of_the_command_without_options() -> None:
    (said,) = re.findall(r"<!-- speed: begin .*?-->\n(.*?)<!-- speed: end -->", README, re.DOTALL)
    table = (ROOT / "docs" / "benchmarks" / "predict.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    share = rows[0].index("of bare")
    runs = ("predict: pictures, NPZ and JSON", "predict: NPZ and JSON", "audit, a box in each photo")
    measured = [
        [float(row[share]) for row in rows if row[:2] == [model, run]]  # one for each processor
        for run in runs
        for model in ("ResNet-50", "MobileNetV2")
    ]
    wanted = [f"{end(of_one):.2f}" for of_one in measured for end in (min, max)]
    assert re.findall(r"\d\.\d\d", said) == wanted


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
