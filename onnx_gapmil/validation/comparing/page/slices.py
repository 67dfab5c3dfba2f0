"""The tables of classes and slices: accuracy before and after, fixed and broken, what the evidence did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.data.unjudged import UNJUDGED
from onnx_gapmil.show.html.formatting import table_percent
from onnx_gapmil.show.html.markup import Child, Markup, bdi, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.validation.comparing.figures import PairFigures
    from onnx_gapmil.validation.comparing.result import Comparison

#: Rows of the table of classes.
_MOST = 100


def classes_section(found: Comparison) -> Markup | None:
    """The classes that changed most; None without labels."""
    if not found.classes:
        return None
    ordered = sorted(found.classes, key=lambda row: (*_order(row.figures), row.index))
    rows = []
    for row in ordered[:_MOST]:
        now = [[", " if place else None, bdi(name), f" ×{times}"] for place, (_, name, times) in enumerate(row.answers)]
        link = tag("button", bdi(row.name), type="button", class_="link", data_find=row.name, title="Show its images")
        rows.append(_row(link, row.figures, now))
    left = len(ordered) - len(rows)
    unjudged = found.slice_columns["class"].unjudged if "class" in found.slice_columns else {}
    rows += [_unjudged_row(name, images, last=True) for name, images in list(unjudged.items())[:_MOST]]
    return tag(
        "section",
        tag("h2", "By class"),
        tag(
            "p",
            "Those that lost most first."
            + (f' {left:,} more are in classes.parquet, and under "class" in compare.json.' if left else ""),
            class_="soft",
        ),
        _table("Class", rows, last="Broken ones are now"),
        id="classes",
        aria_label="Classes",
    )


def slices_section(found: Comparison) -> Markup | None:
    """The slices of the data; None where there are none."""
    columns = [column for column in found.slices if column != "class"]
    if not columns:
        return None
    rows: list[Markup] = []
    for column in columns:
        rows.append(tag("tr", tag("th", column.replace("_", " "), scope="rowgroup", colspan=8), class_="group"))
        values = sorted(found.slices[column].items(), key=lambda entry: (*_order(entry[1]), entry[0]))
        said = found.slice_columns[column].said
        rows += [_row(said(value), figures, None) for value, figures in values]
        lost = found.slice_columns[column].unjudged
        rows += [_unjudged_row(said(value), images) for value, images in lost.items()]
    return tag(
        "section",
        tag("h2", "By slice"),
        _table("Slice", rows, last=None),
        id="slices",
        aria_label="Slices",
    )


def _unjudged_row(value: str, images: int, *, last: bool = False) -> Markup:
    """A slice of the label file of which no image could be judged."""
    cells = [tag("td", f"{images:,}", class_="num"), tag("td", UNJUDGED, colspan=7 if last else 6)]
    return tag("tr", tag("th", bdi(value), scope="row"), cells, class_="few")


def _order(figures: PairFigures) -> tuple[float, float]:
    """Net losses first, then what changed most."""
    lost = (figures.flips.broken or 0) - (figures.flips.fixed or 0)
    return -lost, figures.agreement.top1


def _table(name: str, rows: Sequence[Markup], *, last: Child) -> Markup:
    heads = ("Images", "Right before", "Right after", "Change", "Fixed", "Broken", "Cells changed")
    return tag(
        "div",
        tag(
            "table",
            tag("caption", f"Figures by {name.lower()}", class_="unseen"),
            tag(
                "thead",
                tag(
                    "tr",
                    tag("th", name, scope="col"),
                    [tag("th", head, scope="col", class_="num") for head in heads],
                    tag("th", last, scope="col") if last else None,
                ),
            ),
            tag("tbody", list(rows)),
            class_="shares",
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=f"Table by {name.lower()}",
    )


def _row(name: Child, figures: PairFigures, last: Child) -> Markup:
    accuracy, flips = figures.accuracy, figures.flips
    change = accuracy.difference if accuracy is not None else None
    kind = "num" if not change else "num lost" if change < 0 else "num gained"
    cells: list[Child] = [
        tag("td", f"{figures.images:,}", class_="num"),
        tag("td", table_percent(accuracy.old if accuracy is not None else None), class_="num"),
        tag("td", table_percent(accuracy.new if accuracy is not None else None), class_="num"),
        tag("td", "–" if change is None else f"{100 * change:+.1f}", class_=kind),
        tag("td", "–" if flips.fixed is None else f"{flips.fixed:,}", class_="num"),
        tag("td", "–" if flips.broken is None else f"{flips.broken:,}", class_="num"),
        tag("td", table_percent(figures.grids.winners_changed), class_="num"),
    ]
    return tag("tr", tag("th", name, scope="row"), cells, tag("td", last, class_="soft") if last is not None else None)
