"""A figure of a summary or a comparison by its path, with its interval and the number of its images."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]
#: Keys of a result that hold no figures.
_NOT_FIGURES = frozenset({"schema_version", "slices", "slice_columns", "intervals", "counts", "models", "data"}) | {
    "preprocess",
    "head",
    "provider",
}
#: Parts of a result whose figures are of all of its images.
_OF_ALL = frozenset({"images", "failed", "top1", "top5", "macro", "aggregators", "calibration", "multi_label"}) | {
    "agreement",
    "flips",
    "accuracy",
    "accuracy_top5",
    "drift",
}


@dataclass(frozen=True)
class Figure:
    """A figure that was found.

    Attributes:
        value: of it.
        interval: its 95 % interval; None where there is none.
        images: that it is of; None where that is not said.
    """

    value: float
    interval: Interval | None = None
    images: int | None = None


def find_figure(content: Mapping[str, Any], metric: str, where: str) -> Figure | str:
    """A figure by its path, or why there is none.

    Args:
        content: of ``summary.json``, ``compare.json`` or one of their slices.
        metric: keys joined by dots.
        where: the file's name, for the reason.
    """
    found = _walk(content, metric.split("."))
    if found is None:
        return _absent(content, metric, where)
    parents, value = found
    if value is None:
        return f"{metric} was not measured: it is null in {where}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{metric} is no number in {where}"
    return Figure(float(value), _interval(content, parents, metric), _images(content, parents, metric))


def _walk(content: Mapping[str, Any], keys: list[str]) -> tuple[list[Mapping[str, Any]], object] | None:
    """What lies at a path, behind the parts that it lies in; a key may hold dots itself, as ``iou_0.5`` does."""
    for end in range(1, len(keys) + 1):
        key = ".".join(keys[:end])
        if key not in content:
            continue
        value, rest = content[key], keys[end:]
        if not rest:
            return [content], value
        if isinstance(value, Mapping) and (found := _walk(value, rest)) is not None:
            return [content, *found[0]], found[1]
    return None


def slice_content(content: Mapping[str, Any], column: str, value: str, where: str) -> Mapping[str, Any] | str:
    """The figures of a slice, or why there are none."""
    values = _values(content, column)
    if values is None:
        return _no_column(content, column, where)
    found = values.get(value)
    if isinstance(found, Mapping):
        return found
    lost = _unjudged(content, column).get(value)
    if lost is not None:
        said = f"none of its {lost:,} images" if isinstance(lost, int) and lost > 1 else "no image of it"
        return f"{said} was judged in {where}: failed, or without a label"
    listed = ", ".join(map(str, list(values)[:5])) + (", ..." if len(values) > 5 else "")
    return f"there is no slice {column}={value} in {where}; {column} has {listed}"


def same_slices(one: Mapping[str, Any], other: Mapping[str, Any], column: str) -> bool:
    """Whether the slices of a column are of the same images in two results, as far as both say so."""
    found = []
    for content in (one, other):
        columns = content.get("slice_columns")
        known = columns.get(column) if isinstance(columns, Mapping) else None
        found.append(known.get("members_sha256") if isinstance(known, Mapping) else None)
    return isinstance(found[0], str) and found[0] == found[1]


def column_and_value(content: Mapping[str, Any], text: str) -> tuple[str, str]:
    """``column=value`` taken apart, at the mark after which a column's name ends that makes slices."""
    slices = content.get("slices")
    known = slices if isinstance(slices, Mapping) else {}
    parts = text.split("=")
    for place in range(1, len(parts)):
        column = "=".join(parts[:place]).strip()
        if column in known:
            return column, "=".join(parts[place:]).strip()
    return parts[0].strip(), "=".join(parts[1:]).strip()


def slice_values(content: Mapping[str, Any], column: str, where: str) -> tuple[str, ...] | str:
    """The values of a column that make slices, those of which no image was judged too; or why there are none."""
    values = _values(content, column)
    if values is None:
        return _no_column(content, column, where)
    return (*values, *(value for value in _unjudged(content, column) if value not in values))


def _unjudged(content: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """Values of a column whose images all failed or have no label."""
    columns = content.get("slice_columns")
    known = columns.get(column) if isinstance(columns, Mapping) else None
    found = known.get("unjudged") if isinstance(known, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _values(content: Mapping[str, Any], column: str) -> Mapping[str, Any] | None:
    slices = content.get("slices")
    values = slices.get(column) if isinstance(slices, Mapping) else None
    return values if isinstance(values, Mapping) and values else None


def _no_column(content: Mapping[str, Any], column: str, where: str) -> str:
    slices = content.get("slices")
    columns = content.get("slice_columns")
    known = columns.get(column) if isinstance(columns, Mapping) else None
    if isinstance(known, Mapping) and isinstance(known.get("left_out"), str):
        return f"there are no slices by {column} in {where}: {known['left_out'].rstrip('.')}"
    if not isinstance(slices, Mapping) or not slices:
        return f"{where} has no slices, so there is none by {column}"
    return f"there are no slices by {column} in {where}; there are {', '.join(map(str, list(slices)[:8]))}"


def _absent(content: Mapping[str, Any], metric: str, where: str) -> str:
    near = difflib.get_close_matches(metric, list(_paths(content, "")), n=1, cutoff=0.7)
    advice = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no figure {metric!r} in {where}{advice}"


def _paths(content: Mapping[str, Any], before: str) -> Iterator[str]:
    for key, value in content.items():
        if not before and key in _NOT_FIGURES:
            continue
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}{key}"


def _interval(content: Mapping[str, Any], parents: list[Mapping[str, Any]], metric: str) -> Interval | None:
    known = content.get("intervals")
    bounds = known.get(metric) if isinstance(known, Mapping) else None
    if bounds is None and metric.startswith("aggregators.") and metric.endswith(".top1"):
        bounds = parents[-1].get("interval")
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None
    low, high = bounds
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        return None
    return float(low), float(high)


def _images(content: Mapping[str, Any], parents: list[Mapping[str, Any]], metric: str) -> int | None:
    """What the result says the figure is of; else what the part of it says that the figure stands in.

    The number of all images is that of figures which are of all of them alone: boxes on 3 of 48 images are no 48.
    """
    counts = content.get("counts")
    own = counts.get(metric) if isinstance(counts, Mapping) else None
    if isinstance(own, int) and not isinstance(own, bool):
        return own
    of_all = metric.split(".")[0] in _OF_ALL
    for parent in reversed(parents) if of_all else parents[1:][-1:]:
        for key in ("of", "images"):  # "images" beside an "of" are those counted among them
            found = parent.get(key)
            if isinstance(found, int) and not isinstance(found, bool):
                return found
    return None
