"""docs/view.md says what the verbs and the page have: options, buttons, keys of the arrays."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from onnx_gapmil.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "view.md").read_text("utf-8")


def test_every_option_that_it_names_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    table = PAGE.split("## The server")[1].split("## In a notebook")[0]
    assert main(["view", "--help"]) == 0
    known = capsys.readouterr().out
    named = set(re.findall(r"`(--[a-z-]+)", table))
    assert {"--names-new", "--port", "--no-browser", "--class-token"} <= named
    assert [option for option in sorted(named) if option not in known] == []


def test_its_predict_command_makes_the_page_whose_buttons_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Browser
) -> None:
    (line,) = re.findall(r"^\$ onnx-gapmil (predict .*)$", PAGE, re.MULTILINE)
    monkeypatch.chdir(ROOT)
    assert main([*shlex.split(line), "-o", str(tmp_path), "--no-pictures", "--quiet"]) == 0
    page = browser.new_page()
    try:
        page.goto((tmp_path / "predictions.html").as_uri())
        text = page.locator("main").inner_text() + " ".join(page.locator("button, label").all_text_contents())
    finally:
        page.close()
    does = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ")]
    named = {name for cell in does for name in re.findall(r"\*([^*]+)\*", cell)}
    assert {"Winners", "Smooth", "Pin", "Rectangle"} <= named
    assert [name for name in sorted(named) if name not in text] == []
