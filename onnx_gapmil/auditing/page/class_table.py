"""The table of classes, whose rows the page's script makes."""

from __future__ import annotations

from onnx_gapmil.show.html.markup import Markup, tag

NO_SCRIPT = "This part needs JavaScript, which this browser does not run here."
"""What stands where the script would have worked."""

_COLUMNS = (
    ("name", "Class", "text"),
    ("images", "Images", "number"),
    ("top1", "Top-1", "number"),
    ("top5", "Top-5", "number"),
    ("any_top1", "Wins a cell", "number"),
    ("cell_share", "Cells on object", "number"),
    ("confused", "Most confused with", "text"),
)


def classes_section() -> Markup:
    """The table of classes, without its rows."""
    heads = [
        tag(
            "th",
            tag("button", title, tag("span", class_="arrow", aria_hidden="true"), type="button"),
            scope="col",
            data_key=key,
            data_kind=kind,
            class_="num" if kind == "number" else None,
            aria_sort="none",
        )
        for key, title, kind in _COLUMNS
    ]
    return tag(
        "section",
        tag("h2", "Classes"),
        tag(
            "div",
            tag("label", "Find a class ", tag("input", type="search", id="class-filter", autocomplete="off")),
            tag("p", "", id="class-count", class_="soft", role="status"),
            class_="bar controls",
        ),
        tag("noscript", tag("p", NO_SCRIPT)),
        tag(
            "div",
            tag(
                "table",
                tag("caption", "Accuracy and recovery by class", class_="unseen"),
                tag("thead", tag("tr", heads)),
                tag("tbody", id="class-rows"),
                id="class-table",
            ),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Table of classes",
        ),
        tag("button", "Show more", type="button", id="class-more", class_="quiet controls", hidden=True),
        tag(
            "details",
            tag("summary", "What the columns say"),
            tag(
                "p",
                "Top-1 and top-5: share of the class's images where it is the best, or among the five best, at image "
                "level. Wins a cell: share of its images where it is the best class of a cell on the object. Cells on "
                "object: share of the object's cells that it wins, on average. Most confused with: what the model "
                "answered instead, with how often. A class's name shows its images below.",
            ),
        ),
        id="classes",
        aria_label="Classes",
    )
