"""The slices of the data: how the figures differ by what the label file says of each image, by size and by aspect."""

from __future__ import annotations

import json

from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.data.unjudged import UNJUDGED
from onnx_gapmil.metrics.figures import SliceFigures
from onnx_gapmil.show.html.formatting import interval, table_percent
from onnx_gapmil.show.html.markup import Child, Markup, bdi, join, prose, tag

#: Images below which a slice's figures are greyed: their intervals are wide.
_FEW = 10


def slices_section(summary: AuditSummary, *, gallery: bool) -> Markup | None:
    """A table of all slices; None where there are none.

    Args:
        summary: of the audit.
        gallery: whether there are images to show.
    """
    if not summary.slices:
        return None
    rows: list[Markup] = []
    for column, values in summary.slices.items():
        rows.append(tag("tr", tag("th", bdi(_title(column)), scope="rowgroup", colspan=8), class_="group"))
        rows += [_row(summary, column, value, figures, gallery) for value, figures in values.items()]
        lost = summary.slice_columns[column]
        rows += [_unjudged_row(lost.said(value), images) for value, images in lost.unjudged.items()]
    return tag(
        "section",
        tag("h2", "Slices"),
        tag(
            "p",
            "The same figures for a part of the images each. Slices of few images differ by chance: see the intervals; "
            f"those of fewer than {_FEW} are grey.",
            class_="soft",
        ),
        tag(
            "div",
            _table(summary, rows),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Table of slices",
        ),
        _left_out(summary),
        id="slices",
        aria_label="Slices",
    )


def _title(column: str) -> str:
    return {"object_size": "size of the object", "aspect": "shape of the photo"}.get(column, column)


def _table(summary: AuditSummary, rows: list[Markup]) -> Markup:
    first = "Label ranks first" if summary.multi_label is not None else "Top-1"
    heads = ("Images", first, "95 %", "Errors: label wins a cell", "control", "Pointing game", "centre")
    return tag(
        "table",
        tag("caption", "Figures by slice", class_="unseen"),
        tag(
            "thead",
            tag("tr", tag("th", "Slice", scope="col"), [tag("th", head, scope="col", class_="num") for head in heads]),
        ),
        tag("tbody", rows),
        class_="shares",
    )


def _row(summary: AuditSummary, column: str, value: str, figures: SliceFigures, gallery: bool) -> Markup:
    said = bdi(summary.slice_columns[column].said(value))
    name: Markup = said
    if gallery:
        wanted = json.dumps({"slice": f"{column}={value}"}, ensure_ascii=False)
        name = tag("button", said, type="button", class_="link", data_choose=wanted, title="Show its images")
    wrong = figures.foreground.wrong if figures.foreground is not None and figures.foreground.wrong.images else None
    bounds = figures.intervals.get("top1")
    cells: list[Child] = [
        f"{figures.images:,}",
        table_percent(figures.top1),
        interval(bounds) if bounds is not None else "–",
        table_percent(wrong.any_top1 if wrong is not None else None),
        table_percent(wrong.control_any_top1 if wrong is not None else None),
        table_percent(figures.pointing_game),
        table_percent(figures.pointing_game_centre),
    ]
    return tag(
        "tr",
        tag("th", name, scope="row"),
        [tag("td", cell, class_="num") for cell in cells],
        class_="few" if figures.images < _FEW else None,
    )


def _unjudged_row(value: str, images: int) -> Markup:
    """A slice of the label file of which no image could be judged: no figure must not look like a good one."""
    cells = [tag("td", f"{images:,}", class_="num"), tag("td", UNJUDGED, colspan=6)]
    return tag("tr", tag("th", bdi(value), scope="row"), cells, class_="few")


def _left_out(summary: AuditSummary) -> Markup | None:
    """Columns that make no slices, with the reason."""
    missing = [
        (name, column.left_out)
        for name, column in summary.slice_columns.items()
        if column.left_out is not None and column.values > 1
    ]
    if not missing:
        return None
    items = [tag("li", join(bdi(name), ": ", prose(reason))) for name, reason in missing]
    return tag("details", tag("summary", "Columns that make no slices"), tag("ul", items))
