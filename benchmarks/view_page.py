"""How fast the page that is touched is: in Chromium, with 1,000 classes and 14 x 14 cells, and how soon it answers.

Pages of a made model whose cells are the photo's pixels, all classes kept, so that every cell is ranked among 1,000:

- **pointing**: a mouse goes over the photo, four moves a frame (a mouse sends 125 to 1,000 a second), each to another
  cell. Said are the time between frames; the time from a frame's start until it is painted, which is the page's
  scripts, style, layout and painting; and of the page's main thread the processor's time a frame, less that of frames
  in which nothing is pointed at. The last does not grow with what else the machine does: below 16.7 ms is 60 frames a
  second where the thread has a core;
- **first answer**: from the drop of a photo of 1920 x 1080 (JPEG) on `view`'s page until its map and its classes are
  painted, less what the model itself takes (the median of its runs, in the same process): reading the photo, preparing
  it, both directions of the answer, and drawing.

`--markdown FILE` writes the page of ``docs/benchmarks``.
"""

from __future__ import annotations

import argparse
import base64
import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pages import made_by, table, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CLASSES, SIDE, FRAMES = 1000, 14, 240
FRAME = 1000 / 60
#: What the page is to reach: milliseconds a frame, and of the first answer beside the model.
ANSWER = 150

_POINT = """([frames, moving]) => new Promise(done => {
    const stage = document.querySelector('.stage');
    const [map, gaps, spent] = [stage.querySelector('canvas.map').getBoundingClientRect(), [], []];
    const channel = new MessageChannel();
    let [count, last, began, cell] = [0, null, 0, 0];
    channel.port1.onmessage = () => spent.push(performance.now() - began);
    const step = now => {
        began = performance.now();
        if (last !== null) gaps.push(now - last);
        last = now;
        if (count++ === frames) return done({gaps, spent});
        requestAnimationFrame(step);  // before the page's own, so that what that does is within the frame
        for (let move = 0; moving && move < 4; move += 1) {
            cell = (cell + 29) % 196;
            const clientX = map.left + map.width * (cell % 14 + 0.5) / 14;
            const clientY = map.top + map.height * (Math.floor(cell / 14) + 0.5) / 14;
            const about = {bubbles: true, pointerType: 'mouse', clientX, clientY};
            stage.dispatchEvent(new PointerEvent('pointermove', about));
        }
        channel.port2.postMessage(0);
    };
    requestAnimationFrame(step);
})"""
_GIVE = "text => { window.given = Uint8Array.from(atob(text), letter => letter.charCodeAt(0)); }"
_DROP = """before => new Promise(done => {
    const carried = new DataTransfer();
    carried.items.add(new File([window.given], 'dropped.jpg', {type: 'image/jpeg'}));
    const start = performance.now();
    const channel = new MessageChannel();
    channel.port1.onmessage = () => done(performance.now() - start);
    const look = () => {
        const [strip, rows] = ['.strip li', '.reading .ranking li:not([hidden])'].map(
            one => document.querySelectorAll(one).length);
        if (strip > before && rows) requestAnimationFrame(() => channel.port2.postMessage(0));
        else requestAnimationFrame(look);
    };
    document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: carried}));
    look();
})"""


def made_page(folder: Path, models: int) -> Path:
    """A page of one or two models with all classes of one photo."""
    from onnx_gapmil.prediction.page.content import page_model, page_photo
    from onnx_gapmil.prediction.page.page import render_page
    from tests.helpers.view_pages import pixel_model, pixels

    made = [pixel_model(CLASSES, SIDE, tail="Softmax<axis=1>", seed=seed) for seed in range(models)]
    found = [model.predict(pixels(SIDE)) for model in made]
    path = folder / f"{models}.html"
    photo = page_photo(found, "noise.png", most=CLASSES)
    path.write_text(render_page([page_model(model) for model in made], [photo]), "utf-8")
    return path


def pointing(browser: Browser, path: Path, *, width: int) -> dict[str, float]:
    """Milliseconds of frames in which the mouse moves."""
    context = browser.new_context(viewport={"width": width, "height": 1000}, reduced_motion="reduce")
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    try:
        page.goto(path.resolve().as_uri())
        page.locator(".class-card").first.wait_for()
        page.evaluate(_POINT, [30, True])  # what is compiled is compiled
        before = _busy(session)
        page.evaluate(_POINT, [FRAMES, False])
        idle = _busy(session)
        found: dict[str, list[float]] = page.evaluate(_POINT, [FRAMES, True])
        spent = _busy(session) - idle
    finally:
        context.close()
    return {
        "gap": statistics.median(found["gaps"]),
        "gap95": _share(found["gaps"], 0.95),
        "kept": sum(gap < 1.5 * FRAME for gap in found["gaps"]) / len(found["gaps"]),
        "frame": statistics.median(found["spent"]),
        "frame95": _share(found["spent"], 0.95),
        "cpu": (spent - (idle - before)) / FRAMES,
    }


def _share(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _busy(session: Any) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")


@dataclass(frozen=True)
class Answers:
    """Milliseconds.

    Attributes:
        drops: of each drop until it is painted.
        own: of the model alone.
        page: of the processor, of the page's main thread, for each.
        server: of the processor, of this process, for each.
    """

    drops: list[float]
    own: float
    page: float
    server: float


def answering(browser: Browser, drops: int) -> Answers:
    """How soon dropped photos are answered."""
    import cv2
    import numpy as np

    from onnx_gapmil.viewing.view import make_server
    from tests.helpers.audited_reports import saved
    from tests.helpers.support import text_model, weights

    body = "a = AveragePool<kernel_shape=[16, 16], strides=[16, 16]>(x)\n c = Conv(a, w)\n"
    body += " p = GlobalAveragePool(c)\n z = Flatten(p)\n y = Softmax<axis=1>(z)"
    init = {"w": weights(CLASSES, 3, 1, 1) * 6}
    model = text_model(body, x="float[N,3,224,224] x", y=f"float[N,{CLASSES}] y", init=init)
    knots = np.random.default_rng(0).uniform(0, 255, (9, 16, 3)).astype(np.float32)
    photo = np.clip(cv2.resize(knots, (1920, 1080), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    text = base64.b64encode(cv2.imencode(".jpg", photo)[1].tobytes()).decode()
    with tempfile.TemporaryDirectory() as folder:
        server = make_server([(saved(model, Path(folder)), {})], provider="cpu")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        context = browser.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
        try:
            page: Page = context.new_page()
            page.goto(server.url)
            page.locator("#welcome").wait_for()
            session = context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.evaluate(_GIVE, text)
            first = float(page.evaluate(_DROP, 0))
            busy = [_busy(session), 1000 * time.process_time()]
            found = [first, *(float(page.evaluate(_DROP, before)) for before in range(1, drops))]
            busy = [_busy(session) - busy[0], 1000 * time.process_time() - busy[1]]
            classifier = server.answering._models[0]
            feed = np.zeros((1, 3, 224, 224), np.float32)
            own = []
            for _ in range(20):
                start = time.perf_counter()
                classifier.session.run(feed, outputs=("grid",))
                own.append(1000 * (time.perf_counter() - start))
        finally:
            context.close()
            server.shutdown()
            server.server_close()
    each = max(1, drops - 1)
    return Answers(found, statistics.median(own), busy[0] / each, busy[1] / each)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--drops", type=int, default=8)
    parser.add_argument("--markdown", type=Path, help="write the page here")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from tools.report_screenshot import FLAGS, find_browser

    program = find_browser()
    if program is None:
        print("NO BROWSER: nothing was measured.", file=sys.stderr)
        return 2
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        for models, name in ((1, "one model"), (2, "two beside each other")):
            path = made_page(Path(scratch), models)
            rounds = [pointing(browser, path, width=1440) for _ in range(options.rounds)]
            middle = {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
            worst = max(worst, middle["cpu"])
            rows.append(
                [
                    name,
                    f"{middle['gap']:.1f}, {middle['gap95']:.1f}",
                    f"{100 * middle['kept']:.1f} %",
                    f"{middle['frame']:.1f}, {middle['frame95']:.1f}",
                    f"{middle['cpu']:.2f}",
                ]
            )
        answers = answering(browser, options.drops)
        version = browser.version
        browser.close()
    heads = ["page", "between frames: median, 95 %, ms", "frames in time", "a frame: median, 95 %, ms"]
    heads.append("processor, ms a frame")
    rest = [value - answers.own for value in answers.drops]
    lines = ["# Speed of the page that is touched", "", *made_by("python -m benchmarks.view_page"), ""]
    lines += [
        f"Chromium {version}, headless, without a graphics card. Load of the machine meanwhile: "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        "",
        *table(heads, rows),
        "",
        f"First answer beside the model's own {answers.own:.1f} ms: {statistics.median(rest):.0f} ms in the middle of "
        f"{len(rest)} drops, {max(rest):.0f} ms at the most. Of the processor {answers.server:.0f} ms in the server "
        f"and {answers.page:.0f} ms in the page's main thread.",
        "",
        _definitions(),
    ]
    print("\n".join(lines))
    write(options.markdown, lines)
    return int(worst > FRAME or statistics.median(rest) > ANSWER)


def _definitions() -> str:
    text = __doc__ or ""
    return text[text.index("Pages of a made model") : text.index("`--markdown")].rstrip()


if __name__ == "__main__":
    sys.exit(main())
