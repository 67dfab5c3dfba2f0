"""Pictures of a report in both themes, for the README: `python -m tools.report_screenshot report.html OUT.png`.

Needs playwright and an installed Chromium or Chrome. With one output name, the two themes stand side by side; `--width`
and `--height` choose the window, `--scroll` an element to begin at, `--maps` the maps that are on, `--full` takes the
whole page.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
GAP = 24


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def screenshots(
    report: Path,
    folder: Path,
    *,
    width: int,
    height: int,
    scroll: str | None = None,
    maps: str | None = None,
    full: bool = False,
    scale: float = 2,
    address: str = "",
) -> dict[str, Path]:
    """Take a picture of a report in each theme.

    Args:
        report: the HTML file.
        folder: where ``light.png`` and ``dark.png`` go.
        width: of the window in CSS pixels.
        height: of the window.
        scroll: selector of an element to begin at.
        maps: the class whose map lies on every photo, ``label``, ``answer``, ``difference`` or ``none``.
        full: the whole page instead of the window.
        scale: pixels of the picture for each CSS pixel.
        address: what follows the # in the page's address.

    Returns:
        The picture's path by theme.

    Raises:
        FileNotFoundError: no browser is installed.
    """
    from playwright.sync_api import sync_playwright

    program = find_browser()
    if program is None:
        raise FileNotFoundError(f"None of {', '.join(BROWSERS)} is on the PATH.")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            return {
                theme: _shot(
                    browser, report, folder / f"{theme}.png", theme, (width, height), scroll, maps, full, scale, address
                )
                for theme in ("light", "dark")
            }
        finally:
            browser.close()


def _shot(
    browser: Browser,
    report: Path,
    path: Path,
    theme: str,
    size: tuple[int, int],
    scroll: str | None,
    maps: str | None,
    full: bool,
    scale: float,
    address: str,
) -> Path:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(report.resolve().as_uri() + (f"#{address}" if address else ""))
    if maps:
        page.select_option("#map-of", maps)
    if scroll:
        page.locator(scroll).evaluate("element => element.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(300)
    page.screenshot(path=str(path), full_page=full)
    context.close()
    return path


def side_by_side(pictures: list[Path], out: Path) -> None:
    """Put pictures of one height into one, with a gap that shows through."""
    opened = [Image.open(path).convert("RGBA") for path in pictures]
    width = sum(picture.width for picture in opened) + GAP * (len(opened) - 1)
    sheet = Image.new("RGBA", (width, max(picture.height for picture in opened)), (0, 0, 0, 0))
    left = 0
    for picture in opened:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    sheet.save(out, optimize=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument(
        "out", type=Path, help="a PNG (both themes side by side), or a folder for light.png and dark.png"
    )
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--scroll", metavar="SELECTOR", help="begin at this element, such as '#images'")
    parser.add_argument(
        "--maps", choices=["label", "answer", "difference", "none"], help="lay the map of this class over every photo"
    )
    parser.add_argument("--address", default="", help="what follows the # in the page's address")
    parser.add_argument("--full", action="store_true", help="the whole page")
    arguments = parser.parse_args()
    options = {
        key: getattr(arguments, key) for key in ("width", "height", "scale", "scroll", "maps", "full", "address")
    }
    try:
        if arguments.out.suffix.lower() == ".png":
            with tempfile.TemporaryDirectory() as folder:
                taken = screenshots(arguments.report, Path(folder), **options)
                side_by_side(list(taken.values()), arguments.out)
        else:
            arguments.out.mkdir(parents=True, exist_ok=True)
            screenshots(arguments.report, arguments.out, **options)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
