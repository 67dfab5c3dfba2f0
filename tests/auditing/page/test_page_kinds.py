"""Every kind of report in a real Chromium: nothing that axe-core calls a violation, nothing too wide for a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from onnx_gapmil.auditing.page import Report
from tests.helpers.report_kinds import ARABIC, KINDS
from tests.helpers.report_pages import Open, decode


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A real audit of each kind."""
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def arabic(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Names that are written from right to left."""
    return KINDS["arabic"](tmp_path_factory.mktemp("arabic"))


def violations(page: Page) -> list[Any]:
    """What axe-core finds, each rule with the first elements that break it."""
    found = Axe().run(page)
    return [
        (rule["id"], [(node["html"][:160], node["failureSummary"][:300]) for node in rule["nodes"][:3]])
        for rule in found.response["violations"]
    ]


def test_axe_finds_no_violation(open_report: Open, kind: Report) -> None:
    opened = open_report(kind)
    page = opened.page
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert violations(page) == [], scheme
    page.locator(".larger").first.click()
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        expect(page.locator("dialog")).to_be_visible()
        assert violations(page) == [], scheme
    assert opened.complaints == []


def test_no_kind_is_wider_than_a_phone(open_report: Open, kind: Report) -> None:
    page = open_report(kind, viewport={"width": 390, "height": 844}).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator(".larger").first.click()
    expect(page.locator("dialog")).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 390


def test_names_of_the_other_direction_do_not_move_what_stands_beside_them(open_report: Open, arabic: Report) -> None:
    """In "label − answer" and "name ×2" the signs and numbers would change places with the names."""
    page = open_report(arabic).page
    page.select_option("#map-of", "difference")
    left = page.locator(".legend-name bdi").first.bounding_box()
    right = page.locator(".legend-name bdi").nth(1).bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"]
    loose = page.evaluate(
        """names => {
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            const found = [];
            while (walker.nextNode()) {
                const node = walker.currentNode;
                const text = node.data;
                const alone = node.parentElement.closest('bdi, script');
                if (!alone && names.some(name => text.includes(name))) found.push(text);
            }
            return found;
        }""",
        ARABIC,
    )
    assert loose == []


def test_by_one_logit_either_class_has_a_map_and_nothing_is_compared(open_report: Open, tmp_path: Path) -> None:
    """The logit of "not red" is 0 in all cells: its map is that of "red" with the other sign."""
    report = KINDS["one-logit"](tmp_path)
    opened = open_report(report)
    text = opened.page.inner_text("main")
    assert "as classes ranked beside it do" not in text
    assert "no class beside it was there to compare that with" in text
    assert "five best" not in opened.page.inner_text("#summary")
    shown = {}
    for place, image in enumerate(report.gallery.images[:8]):
        logits, _ = decode(image.maps)
        own = logits[image.maps.classes.index(image.labels[0])] - logits[image.maps.classes.index(1 - image.labels[0])]
        opened.page.locator("#gallery").evaluate("list => list.scrollIntoView()")
        canvas = opened.page.locator(f".card[data-image='{place}'] canvas")
        values = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
        level = (own / np.abs(own).max() + 1) / 2
        np.testing.assert_allclose(values[3::4], 255 * (0.08 + 0.8 * np.abs(2 * level - 1)), atol=1)
        shown[image.labels[0]] = place
    assert set(shown) == {0, 1}
