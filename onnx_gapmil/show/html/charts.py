"""Plots as tables whose middle column is drawn: text stays text at every width, and a screen reader reads the numbers.

A track is an SVG without a view box whose coordinates are percentages of its width, so that it stretches with the page
while its lines and dots keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx_gapmil.show.html.formatting import percent
from onnx_gapmil.show.html.markup import Child, Markup, percent_of, tag

_STEPS = (0.02, 0.05, 0.1, 0.2, 0.25)


@dataclass(frozen=True)
class Axis:
    """A part of a share's 0..1, from left to right, and where it has lines."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], *, zero: bool) -> Axis:
        """An axis that holds all values; ``zero`` makes it begin at 0, as bars must."""
        low, high = (0.0 if zero else min(values, default=0.0)), max(values, default=1.0)
        step = next(step for step in _STEPS if (high - low) / step <= (4 if zero else 5) or step == _STEPS[-1])
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if first == last:  # all values are one, on a line
            first, last = (first, last + 1) if (last + 1) * step <= 1 + 1e-9 else (first - 1, last)
        ticks = tuple(round(index * step, 6) for index in range(first, last + 1) if index * step <= 1 + 1e-9)
        return cls(ticks[0], max(ticks[-1], min(1.0, high)), ticks)

    def at(self, value: float) -> str:
        """Where a value lies, as a percentage of the width."""
        return percent_of((value - self.low) / ((self.high - self.low) or 1.0))

    def lines(self) -> list[Markup]:
        """A line for each tick."""
        return [tag("line", x1=self.at(tick), x2=self.at(tick), y1=0, y2="100%", class_="tick") for tick in self.ticks]

    def labels(self) -> Markup:
        """The ticks' values, to stand under the tracks."""
        last = len(self.ticks) - 1
        texts = [
            tag(
                "text",
                f"{100 * tick:.0f}" + ("\u00a0%" if index == last else ""),
                x=self.at(tick),
                y=12,
                text_anchor="start" if index == 0 else "end" if index == last else "middle",
            )
            for index, tick in enumerate(self.ticks)
        ]
        return tag("svg", texts, class_="axis", aria_hidden="true", focusable="false")


@dataclass(frozen=True)
class Row:
    """One line of a plot: its name, what is drawn, the columns right of it."""

    label: Child
    marks: Sequence[Markup]
    values: Sequence[Child]
    kind: str = ""


def plot(rows: Sequence[Row], axis: Axis, *, columns: Sequence[str], what: str, height: int = 26) -> Markup:
    """A plot.

    Args:
        rows: from top to bottom.
        axis: of all rows.
        columns: heads of the label's column and the values' columns; empty texts are allowed.
        what: the name that a screen reader says.
        height: of a row's track in pixels.
    """
    heads = [_head(columns[0], ""), tag("td", class_="track"), *(_head(name, "num") for name in columns[1:])]
    body = [
        tag(
            "tr",
            tag("th", row.label, scope="row"),
            tag(
                "td",
                tag("svg", axis.lines(), row.marks, height=height, aria_hidden="true", focusable="false"),
                class_="track",
            ),
            [tag("td", value, class_="num") for value in row.values],
            class_=row.kind or None,
        )
        for row in rows
    ]
    foot = tag("tr", tag("td"), tag("td", axis.labels(), class_="track"), [tag("td") for _ in columns[1:]])
    return tag(
        "table",
        tag("caption", what, class_="unseen"),
        tag("thead", tag("tr", heads)) if any(columns) else None,
        tag("tbody", body),
        tag("tfoot", foot, aria_hidden="true"),
        class_="plot",
    )


def _head(name: str, kind: str) -> Markup:
    """A column's head; one without a name is none, as a screen reader would announce it."""
    return tag("th" if name else "td", name, scope="col" if name else None, class_=kind or None)


def bar(axis: Axis, value: float, kind: str, *, y: float, height: float) -> Markup:
    """A bar from the axis' left end to a value."""
    width = percent_of((value - axis.low) / ((axis.high - axis.low) or 1.0))
    return tag("rect", x=0, y=y, width=width, height=height, class_=kind)


def marker(axis: Axis, value: float, kind: str) -> Markup:
    """An upright stroke through the whole track: a baseline."""
    return tag("line", x1=axis.at(value), x2=axis.at(value), y1=0, y2="100%", class_=kind)


def dot(axis: Axis, value: float, kind: str) -> Markup:
    """A dot in the middle of the track."""
    return tag("circle", cx=axis.at(value), cy="50%", r=5, class_=kind)


def whisker(axis: Axis, low: float, high: float) -> Markup:
    """An interval in the middle of the track."""
    return tag("line", x1=axis.at(low), x2=axis.at(high), y1="50%", y2="50%", class_="whisker")


def stacked_bar(parts: list[tuple[str, str, int]], label: str, notes: dict[str, str] | None = None) -> Markup:
    """One bar of several counts, (colour class, name, count), with a legend that says them."""
    total = sum(part[2] for part in parts) or 1
    segments, left = [], 0
    for kind, _name, value in parts:
        segments.append(
            tag("rect", x=percent_of(left / total), y=0, width=percent_of(value / total), height="100%", class_=kind)
        )
        left += value
    dividers, left = [], 0
    for _kind, _name, value in parts[:-1]:
        left += value
        dividers.append(
            tag("line", x1=percent_of(left / total), x2=percent_of(left / total), y1=0, y2="100%", class_="divider")
        )
    legend = [
        tag(
            "li",
            tag("span", class_=f"swatch {kind}"),
            tag("b", f"{value:,}"),
            " ",
            tag("span", name),
            tag("span", f" {percent(value / total)}", class_="soft"),
            tag("p", notes[kind], class_="soft") if notes else None,
        )
        for kind, name, value in parts
    ]
    return tag(
        "figure",
        tag("svg", segments, dividers, class_="stack", aria_hidden="true", focusable="false"),
        tag("ul", legend, class_="legend", aria_label=label),
        class_="stacked",
    )


def finding(name: str, title: str, reading: Child, picture: Child, *definition: Child) -> Markup:
    """A plot with its one-sentence reading above and its definition folded below."""
    return tag(
        "article",
        tag("h3", title),
        tag("p", reading, class_="reading"),
        picture,
        tag("details", tag("summary", "How this is measured"), [tag("p", part) for part in definition]),
        class_="finding",
        id=name,
    )
