"""A real browser without a window, and the page of a report opened in it as a double-click would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from onnx_gapmil.auditing.page import Report, write_report
from tests.helpers.report_pages import Open, Opened


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Write a report's page and open it by its file:// address."""
    contexts = []

    def open_(report: Report, **options: Any) -> Opened:
        path = tmp_path / "report.html"
        write_report(path, report)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        opened = Opened(page, report)
        page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(path.as_uri())
        return opened

    yield open_
    for context in contexts:
        context.close()
