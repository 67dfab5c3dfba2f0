"""Pictures of the page that is touched, for README and docs: `python -m tools.view_screenshot`.

Writes ``docs/images/view.png``, the page of `view`, and ``docs/images/view_compare.png``, an image of a comparison's
report. Needs playwright and an installed Chromium or Chrome.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from onnx_gapmil import compare
from onnx_gapmil.viewing.view import make_server
from tools.report_screenshot import FLAGS, find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MODELS = ROOT / "sample_models"
OLD, NEW = MODELS / "digits_torch_legacy.onnx", MODELS / "digits_keras.onnx"


@contextmanager
def served() -> Iterator[str]:
    """The address of `view` with the scenes of the repository."""
    server = make_server([(OLD, {})], [str(MODELS / "scenes" / f"scene_0{place}.png") for place in (6, 3, 0)])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()


def take(browser: Browser, url: str, path: Path, size: tuple[int, int], act: Callable[[Page], None]) -> None:
    """A picture of a page, after something was done on it."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
    try:
        page = context.new_page()
        page.goto(url)
        act(page)
        page.wait_for_timeout(400)
        page.screenshot(path=str(path))
    finally:
        context.close()
    with Image.open(path) as picture:
        picture.convert("RGB").save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)


def _look(page: Page) -> None:
    page.locator(".strip li").nth(2).wait_for()


def _compare(page: Page) -> None:
    page.locator("dialog .change .stage").wait_for()


def main() -> int:
    """Run from the command line."""
    from playwright.sync_api import sync_playwright

    program = find_browser()
    if program is None:
        print("No Chromium or Chrome is on the PATH.", file=sys.stderr)
        return 1
    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder, served() as url:
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        take(browser, f"{url}#photo=0&map=7&cell=8,6", IMAGES / "view.png", (1240, 1000), _look)
        compare(OLD, NEW, MODELS / "scenes", folder)
        report = (Path(folder) / "report.html").as_uri()
        address = "#image=scene_06.png&over=7&cell=8,6"
        take(browser, report + address, IMAGES / "view_compare.png", (1240, 800), _compare)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
