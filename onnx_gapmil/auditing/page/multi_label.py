"""What stands in place of top-1 where classes are present each by itself: sentences, bar, tiles, aggregators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx_gapmil.auditing.page.aggregators import pooled_by_each, whose
from onnx_gapmil.auditing.page.wording import within
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.metrics.multilabel import MultiLabelFigures
from onnx_gapmil.show.html.charts import Axis, Row, dot, finding, marker, plot, stacked_bar
from onnx_gapmil.show.html.formatting import aggregator_name, count, of_images, percent, table_percent
from onnx_gapmil.show.html.markup import Markup, join, tag

_PRECISION = "multi_label.mean_average_precision"
_OWN = "mean"


def multi_label_sentences(summary: AuditSummary, found: MultiLabelFigures) -> list[Markup]:
    """The headline: how well the labels are ranked and said, beside what chance gets."""
    micro = found.micro
    lines = [
        join(
            f"Several labels at once: {count(found.labels, 'label')} on {count(found.images, 'image')}, of "
            f"{count(found.classes, 'class', 'classes')}. Ranked by its score, a class's images have an average "
            "precision of ",
            tag("strong", percent(found.mean_average_precision)),
            f" in the mean over classes ({within(summary.intervals[_PRECISION])}); a ranking by chance gets "
            f"{percent(found.chance)}.",
        ),
        join(
            f"At {_levels(summary)}, ",
            tag("strong", f"{percent(micro.precision)} of what it says is right"),
            f", and it says {percent(micro.recall)} of the labels (F1 {percent(micro.f1)}); of "
            f"{percent(found.exact)} of the images it says exactly the labels.",
        ),
    ]
    silent = _silent(found)
    return [*lines, silent] if silent is not None else lines


def _silent(found: MultiLabelFigures) -> Markup | None:
    said = []
    if found.none_present or found.without_label:
        said.append(
            f"It says no class in {count(found.none_present, 'image')}; {found.without_label:,} have no label, of "
            f"which {found.none_right:,} are answered so."
        )
    if found.unlabelled:
        total = found.classes + found.unlabelled
        said.append(
            f"{found.unlabelled:,} of the model's {total:,} classes label no image and are not judged; "
            "one that is said is a class too many."
        )
    return join(" ".join(said)) if said else None


def _levels(summary: AuditSummary) -> str:
    levels = summary.head.thresholds
    return f"a probability of {levels:g}" if isinstance(levels, float | int) else "each class's own threshold"


def multi_label_bar(found: MultiLabelFigures) -> Markup:
    """Images by whether exactly their labels are said."""
    exact = of_images(found.exact, found.images)
    parts = [
        ("right", "Exactly the labels are said", exact),
        ("lost", "A label is missed, or a class too many is said", found.images - exact),
    ]
    return stacked_bar([part for part in parts if part[2]], "What became of the images")


def multi_label_tiles(found: MultiLabelFigures) -> list[tuple[str, float | None, str]]:
    """Numbers at a glance: name, value, what to hold it against."""
    macro = found.macro
    return [
        ("Mean average precision", found.mean_average_precision, f"chance: {percent(found.chance)}"),
        ("Precision", found.micro.precision, f"mean over classes: {percent(macro.precision)}"),
        ("Recall", found.micro.recall, f"mean over classes: {percent(macro.recall)}"),
        ("F1", found.micro.f1, f"mean over classes: {percent(macro.f1)}"),
        ("Exactly the labels", found.exact, "of the images"),
    ]


def multi_label_aggregators(summary: AuditSummary, chance: float) -> Markup | None:
    """Mean average precision with each class's cells pooled in another way, the best first."""
    known = {
        key: value.mean_average_precision
        for key, value in summary.aggregators.items()
        if value.mean_average_precision is not None
    }
    if not known:
        return None
    own = known[_OWN]
    order = sorted(known, key=lambda key: (-known[key], key != _OWN))
    axis = Axis.of([*known.values(), chance], zero=False)
    rows = []
    for key in order:
        label = join(aggregator_name(key), tag("span", whose(summary), class_="mark") if key == _OWN else None)
        marks = [marker(axis, chance, "baseline-mark"), marker(axis, own, "reference"), dot(axis, known[key], "point")]
        rows.append(Row(label, marks, [table_percent(known[key])], "own" if key == _OWN else ""))
    best, gain = order[0], 100 * (known[order[0]] - own)
    reading = (
        f"{whose(summary).capitalize()} mean is the best of these on these images."
        if gain <= 0
        else f"On these images {aggregator_name(best)} gains {gain:.1f} points over {whose(summary)} mean; whether "
        "that is more than chance was not measured."
    )
    return finding(
        "aggregators",
        "Mean average precision by aggregator",
        reading,
        join(
            tag("ul", tag("li", tag("span", class_="swatch tick"), "a ranking by chance"), class_="legend inline"),
            plot(rows, axis, columns=("Cells pooled by", "mAP"), what="Mean average precision by aggregator"),
        ),
        f"{pooled_by_each(summary)}, each class by itself with its sigmoid. "
        f"Nothing is trained anew. The dashed line is {whose(summary)} mean.",
    )


def with_label_figures(rows: Any, found: MultiLabelFigures | None) -> list[Mapping[str, Any]]:
    """The rows of the table of classes, with each class's precision, recall and the rest where these are known."""
    plain: list[Mapping[str, Any]] = to_json(rows)
    if found is None:
        return plain
    return [{**row, **to_json(found.by_class[str(row["index"])])} for row in plain]
