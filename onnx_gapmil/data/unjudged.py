"""Slices that the label file has and no image that was judged: all of theirs failed, or have no label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from onnx_gapmil.data.slices import ASPECT, MISSING, NUMBER, OBJECT_SIZE, Columns, SlicedColumn, Slices, numbers_in
from onnx_gapmil.files.wording import count, were

#: Slices that are named where several were not judged.
_NAMED = 10

#: Why a slice that the label file has was not judged.
UNJUDGED = "not judged: all its images failed or have no label"


def unjudged_sentences(columns: Mapping[str, SlicedColumn]) -> list[str]:
    """For each column with slices that were not judged: which, and why; as the label file has them, not yet visible."""
    lines = []
    for name, column in columns.items():
        if lost := column.unjudged:
            first = ", ".join(f"{value} ({count(images, 'image')})" for value, images in list(lost.items())[:_NAMED])
            more = f" and {len(lost) - _NAMED:,} more" if len(lost) > _NAMED else ""
            lines.append(
                f"By {name}: {were(len(lost), 'slice')} not judged, since all their images failed or have no label: "
                f"{first}{more}."
            )
    return lines


def with_unjudged(found: Slices, images: Iterable[Columns]) -> Slices:
    """The slices of the images that were judged, with the values that only others have.

    Args:
        found: from `slices_of`.
        images: what the label file says of each image of the data set, judged or not.
    """
    readings = {name: _reading_of(name, parts, found.columns[name]) for name, parts in found.members.items()}
    lost: dict[str, Counter[str]] = {name: Counter() for name in readings}
    named: set[str] = set()
    for image in images:
        own = dict(image)
        named.update(own)
        for name, read in readings.items():
            value = read(own.get(name))
            if value is not None and value not in found.members[name]:
                lost[name][value] += 1
    columns = dict(found.columns)
    for name in readings:
        if name in named:
            column = columns[name]
            columns[name] = replace(column, unjudged={**column.unjudged, **dict(sorted(lost[name].items()))})
    return replace(found, columns=columns)


def _reading_of(name: str, parts: Iterable[str], column: SlicedColumn) -> Callable[[str | None], str | None]:
    """What gives the slice that a text of the label file would be in; None where it cannot be one of its own.

    A number of a column that is cut at its quartiles is no slice, and what has no shape or size in the label file has
    that of its photo.
    """
    numbers = column.bins is not None or numbers_in(value for value in parts if value != MISSING) is not None
    missing = None if name in (ASPECT, OBJECT_SIZE) else MISSING

    def read(text: str | None) -> str | None:
        if text is None or text == MISSING or (numbers and text.lower() == "nan"):
            return missing
        return None if column.bins is not None and NUMBER.fullmatch(text) else text

    return read
