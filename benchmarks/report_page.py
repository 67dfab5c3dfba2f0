"""How fast the page of an audit is: in Chromium, with 1,000 images and 1,000 classes, as a double-click opens it.

The audit is real: photos of 448 x 448 of smooth colours, a model of 14 x 14 cells. What is measured, each in a fresh
page and several times over:

- **interactive**: from the start of the navigation until the gallery's first card can be pointed at and no task runs;
- **keystroke**: from a key in the search field until what it leaves is painted;
- **scrolling**: the time between frames while the whole gallery passes by, a fifth of a window in every frame, and the
  share that comes within 1/60 s;
- **processor**: of the page's main thread, for loading, a keystroke and a frame; style, layout and painting included.
  Unlike the others it does not grow with what else the machine does: a frame below 16.7 ms is 60 a second where the
  thread has a core.

`--markdown FILE` writes the page of ``docs/benchmarks``; `--report FILE` measures another report.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pages import made_by, table, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES, CLASSES = 1000, 1000
FRAME = 1000 / 60
#: What issue and reader ask for: milliseconds to interactive, of a keystroke.
INTERACTIVE, KEYSTROKE = 1500, 50

_READY = """() => new Promise(done => {
    const quiet = () => requestIdleCallback(() => done(performance.now()));
    const look = () => document.querySelector('#gallery .card') ? quiet() : requestAnimationFrame(look);
    look();
})"""
_KEYSTROKE = """text => new Promise(done => {
    const field = document.getElementById('image-filter');
    field.focus();
    const start = performance.now();
    field.value = text;
    field.dispatchEvent(new InputEvent('input', {bubbles: true}));
    requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => done(performance.now() - start);
        channel.port2.postMessage(0);
    });
})"""
_SCROLL = """() => new Promise(done => {
    const list = document.getElementById('gallery');
    scrollTo(0, list.getBoundingClientRect().top + scrollY);
    const frames = [];
    let [last, end] = [null, list.getBoundingClientRect().bottom + scrollY - innerHeight];
    const step = now => {
        if (last !== null) frames.push(now - last);
        last = now;
        if (scrollY >= end - 2) return done({frames, cards: list.children.length});
        scrollBy({top: innerHeight / 5, behavior: 'instant'});
        requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
})"""


def make_report(folder: Path) -> Path:
    """A real audit's page; takes a minute."""
    import cv2
    import numpy as np
    from PIL import Image

    from onnx_gapmil.auditing import Request, audit
    from tests.helpers.audited_reports import saved, write_labels
    from tests.helpers.support import text_model, weights

    rng = np.random.default_rng(0)
    body = "a = AveragePool<kernel_shape=[16, 16], strides=[16, 16]>(x)\n c = Conv(a, w)\n"
    body += " p = GlobalAveragePool(c)\n y = Flatten(p)"
    model = text_model(
        body, x="float[N,3,224,224] x", y=f"float[N,{CLASSES}] y", init={"w": weights(CLASSES, 3, 1, 1) * 6}
    )
    (folder / "val").mkdir(parents=True)
    lines = []
    for index in range(IMAGES):
        knots = rng.uniform(0, 255, (7, 7, 3)).astype(np.float32)
        photo = np.clip(cv2.resize(knots, (448, 448), interpolation=cv2.INTER_CUBIC), 0, 255)
        grain = rng.normal(0, 12, photo.shape)  # so that thumbnails weigh what photos weigh
        name = f"val/{index:05d}.jpg"
        Image.fromarray(np.clip(photo + grain, 0, 255).astype(np.uint8)).save(folder / name, quality=90)
        box = [float(value) for value in (*rng.uniform(0, 200, 2), *rng.uniform(220, 448, 2))]
        lines.append({"image": name, "label": index % CLASSES, "objects": [{"class": index % CLASSES, "box": box}]})
    names = [f"made-up class {index}" for index in range(CLASSES)]
    request = Request(model=saved(model, folder, names), data=write_labels(folder, lines))
    audit(request, folder / "audit", gallery=IMAGES)
    return folder / "audit" / "report.html"


def measure(browser: Browser, report: Path, *, width: int, height: int) -> dict[str, float]:
    """One page from its opening to the end of its gallery; milliseconds."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        """Milliseconds of the main thread so far."""
        metrics = session.send("Performance.getMetrics")["metrics"]
        return 1000 * next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")

    try:
        page.goto(report.resolve().as_uri(), wait_until="commit")
        found: dict[str, float] = {"interactive": page.evaluate(_READY)}
        loaded = busy()
        keystrokes = _keystrokes(page)
        typed = busy()
        found |= {"keystroke": max(keystrokes), "cpu_load": loaded, "cpu_key": (typed - loaded) / len(keystrokes)}
        found |= _scrolled(page)
        return found | {"cpu_frame": (busy() - typed) / found["frames"]}
    finally:
        context.close()


def _keystrokes(page: Page) -> list[float]:
    """One letter after the other, as somebody types, and back."""
    typed = ["c", "cl", "cla", "clas", "class", "class 9", "class 99", "class 9", "class", ""]
    return [float(page.evaluate(_KEYSTROKE, text)) for text in typed]


def _scrolled(page: Page) -> dict[str, float]:
    found: dict[str, Any] = page.evaluate(_SCROLL)
    frames = sorted(found["frames"])
    return {
        "frame": statistics.median(frames),
        "frame95": frames[int(0.95 * len(frames))],
        # A screen shows a frame a little early or late: half of one is allowed.
        "kept": sum(value < 1.5 * FRAME for value in frames) / len(frames),
        "frames": len(frames),
        "cards": found["cards"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, help="measure this report instead of a new one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="write the page here")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from tools.report_screenshot import FLAGS, find_browser

    program = find_browser()
    if program is None:
        print("NO BROWSER: nothing was measured.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as play:
        report = options.report or make_report(Path(scratch) / "data")
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        rows, worst = [], {"interactive": 0.0, "keystroke": 0.0}
        for name, width, height in (("desktop, 1280 x 900", 1280, 900), ("phone, 390 x 844", 390, 844)):
            rounds = [measure(browser, report, width=width, height=height) for _ in range(options.rounds)]
            rows.append(row(name, rounds))
            for key in worst:
                worst[key] = max(worst[key], statistics.median(found[key] for found in rounds))
        version, size = browser.version, report.stat().st_size
        browser.close()
    heads = ["window", "interactive, ms", "slowest keystroke, ms", "frame: median, 95 %, ms"]
    heads += ["frames in time", "processor: loading, keystroke, frame, ms", "cards that exist"]
    lines = ["# Speed of the audit's page", "", *made_by("python -m benchmarks.report_page"), ""]
    lines += [
        f"Chromium {version}, headless, without a graphics card; a page of {size / 1e6:.0f} MB from a file. Load "
        f"of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        "",
    ]
    lines += [*table(heads, rows), "", _definitions()]
    print("\n".join(lines))
    write(options.markdown, lines)
    return int(worst["interactive"] > INTERACTIVE or worst["keystroke"] > KEYSTROKE)


def _definitions() -> str:
    text = __doc__ or ""
    return text[text.index("The audit is real") : text.index("`--markdown")].rstrip()


def row(name: str, rounds: list[dict[str, float]]) -> list[str]:
    """The medians over rounds."""

    def middle(key: str) -> float:
        return statistics.median(found[key] for found in rounds)

    return [
        name,
        f"{middle('interactive'):.0f}",
        f"{middle('keystroke'):.0f}",
        f"{middle('frame'):.1f}, {middle('frame95'):.1f}",
        f"{100 * middle('kept'):.1f} % of {middle('frames'):.0f}",
        f"{middle('cpu_load'):.0f}, {middle('cpu_key'):.0f}, {middle('cpu_frame'):.1f}",
        f"{middle('cards'):.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
