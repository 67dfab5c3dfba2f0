"""A page written to a file and opened in a browser without a window, as a double-click would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from onnx_gapmil.prediction.answers import ImagePrediction
from tests.helpers.view_pages import KINDS, Show, Shown, rendered

Made = tuple[str, list[ImagePrediction]]


@pytest.fixture(scope="session")
def made() -> dict[str, Made]:
    """Pages by kind, each made once."""
    return {}


@pytest.fixture
def show(browser: Browser, tmp_path: Path, made: dict[str, Made]) -> Iterator[Show]:
    """Open the page of a kind, or of a text that was rendered, at an address behind the #."""
    contexts = []

    def open_(kind: str | Made, address: str = "", **options: Any) -> Shown:
        if isinstance(kind, str):
            if kind not in made:
                made[kind] = rendered(*KINDS[kind]())
            kind = made[kind]
        text, found = kind
        path = tmp_path / "predictions.html"
        path.write_text(text, "utf-8")
        settings = {"viewport": {"width": 1440, "height": 1000}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**settings)
        contexts.append(context)
        shown = Shown(context.new_page(), found)
        shown.page.on("console", lambda message: shown.complaints.append(f"{message.type}: {message.text}"))
        shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.goto(path.as_uri() + address)
        expect(shown.whole.locator(".reading-title")).to_have_text("Whole image")
        return shown

    yield open_
    for context in contexts:
        context.close()
