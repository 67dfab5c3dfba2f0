"""Suspect labels: images whose model is sure of something else, and whose label no cell knows."""

from __future__ import annotations

import json
from collections.abc import Container

from onnx_gapmil.auditing.summary import AuditSummary, SuspectLabel
from onnx_gapmil.show.html.formatting import count, percent, table_percent
from onnx_gapmil.show.html.markup import Child, Markup, bdi, join, tag

#: That are listed; the others are in the gallery and in ``images.parquet``.
_LISTED = 10


def suspects_section(summary: AuditSummary, shown: Container[str]) -> Markup | None:
    """The plainest of them; None where there are none.

    Args:
        summary: of the audit.
        shown: names of the images that the gallery has.
    """
    found = summary.suspect_labels
    if not found.images:
        return None
    first = found.listed[:_LISTED]
    heads = ("Image", "Label", "Answer", "its probability", "the label's")
    table = tag(
        "table",
        tag("caption", "Images whose label is suspect", class_="unseen"),
        tag(
            "thead", tag("tr", [tag("th", head, scope="col", class_=_kind(place)) for place, head in enumerate(heads)])
        ),
        tag("tbody", [_row(item, shown) for item in first]),
        class_="shares",
    )
    more = found.images - len(first)
    return tag(
        "section",
        tag("h2", "Suspect labels"),
        tag(
            "p",
            f"In {count(found.images, 'image')} ({percent(found.share)} of {found.of:,}) the model is sure of "
            "something else, and no cell has the label on top. That is a suspicion and no proof: a class that the "
            "model does not know looks alike.",
            class_="reading",
        ),
        tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Table of suspect labels"),
        tag("p", f"{more:,} more; all are marked in images.parquet.", class_="soft") if more > 0 else None,
        id="suspects",
        aria_label="Suspect labels",
    )


def _kind(place: int) -> str | None:
    return "num" if place > 2 else None


def _row(item: SuspectLabel, shown: Container[str]) -> Markup:
    name: Child = bdi(item.image)
    if item.image in shown:
        wanted = json.dumps({"image": item.image}, ensure_ascii=False)
        name = tag("button", name, type="button", class_="link", data_choose=wanted)
    labels = [join(", " if place else None, bdi(label)) for place, label in enumerate(item.label_names)]
    return tag(
        "tr",
        tag("th", name, scope="row"),
        tag("td", labels),
        tag("td", bdi(item.answer_name)),
        tag("td", table_percent(item.confidence), class_="num"),
        tag("td", table_percent(item.label_probability), class_="num"),
    )
