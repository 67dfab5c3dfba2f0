"""Plots of place: boxes from the grid, the pointing game, several objects in one image."""

from __future__ import annotations

from typing import Any

from onnx_gapmil.show.html.charts import Axis, Row, bar, finding, marker, plot
from onnx_gapmil.show.html.formatting import count, percent, share_of, table_percent
from onnx_gapmil.show.html.markup import Markup, join, tag

_THRESHOLDS = ("0.3", "0.5", "0.7")
_BASELINE = "what the middle of the image scores"

_Line = tuple[str, float, float | None]
"""What is measured, its value, its baseline."""


def localization(summary: dict[str, Any]) -> Markup | None:
    """MaxBoxAccV2 and the pointing game, each beside what the middle of the image would score."""
    detail = summary.get("localization") or {}
    centre = detail.get("centre_box")
    lines: list[tuple[str, float | None, float | None]] = [
        (
            "Pointing game: best cell on the object",
            share_of(summary.get("pointing_game")),
            share_of(summary.get("pointing_game_centre")),
        ),
        (
            "MaxBoxAccV2: boxes cut from the grid",
            share_of(summary.get("maxboxacc_v2")),
            share_of(centre, "mean"),
        ),
    ]
    lines += [
        (f"IoU of {name} or more", share_of(detail, f"iou_{name}"), share_of(centre, f"iou_{name}"))
        for name in _THRESHOLDS
    ]
    lines.append(("PxAP: pixels of the mask", share_of(summary.get("pxap")), None))
    known: list[_Line] = [(label, value, baseline) for label, value, baseline in lines if value is not None]
    if not known:
        return None
    axis = Axis.of([1.0], zero=True)
    rows = []
    for label, value, baseline in known:
        marks = [bar(axis, value, "measured", y=7, height=12)]
        if baseline is not None:
            marks.append(marker(axis, baseline, "baseline-mark"))
        rows.append(Row(label, marks, [table_percent(value), table_percent(baseline)]))
    return finding(
        "localization",
        "Finding the object",
        _reading(known),
        join(
            tag(
                "ul",
                tag("li", tag("span", class_="swatch tick"), _BASELINE),
                class_="legend inline",
            ),
            plot(rows, axis, columns=("", "grid", "middle"), what="Localization, beside the centre baseline"),
        ),
        "Pointing game: does the right class's best cell touch a box of its object. MaxBoxAccV2 (arXiv 2007.04178): "
        "the map of the right class is cut at a threshold, each piece left gives a box, and one of them must overlap "
        "the object's box (intersection over union, IoU) by 0.3, 0.5 or 0.7; the figure is the mean of the three. "
        "PxAP: average precision over pixels, for masks.",
        _threshold(detail),
        "Objects that photographers centre are found by pointing at the middle, so that is the baseline to beat.",
    )


def _reading(known: list[_Line]) -> str:
    label, value, baseline = known[0]
    against = f", against {percent(baseline, 0)} for the middle of the image" if baseline is not None else ""
    if label.startswith("Pointing"):
        return f"The right class's best cell lies on the object in {percent(value, 0)}{against}."
    return f"Boxes cut from the grid are right in {percent(value, 0)}{against}."


def _threshold(detail: dict[str, Any]) -> str | None:
    cuts, oracle = (detail.get("halves") or {}).get("thresholds"), detail.get("oracle")
    best = share_of(oracle, "mean")
    parts = []
    if cuts:
        parts.append(
            "Each half of the objects is scored at the threshold that is best on the other half "
            f"({' and '.join(f'{cut:.2f}' for cut in cuts)})"
        )
    if best is not None:
        parts.append(f"{'the' if parts else 'The'} best threshold in hindsight (the oracle) would give {percent(best)}")
    return "; ".join(parts) + "." if parts else None


def several_objects(summary: dict[str, Any]) -> Markup | None:
    """Recall of all classes present, from the grid and from the image-level answer."""
    found = summary.get("several_objects") or {}
    objects = int(found.get("objects") or 0)
    lines = (
        ("From the cells", found.get("grid"), "measured"),
        ("From the image's best class", found.get("top1"), "baseline"),
        ("From the image's five best", found.get("top5"), "baseline"),
        ("From as many best as there are objects", found.get("top_m"), "baseline"),
    )
    known = [(label, value / objects, kind) for label, value, kind in lines if value is not None and objects]
    if not known:
        return None
    axis = Axis.of([1.0], zero=True)
    rows = [
        Row(
            label, [bar(axis, share, kind, y=6, height=14)], [table_percent(share)], "own" if kind == "measured" else ""
        )
        for label, share, kind in known
    ]
    images = int(found.get("images") or 0)
    return finding(
        "several",
        "Several objects in one image",
        f"{count(images, 'image')} hold {count(objects, 'object')}; the cells find {percent(known[0][1], 0)} of them.",
        plot(rows, axis, columns=("", "found"), what="Recall of several objects"),
        "An object counts as found by the cells if one of its classes is the best of a cell at least half in its box. "
        "At image level it counts if it is the best class, or among the five best.",
    )
