"""The one notion of a slice: which images of a data set belong together, for audits, comparisons and policies alike.

A slice is a column and one of its values. Columns are what the label file says of each image, and two that every data
set has: ``object_size`` and ``aspect``. Values are texts; what makes slices of them is decided from all images at once:

- a column of few values (`MOST_VALUES` at most, and on average two images or more each) has a slice for each value;
- a column of more values that are all numbers is cut at its quartiles: ``q1`` holds the lowest quarter, ``q4`` the
  highest (equal numbers are never parted, so quarters are unequal where numbers repeat, and there may be fewer). Which
  numbers each holds is said in `SlicedColumn.bins`;
- images without a value are a slice of their own, `MISSING`, where others have one;
- names and numbers of single images, texts of too many values and columns with one value make no slices, with the
  reason.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.files.memory import shared
from onnx_gapmil.files.packed import Listed
from onnx_gapmil.files.texts import Texts

#: Values of a column above which it is no slice as it stands.
MOST_VALUES = 100
#: Different numbers above which they are cut at their quartiles.
MOST_NUMBERS = 10
#: Columns that are sliced at the most, the first ones.
MOST_COLUMNS = 100
#: The slice of images that have no value in a column in which others have one.
MISSING = "(missing)"
OBJECT_SIZE, ASPECT = "object_size", "aspect"
SIZES, ASPECTS = ("small", "medium", "large"), ("upright", "square", "wide")
#: The object's share of the photo below which it is small, and from which it is large.
_SMALL, _LARGE = 0.1, 0.4
#: Width by height below which a photo is upright, and above which it is wide.
_UPRIGHT, _WIDE = 0.9, 1.1
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_ZEROS = re.compile(r"[+-]?0[0-9]")

Columns = Sequence[tuple[str, str]]
"""(column, value) each: what is known of one image."""

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class SlicedColumn:
    """What became of a column.

    Attributes:
        values: how many different values it has.
        missing: images that have none.
        bins: of a column of numbers that was cut at its quartiles, the least and greatest number of each part; None of
            others.
        left_out: why it makes no slices, in one sentence; None where it makes some.
        members_sha256: of which image is in which slice, by names: slices of the same name and another digest are of
            other images, be it that the label file changed or that an image failed; None where it makes none.
        unjudged: values that the label file has, and no image that was judged: how many images each has, all of which
            failed or have no label. Empty where the column makes no slices.
    """

    values: int
    missing: int
    bins: Mapping[str, tuple[float, float]] | None
    left_out: str | None
    members_sha256: str | None = None
    unjudged: Mapping[str, int] = field(default_factory=dict)

    def said(self, value: str) -> str:
        """A slice for people: of a part of numbers, which it holds."""
        if self.bins is None or value not in self.bins:
            return value
        low, high = self.bins[value]
        return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


class Places(Listed[int]):
    """Places of images, four bytes each; equal to any other sequence of the same.

    Args:
        places: ascending, as they are to be kept.
    """

    def __init__(self, places: npt.ArrayLike) -> None:
        #: (places,) uint32.
        self.numbers: npt.NDArray[np.uint32] = np.asarray(places, dtype=np.uint32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        return map(int, self.numbers)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.numbers, dtype=dtype, copy=bool(copy) or None)

    def _item(self, place: int) -> int:
        return int(self.numbers[place])


@dataclass(frozen=True)
class Slices:
    """The slices of a data set.

    Attributes:
        members: by column and value, the places of the images, ascending; the missing last.
        columns: every column, with what became of it.
    """

    members: Mapping[str, Mapping[str, Sequence[int]]]
    columns: Mapping[str, SlicedColumn]

    def by_image(self, images: int) -> Iterator[dict[str, str]]:
        """For each of so many images, one after the other, the slices that it belongs to: the value by column."""
        found = []
        for column, values in self.members.items():
            own = np.full(images, -1, dtype=np.int32)
            for number, places in enumerate(values.values()):
                own[np.asarray(places)] = number
            found.append((column, list(values), own))
        for place in range(images):
            yield {column: values[own[place]] for column, values, own in found if own[place] >= 0}

    def notes(self) -> tuple[str, ...]:
        """A sentence for each column whose slices a reader would miss, or that was cut."""
        said = []
        for name, column in self.columns.items():
            if column.left_out is not None and column.values > 1:
                said.append(f"Column '{name}': {column.left_out}")
            elif column.bins is not None:
                said.append(f"Column '{name}': its {column.values:,} numbers are cut at their quartiles.")
        return tuple(said)


def object_share(size: tuple[int, int], boxes: Iterable[Rectangle], mask_share: float | None = None) -> float | None:
    """The share of a photo that its object takes.

    Args:
        size: (width, height) of the upright photo in pixels.
        boxes: of the object, x0, y0, x1, y1 in pixels of the photo; the largest counts, cut at the photo's edges.
        mask_share: the share of the photo in the object's mask, which says it better than boxes; None without one.

    Returns:
        0..1; None where no place of the object is known.
    """
    if mask_share is not None:
        return mask_share
    width, height = size
    areas = [
        max(min(x1, width) - max(x0, 0.0), 0.0) * max(min(y1, height) - max(y0, 0.0), 0.0) for x0, y0, x1, y1 in boxes
    ]
    return max(areas) / (width * height) if areas else None


def columns_of(columns: Columns, size: tuple[int, int], share: float | None) -> tuple[tuple[str, str], ...]:
    """What the label file says of an image, its object's size and its own shape.

    ``object_size`` is ``small`` below a tenth of the photo, ``large`` from two fifths, ``medium`` between.
    ``aspect`` is ``upright``, ``square`` (width and height within a tenth) or ``wide``. A column of the label file that
    has such a name stands in its place.

    Args:
        columns: of the label file.
        size: (width, height) of the upright photo.
        share: of the photo that the object takes, from `object_share`; None where it is not known.
    """
    found = {ASPECT: _aspect(*size)}
    if share is not None:
        found = {OBJECT_SIZE: SIZES[(share >= _SMALL) + (share >= _LARGE)], **found}
    return shared(
        tuple({**dict(columns), **{name: text for name, text in found.items() if name not in dict(columns)}}.items())
    )


def _aspect(width: int, height: int) -> str:
    ratio = width / height
    return ASPECTS[(ratio >= _UPRIGHT) + (ratio > _WIDE)]


def slices_of(images: Iterable[Columns], names: Sequence[str] | Texts) -> Slices:
    """The slices of a data set, in time and memory that grow with its entries alone.

    Args:
        images: what is known of each image, from `columns_of`.
        names: of the images in the data set.
    """
    entries: dict[str, dict[str, array[int]]] = {}
    for place, columns in enumerate(images):
        for name, value in dict(columns).items():
            entries.setdefault(name, {}).setdefault(value, array("I")).append(place)
    texts = Texts.of(names)
    order = texts.order().to_numpy()
    members: dict[str, Mapping[str, Sequence[int]]] = {}
    found: dict[str, SlicedColumn] = {}
    for name in list(entries):
        parts, column = _column(entries.pop(name), len(texts))
        if column.left_out is None and len(members) == MOST_COLUMNS:
            why = f"{MOST_COLUMNS} columns before it make slices, and no more are made."
            parts, column = {}, SlicedColumn(column.values, column.missing, None, why)
        if parts:
            members[name] = parts
            column = replace(column, members_sha256=_digest(parts, texts, order))
        found[name] = column
    return Slices(members, found)


def _digest(parts: Mapping[str, Places], names: Texts, order: npt.NDArray[np.uint64]) -> str:
    """SHA-256 of names and slices, whatever the order of the images."""
    own = np.full(len(names), -1, dtype=np.int32)
    values = list(parts)
    for number, places in enumerate(parts.values()):
        own[places.numbers] = number
    kept = order[own[order] >= 0]
    digest = hashlib.sha256()
    for name, number in zip(names.at(kept), own[kept], strict=True):
        digest.update(json.dumps([name, values[number]]).encode())
    return digest.hexdigest()


def _column(values: Mapping[str, array[int]], images: int) -> tuple[dict[str, Places], SlicedColumn]:
    """The slices of one column, by value; none where it is left out."""
    present = {value: places for value, places in values.items() if value != MISSING}
    numbers = numbers_in(present)
    if numbers is not None:
        present = {value: places for value, places in present.items() if value in numbers}
    covered = sum(map(len, present.values()))
    missing = images - covered
    bins = None
    parts = present
    why = _reason(present, numbers, covered, missing)
    if why is None and numbers is not None and len(set(numbers.values())) > MOST_NUMBERS:
        parts, bins = _quartiles(present, numbers)
    column = SlicedColumn(len(present), missing, bins, why)
    if why is not None:
        return {}, column
    ordered = {value: Places(np.sort(parts[value])) for value in sorted(parts, key=_order(parts, numbers, bins))}
    if missing:
        known = np.zeros(images, dtype=np.bool_)
        for places in ordered.values():
            known[places.numbers] = True
        ordered[MISSING] = Places(np.flatnonzero(~known))
    return ordered, column


def _reason(
    present: Mapping[str, array[int]], numbers: Mapping[str, float] | None, covered: int, missing: int
) -> str | None:
    """Why a column makes no slices; None where it does."""
    count = len(present)
    if count == 0 or (count == 1 and not missing):
        return "all images have the same value." if count else "no image has a value."
    if numbers is not None and len(set(numbers.values())) > MOST_NUMBERS:
        if count == covered and all(map(_WHOLE.fullmatch, present)):
            return (
                f"each of its {count:,} images has a whole number of its own, as a name would be: no slices. (Numbers "
                "written with a decimal point are cut at their quartiles.)"
            )
        return None
    if set(present) <= {*SIZES, *ASPECTS}:  # kinds by their nature, however few images there are
        return None
    if count > MOST_VALUES or (count > 2 and 2 * count > covered):
        return f"{count:,} values for {covered:,} images: no slices."
    return None


def numbers_in(values: Iterable[str]) -> dict[str, float] | None:
    """The number that each text is, of a column of nothing else; ``nan``, as tables write a gap, is no value.

    ``007`` is a name and no number.
    """
    found: dict[str, float] = {}
    for text in values:
        if text.lower() == "nan":
            continue
        if not NUMBER.fullmatch(text) or _ZEROS.match(text):
            return None
        number = float(text)
        if not math.isfinite(number):
            return None
        found[text] = number
    return found or None


def _quartiles(
    present: Mapping[str, array[int]], numbers: Mapping[str, float]
) -> tuple[dict[str, array[int]], dict[str, tuple[float, float]]]:
    """Four parts as equal as equal numbers allow: a number belongs to the part that the first of its like falls in."""
    ascending = sorted(present, key=lambda text: numbers[text])
    total = sum(map(len, present.values()))
    parts: dict[str, array[int]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    before = 0
    last, name = math.nan, ""
    for text in ascending:
        number = numbers[text]
        if number != last:  # "1" and "1.0" are one number
            name = f"q{min(4 * before // total, 3) + 1}"
        parts.setdefault(name, array("I")).extend(present[text])
        ranges[name] = (ranges[name][0] if name in ranges else number, number)
        before += len(present[text])
        last = number
    return parts, ranges


def _order(
    parts: Mapping[str, array[int]], numbers: Mapping[str, float] | None, bins: Mapping[str, tuple[float, float]] | None
) -> Callable[[str], tuple[float, str]]:
    """By size where sizes are known, else by text."""
    for known in (SIZES, ASPECTS):
        if set(parts) <= set(known):
            return lambda value: (known.index(value), value)
    if numbers is not None and bins is None:
        return lambda value: (numbers[value], value)
    return lambda value: (0.0, value)
