"""Plots of place: boxes from the grid, the pointing game, several objects in one image."""

from __future__ import annotations

from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.metrics.localization import BoxAccuracy
from onnx_gapmil.show.html.charts import Axis, Row, bar, finding, marker, plot
from onnx_gapmil.show.html.formatting import count, percent, table_percent
from onnx_gapmil.show.html.markup import Markup, join, tag

_BASELINE = "what the middle of the image scores"

_Line = tuple[str, float, float | None]
"""What is measured, its value, its baseline."""


def localization(summary: AuditSummary) -> Markup | None:
    """MaxBoxAccV2 and the pointing game, each beside what the middle of the image would score."""
    lines: list[tuple[str, float | None, float | None]] = [
        ("Pointing game: best cell on the object", summary.pointing_game, summary.pointing_game_centre)
    ]
    detail = summary.localization
    if detail is not None:
        grid, centre = detail.grid.shares, detail.centre_box.shares
        lines += [
            ("MaxBoxAccV2: boxes cut from the grid", summary.maxboxacc_v2, centre.mean),
            ("IoU of 0.3 or more", grid.iou_30, centre.iou_30),
            ("IoU of 0.5 or more", grid.iou_50, centre.iou_50),
            ("IoU of 0.7 or more", grid.iou_70, centre.iou_70),
            ("MaxBoxAcc (V1): the largest box, IoU of 0.5", summary.maxboxacc_v1, detail.one_box.centre_box.share),
            ("Top-1 localization: and the answer is right", summary.top1_localization, detail.top1.centre_box.share),
        ]
    lines.append(("PxAP: pixels of the mask", summary.pxap, None))
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
        "Does the grid find the object?",
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
        _threshold(detail.grid) if detail is not None else None,
        "Objects that photographers centre are found by pointing at the middle, so that is the baseline to beat.",
    )


def _reading(known: list[_Line]) -> str:
    label, value, baseline = known[0]
    against = f", against {percent(baseline, 0)} for the middle of the image" if baseline is not None else ""
    if label.startswith("Pointing"):
        return f"The label's best cell lies on the object in {percent(value, 0)}{against}."
    return f"Boxes cut from the grid are right in {percent(value, 0)}{against}."


def _threshold(boxes: BoxAccuracy) -> str:
    cuts = " and ".join(f"{cut:.2f}" for cut in boxes.halves.thresholds)
    return (
        f"Each half of the objects is scored at the threshold that is best on the other half ({cuts}); the best "
        f"threshold in hindsight (the oracle) would give {percent(boxes.oracle.mean)}."
    )


def several_objects(summary: AuditSummary) -> Markup | None:
    """Recall of all classes present, from the grid and from the image-level answer."""
    found = summary.several_objects
    if found is None:
        return None
    lines = (
        ("From the cells", found.grid, "measured"),
        ("From the image's best class", found.top1, "baseline"),
        ("From the image's five best", found.top5, "baseline"),
        ("From as many best as there are objects", found.top_m, "baseline"),
    )
    known = [(label, value / found.objects, kind) for label, value, kind in lines]
    axis = Axis.of([1.0], zero=True)
    rows = [
        Row(
            label, [bar(axis, share, kind, y=6, height=14)], [table_percent(share)], "own" if kind == "measured" else ""
        )
        for label, share, kind in known
    ]
    return finding(
        "several",
        "Several objects in one image",
        f"{count(found.images, 'image')} hold {count(found.objects, 'object')}; the cells find "
        f"{percent(known[0][1], 0)} of them.",
        plot(rows, axis, columns=("", "found"), what="Recall of several objects"),
        "An object counts as found by the cells if one of its classes is the best of a cell at least half in its box. "
        "At image level it counts if it is the best class, or among the five best.",
    )
