"""The reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.metrics.calibration import ReliabilityBin
from onnx_gapmil.show.html.charts import finding
from onnx_gapmil.show.html.formatting import percent
from onnx_gapmil.show.html.markup import Markup, join, tag

_SIDE, _LEFT, _TOP, _HISTOGRAM = 240, 34, 24, 44
_WIDTH, _HEIGHT = _LEFT + _SIDE + 12, _TOP + _SIDE + _HISTOGRAM + 52


@dataclass(frozen=True)
class _Point:
    """A bin that holds images."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


def _points(bins: Sequence[ReliabilityBin]) -> list[_Point]:
    return [
        _Point(each.low, each.high, each.images, each.confidence, each.accuracy)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    ]


def calibration(summary: AuditSummary) -> Markup:
    """Accuracy against confidence by bins, with how many images each holds."""
    known = _points(summary.calibration.bins)
    total = sum(item.images for item in known)
    return finding(
        "calibration",
        "Can its confidence be believed?",
        _reading(known, total, summary.calibration.ece),
        join(
            _diagram(known),
            tag(
                "table",
                tag("caption", "Accuracy by confidence"),
                tag("tr", [tag("th", name, scope="col") for name in ("confidence", "accuracy", "images")]),
                [
                    tag(
                        "tr",
                        tag("td", percent(item.confidence)),
                        tag("td", percent(item.accuracy)),
                        tag("td", f"{item.images:,}"),
                    )
                    for item in known
                ],
                class_="unseen",
            ),
        ),
        "Images are binned by the probability of the model's best class. A dot's height is the share of its bin that "
        "is right; on the diagonal, a confidence of 80 % is right 80 % of the time. Below it the model is right less "
        "often than it says. The bars count images.",
        "The expected calibration error is the mean distance from the diagonal, weighted by images; few images keep it "
        "above 0 even for a model that is calibrated.",
    )


def _reading(bins: Sequence[_Point], total: int, error: float) -> str:
    confidence = sum(item.images * item.confidence for item in bins) / total
    accuracy = sum(item.images * item.accuracy for item in bins) / total
    return (
        f"Its answers have a probability of {percent(confidence)} on average, and {percent(accuracy)} of them are "
        f"right; bin by bin the two are {percent(error)} apart."
    )


def _diagram(bins: Sequence[_Point]) -> Markup:
    most = max(item.images for item in bins)
    base = _TOP + _SIDE
    floor = base + 22 + _HISTOGRAM
    places = [(_x(item.confidence), _y(item.accuracy)) for item in bins]
    return tag(
        "svg",
        [_tick(step / 4) for step in range(5)],
        tag("line", x1=_x(0), y1=_y(0), x2=_x(1), y2=_y(1), class_="reference"),
        [
            tag("line", x1=x, x2=x, y1=y, y2=_y(item.confidence), class_="gap")
            for item, (x, y) in zip(bins, places, strict=True)
        ],
        tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_="curve"),
        [
            tag(
                "circle",
                tag(
                    "title",
                    f"{percent(item.accuracy)} of {item.images:,} right at {percent(item.confidence)}",
                ),
                cx=x,
                cy=y,
                r=3 + 4 * (item.images / most) ** 0.5,
                class_="point",
            )
            for item, (x, y) in zip(bins, places, strict=True)
        ],
        [
            tag(
                "rect",
                x=_x(item.low) + 1,
                width=max(1.0, _SIDE * (item.high - item.low) - 2),
                y=floor - _HISTOGRAM * item.images / most,
                height=_HISTOGRAM * item.images / most,
                class_="count",
            )
            for item in bins
        ],
        tag("line", x1=_x(0), x2=_x(1), y1=floor, y2=floor, class_="base"),
        tag("text", "right, %", x=4, y=9),
        tag("text", "confidence, %; the bars count images", x=_x(0.5), y=floor + 18, text_anchor="middle"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="reliability",
        role="img",
        aria_label="Reliability diagram: share of right answers against confidence; the numbers are in the next table",
    )


def _x(value: float) -> float:
    return _LEFT + _SIDE * value


def _y(value: float) -> float:
    return _TOP + _SIDE * (1 - value)


def _tick(value: float) -> Markup:
    return join(
        tag("line", x1=_x(0), x2=_x(1), y1=_y(value), y2=_y(value), class_="tick"),
        tag("line", x1=_x(value), x2=_x(value), y1=_y(0), y2=_y(1), class_="tick"),
        tag("text", f"{100 * value:.0f}", x=_LEFT - 6, y=_y(value) + 4, text_anchor="end"),
        tag(
            "text",
            f"{100 * value:.0f}",
            x=_x(value),
            y=_y(0) + 15,
            text_anchor="middle",
        ),
    )
