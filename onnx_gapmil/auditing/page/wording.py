"""Words that several sections share."""

from __future__ import annotations

from onnx_gapmil.metrics.intervals import Interval
from onnx_gapmil.show.html.formatting import interval


def within(bounds: Interval) -> str:
    """``95 % interval 73 to 81``."""
    return f"95 % interval {interval(bounds)}"


def points(difference: float, bounds: Interval | None = None) -> str:
    """A difference of shares in points, with its interval."""
    text = f"{100 * difference:+.0f}".replace("-", "\u2212") + " points"
    return text if bounds is None else f"{text}, {within(bounds)}"
