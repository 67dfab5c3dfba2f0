"""The same images at several input sizes, or with a stitched grid, side by side."""

from __future__ import annotations

from onnx_gapmil.auditing.by_size import Difference, SizeFigures, row_name, what_changes
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.files.wording import points, points_range
from onnx_gapmil.show.html.formatting import table_percent
from onnx_gapmil.show.html.markup import Child, Markup, join, tag

_HEADS = (
    "Cells",
    "Top-1",
    "less the first, 95 %",
    "Errors: label wins a cell",
    "control",
    "Pointing game",
    "less the first, 95 %",
    "MaxBoxAccV2",
    "less the first, 95 %",
    "ECE",
    "Temperature",
)


def sizes_section(summary: AuditSummary) -> Markup | None:
    """A table of all sizes, and what changes; None of an audit of one."""
    if not summary.sizes:
        return None
    notes = [f"{row_name(row)}: {row.note}." for row in summary.sizes if row.note]
    stitched = any(row.stitch > 1 for row in summary.sizes)
    return tag(
        "section",
        tag("h2", "Sizes"),
        tag(
            "p",
            f"The same {summary.sizes[0].images:,} images, each resized by the same rule to the size of the row. "
            "Differences are paired. At a size that the network was not trained for nobody has said what it should "
            "answer; objects are larger there, and each cell sees a smaller piece of them.",
            " The answers of a stitched grid are those of the unshifted image, and not the mean of its cells."
            if stitched
            else "",
            class_="soft",
        ),
        tag("div", _table(summary), class_="scroll", tabindex=0, role="region", aria_label="Table of sizes"),
        tag("ul", [tag("li", line) for line in [*what_changes(summary.sizes), *notes]]),
        tag(
            "details",
            tag("summary", "What the columns are"),
            tag(
                "p",
                "Errors and their control are as under Findings. Of more cells one is sooner right by chance, which is "
                "why the control stands beside; and a smaller cell touches a box less easily, so that the pointing "
                "game of a finer grid is the harder one. Temperature: what the logits would have to be divided by for "
                "the likelihood of the labels to be highest, found on these very images and applied nowhere; above 1 "
                "the model is surer than it is right (arXiv 1706.04599). Boxes are cut at the threshold that is best "
                "at each size, each half of the objects at the other half's.",
            ),
        ),
        id="sizes",
        aria_label="Sizes",
    )


def _table(summary: AuditSummary) -> Markup:
    return tag(
        "table",
        tag("caption", "Figures by size", class_="unseen"),
        tag(
            "thead",
            tag("tr", tag("th", "Size", scope="col"), [tag("th", head, scope="col", class_="num") for head in _HEADS]),
        ),
        tag("tbody", [_row(row) for row in summary.sizes]),
        class_="shares",
    )


def _row(row: SizeFigures) -> Markup:
    cells: list[Child] = [
        f"{row.grid[0]}×{row.grid[1]}",
        table_percent(row.top1),
        _difference(row.top1_difference),
        table_percent(row.recovery),
        table_percent(row.control),
        table_percent(row.pointing_game),
        _difference(row.pointing_difference),
        table_percent(row.maxboxacc_v2),
        _difference(row.maxboxacc_difference),
        table_percent(row.ece),
        f"{row.temperature.value:.2f}" if row.temperature is not None else "–",
    ]
    name = join(row_name(row), tag("small", f" in {row.folder}/") if row.folder else None)
    return tag("tr", tag("th", name, scope="row"), [tag("td", cell, class_="num") for cell in cells])


def _difference(found: Difference | None) -> str:
    return "–" if found is None else f"{points(found.value)} ({points_range(found.interval)})"
