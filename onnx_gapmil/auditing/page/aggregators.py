"""Accuracy by aggregator, and which gains may be chance."""

from __future__ import annotations

from collections.abc import Mapping

from onnx_gapmil.auditing.summary import AggregatorFigures, AuditSummary
from onnx_gapmil.show.html.charts import Axis, Row, dot, finding, marker, plot, whisker
from onnx_gapmil.show.html.formatting import aggregator_name, interval, table_percent
from onnx_gapmil.show.html.markup import Markup, join, tag

#: The vendor's aggregator, which is the model's own where it was not repooled.
OWN = "mean"


def whose(summary: AuditSummary) -> str:
    """Whose aggregator the mean is."""
    return "the model's own" if summary.head.pool == OWN else "the vendor's"


def may_be_chance(value: AggregatorFigures, own: AggregatorFigures) -> bool:
    """Whether a top-1 lies in the interval of the mean's, so that other images could reverse them."""
    low, high = own.interval
    return low <= value.top1 <= high


def aggregators(summary: AuditSummary) -> Markup:
    """Top-1 of each, the best first."""
    found, own = summary.aggregators, summary.aggregators[OWN].top1
    order = sorted(found, key=lambda key: (-found[key].top1, key != OWN))
    bounds = [edge for value in found.values() for edge in value.interval]
    axis = Axis.of([value.top1 for value in found.values()] + bounds, zero=False)
    rows = []
    for key in order:
        value = found[key]
        marks = [
            marker(axis, own, "reference"),
            whisker(axis, value.interval[0], value.interval[1]),
            dot(axis, value.top1, "point"),
        ]
        label = join(aggregator_name(key), tag("span", whose(summary), class_="mark") if key == OWN else None)
        numbers = [table_percent(value.top1), interval(value.interval), table_percent(value.top5)]
        rows.append(Row(label, marks, numbers, "own" if key == OWN else ""))
    return finding(
        "aggregators",
        "Accuracy by aggregator",
        _reading(found, order[0], whose(summary)),
        plot(rows, axis, columns=("Cells pooled by", "top-1", "95 %", "top-5"), what="Top-1 accuracy by aggregator"),
        f"{pooled_by_each(summary)} and takes the class with the highest score. "
        "Nothing is trained anew. The dot is top-1 accuracy, the line its 95 % bootstrap interval over images, the "
        f"dashed line {whose(summary)} mean.",
        "mean: the average over cells, which is what the vendor's network computes. maximum: the class's best cell. "
        "log-sum-exp: log mean exp, between the two. mean of the top cells: over the best fifth of each class. "
        "softmax-weighted: cells weighted by their own strength. noisy-or: 1 − ∏(1 − p) over the cells' "
        "probabilities. generalized mean: (mean p³)^⅓. mean of cell probabilities: each cell votes after its softmax.",
    )


def pooled_by_each(summary: AuditSummary) -> str:
    """What each row pools: of a stitched grid the mean is that of the model's own cells."""
    if summary.stitch > 1:
        return "The mean is of the network's own cells. Each other row pools the stitched ones in another way"
    return "Each row pools the same cells of the same network in another way"


def _reading(found: Mapping[str, AggregatorFigures], best: str, whose: str) -> str:
    own = found[OWN]
    if found[best].top1 <= own.top1:
        return f"{whose.capitalize()} mean is the best of these: no other fixed rule gets more images right."
    gain = 100 * (found[best].top1 - own.top1)
    chance = ", which may be chance" if may_be_chance(found[best], own) else ""
    return f"{aggregator_name(best).capitalize()} gains {gain:.1f} points over {whose} mean{chance}."
