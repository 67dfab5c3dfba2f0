"""The chart of a run: extra time over plain inference, a row for each way of asking, a dot for each image size.

Written as plain SVG on a card of its own, in a light and a dark version, so that it reads on any page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Any

from benchmarks.peers.client import TOOLS
from benchmarks.peers.results import HEAD_SHARE, VARIANTS, Summary, Variant, find_case, ratio_text, summary

WIDTH, LEFT, RIGHT, TOP, ROW, GROUP = 920, 318, 176, 106, 30, 40
SIZES = (224, 448)
#: Extra time at the left end of the axis; what is less is drawn there.
LEAST, MOST = 0.003, 5000.0
TICKS = {0.003: "≤ 0.3 %", 0.02: "+2 %", 0.1: "+10 %", 1.0: "× 2", 9.0: "× 10", 99.0: "× 100", 999.0: "× 1,000"}
GROUPS = {
    "Maps of all 1000 classes": ("all",),
    "Maps of five classes, one, or none": ("5", "one", "none"),
}
FONT = "-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colours."""

    paper: str
    edge: str
    ink: str
    muted: str
    hairline: str
    ours: str
    theirs: str


LIGHT = Theme("#ffffff", "#d9dee4", "#1b1f24", "#5b6470", "#e6e9ed", "#0072b2", "#6b7480")
DARK = Theme("#0d1117", "#30363d", "#e6edf3", "#9aa4af", "#222932", "#56b4e9", "#a5afba")


class Drawing:
    """SVG elements, one after another."""

    def __init__(self, theme: Theme) -> None:
        self.theme = theme
        self.parts: list[str] = []

    def add(self, name: str, text: str = "", **attributes: object) -> None:
        values = " ".join(f'{key.rstrip("_").replace("_", "-")}="{value}"' for key, value in attributes.items())
        self.parts.append(f"<{name} {values}>{escape(text)}</{name}>" if text else f"<{name} {values}/>")

    def text(
        self, x: float, y: float, text: str, *, size: float = 13, muted: bool = False, **attributes: object
    ) -> None:
        fill = self.theme.muted if muted else self.theme.ink
        self.add("text", text, x=f"{x:.1f}", y=f"{y:.1f}", font_size=size, **{"fill": fill, **attributes})

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str, **attributes: object) -> None:
        ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
        self.add("line", **ends, stroke=stroke, **attributes)


def svg(results: dict[str, Any], *, dark: bool) -> str:
    """One image at a time, on the fewest threads that were timed."""
    threads = min(case["threads"] for case in results["cases"])
    cases = [find_case(results, threads=threads, size=size, batch=1) for size in SIZES]
    present = [case for case in cases if case is not None]
    drawing = Drawing(DARK if dark else LIGHT)
    bottom = _plot(drawing, present)
    _top(drawing, threads)
    height = bottom + 54
    _foot(drawing, bottom)
    card = (
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10" fill="{drawing.theme.paper}" '
        f'stroke="{drawing.theme.edge}"/>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="{FONT}">'
    )
    title = "<title>Extra time of class maps over plain inference, by tool, at 224 and 448 pixels</title>"
    return "\n".join([head, title, card, *drawing.parts, "</svg>", ""])


def _x(extra: float) -> float:
    """Where an extra time (0.1 is ten percent) lies on the logarithmic axis."""
    share = (math.log10(max(extra, LEAST)) - math.log10(LEAST)) / (math.log10(MOST) - math.log10(LEAST))
    return LEFT + min(share, 1.0) * (WIDTH - LEFT - RIGHT)


def _plot(drawing: Drawing, cases: list[dict[str, Any]]) -> float:
    """Rows and the axis; returns where they end."""
    theme = drawing.theme
    rows: list[tuple[float, Variant]] = []
    headings: list[tuple[float, str]] = []
    y = float(TOP)
    for heading, classes in GROUPS.items():
        headings.append((y + GROUP - 14, heading))
        y += GROUP
        for variant in (entry for entry in VARIANTS if entry.classes in classes):
            rows.append((y + ROW / 2, variant))
            y += ROW
    for tick, label in TICKS.items():
        drawing.line(_x(tick), TOP + 8, _x(tick), y, theme.hairline)
        drawing.text(_x(tick), y + 18, label, size=12, muted=True, text_anchor="middle")
    _bound(drawing, y)
    for place, heading in headings:
        drawing.text(20, place, heading, font_weight=600)
    for place, variant in rows:
        _row(drawing, place, variant, [summary(case, variant) for case in cases])
    return y


def _bound(drawing: Drawing, bottom: float) -> None:
    """What the head's multiplications at every cell cost by arithmetic alone."""
    at = _x(HEAD_SHARE)
    drawing.line(at, TOP + 8, at, bottom, drawing.theme.ours, stroke_dasharray="3 4", stroke_width=1.2)
    drawing.text(at, TOP, "full grid, by arithmetic", size=11, text_anchor="middle", fill=drawing.theme.ours)


def _row(drawing: Drawing, y: float, variant: Variant, found: list[Summary | None]) -> None:
    theme = drawing.theme
    ours = variant.tool == "onnx_gapmil"
    color = theme.ours if ours else theme.theirs
    title = next(tool.title for tool in TOOLS if tool.key == variant.tool)
    drawing.text(20, y + 4.5, title, fill=color if ours else theme.ink, font_weight=600 if ours else 400)
    drawing.text(LEFT - 24, y + 4.5, variant.title.replace("`", ""), muted=True, text_anchor="end", size=12)
    places = [_x(entry.ratio - 1) for entry in found if entry is not None]
    if len(places) > 1:
        drawing.line(places[0], y, places[-1], y, color, stroke_width=2, opacity=0.35)
    for number, entry in enumerate(found):
        if entry is None:
            continue
        low, high = _x(entry.low - 1), _x(entry.high - 1)
        drawing.line(low, y, high, y, color, stroke_width=1)
        for end in (low, high):
            drawing.line(end, y - 3.5, end, y + 3.5, color, stroke_width=1)
        fill = color if number == 0 else theme.paper
        at = f"{_x(entry.ratio - 1):.1f}"
        drawing.add("circle", cx=at, cy=f"{y:.1f}", r=5.5, fill=fill, stroke=color, stroke_width=2)
    for number, entry in enumerate(found):
        label = "cannot" if entry is None else f"× {ratio_text(entry.ratio)}"
        style = {"font_weight": 600, "fill": theme.ours} if ours else {}
        drawing.text(WIDTH - RIGHT + 84 + 74 * number, y + 4.5, label, text_anchor="end", **style)


def _top(drawing: Drawing, threads: int) -> None:
    drawing.text(20, 34, "What class maps add to plain inference", size=18, font_weight=600)
    count = "one CPU thread" if threads == 1 else f"{threads} CPU threads"
    drawing.text(
        20,
        56,
        f"ResNet-50, 1000 classes, float32, one image at a time, {count}; each tool against its own framework "
        "without maps.",
        size=12.5,
        muted=True,
    )
    y = 80
    for number, size in enumerate(SIZES):
        x = 25 + 92 * number
        fill = drawing.theme.theirs if number == 0 else drawing.theme.paper
        drawing.add("circle", cx=x, cy=y - 4, r=5.5, fill=fill, stroke=drawing.theme.theirs, stroke_width=2)
        drawing.text(x + 12, y, f"{size} px", size=12, muted=True)
        drawing.text(WIDTH - RIGHT + 84 + 74 * number, TOP, f"{size} px", size=12, muted=True, text_anchor="end")
    drawing.text(204, y, "Whiskers: quartiles over rounds.", size=12, muted=True)


def _foot(drawing: Drawing, bottom: float) -> None:
    drawing.text(
        20,
        bottom + 42,
        "Time with maps over time without, logarithmic. Grad-CAM for 1000 classes: 1000 times one call.",
        size=12,
        muted=True,
    )
