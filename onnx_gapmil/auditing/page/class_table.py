"""The table of classes, whose rows the page's script makes."""

from __future__ import annotations

from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.show.html.markup import Markup, tag

NO_SCRIPT = "This part needs JavaScript, which this browser does not run here."
"""What stands where the script would have worked."""

_COLUMNS = (
    ("name", "Class", "text"),
    ("images", "Images", "number"),
    ("top1", "Top-1", "share"),
    ("top5", "Top-5", "share"),
    ("any_top1", "Wins a cell", "share"),
    ("cell_share", "Cells on object", "share"),
    ("confused", "Most confused with", "text"),
)
#: Of a head whose classes are present each by itself.
_LABEL_COLUMNS = (
    ("name", "Class", "text"),
    ("images", "Images", "number"),
    ("average_precision", "Average precision", "share"),
    ("prevalence", "by chance", "share"),
    ("precision", "Precision", "share"),
    ("recall", "Recall", "share"),
    ("f1", "F1", "share"),
    ("threshold", "Threshold", "share"),
    ("any_top1", "Wins a cell", "share"),
)
_SAID = (
    "Top-1 and top-5: share of the class's images where it is the best, or among the five best, at image level. Wins a "
    "cell: share of its images where it is the best class of a cell on the object. Cells on object: share of the "
    "object's cells that it wins, on average. Most confused with: what the model answered instead, with how often."
)
_LABELS_SAID = (
    "Average precision: of the ranking of all images by the class's score; by chance it is the class's share of the "
    "images. Precision: share of what is said to be the class that is. Recall: share of its images that are said to "
    "be. F1: their harmonic mean. All at the threshold, a probability. Wins a cell: share of its images where it is "
    "the best class of a cell on the object, above its threshold."
)
_FEW_SAID = " A share of few images says little: “at least” leaves such classes out. A class's name shows its images."


#: Choices of the fewest images that a class must have to be listed, the first that enough classes meet.
_LEAST = (10, 5, 2)
#: Rows that the table begins with.
_ROWS = 10


def _least_images(summary: AuditSummary) -> int:
    """A share of one or two images says little: leave such classes out if ten others are there."""
    images = [row.images for row in summary.classes]
    for least in _LEAST:
        if sum(value >= least for value in images) >= min(_ROWS, len(images)):
            return least
    return 1


def classes_section(summary: AuditSummary) -> Markup:
    """The table of classes, without its rows."""
    columns = _COLUMNS if summary.multi_label is None else _LABEL_COLUMNS
    heads = [
        tag(
            "th",
            tag("button", title, tag("span", class_="arrow", aria_hidden="true"), type="button"),
            scope="col",
            data_key=key,
            data_kind=kind,
            class_=None if kind == "text" else "num",
            aria_sort="none",
        )
        for key, title, kind in columns
    ]
    return tag(
        "section",
        tag("h2", "Classes"),
        tag(
            "div",
            tag("label", "Find a class ", tag("input", type="search", id="class-filter", autocomplete="off")),
            tag(
                "label",
                "At least ",
                tag("input", type="number", id="class-least", min=1, value=_least_images(summary), autocomplete="off"),
                " images",
            ),
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
                (_SAID if summary.multi_label is None else _LABELS_SAID) + _FEW_SAID,
            ),
        ),
        id="classes",
        aria_label="Classes",
    )
