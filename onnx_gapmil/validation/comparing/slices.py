"""Which slices of the data an image belongs to: columns of the label file, the object's size, the photo's shape."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from onnx_gapmil.files.wording import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.validation.comparing.records import PairRecord
    from onnx_gapmil.validation.comparing.sides import Shot

#: Values of a column above which it is a name or a number of each image, and no slice.
MOST_VALUES = 100
#: The object's share of the photo below which it is small, and from which it is large.
_SMALL, _LARGE = 0.1, 0.4
#: Width by height below which a photo is upright, and above which it is wide.
_UPRIGHT, _WIDE = 0.9, 1.1


def slices_of(shot: Shot, size: tuple[int, int]) -> tuple[tuple[str, str], ...]:
    """(column, value) of each slice.

    ``object_size`` is ``small`` below a tenth of the photo, ``large`` from two fifths, ``medium`` between; of several
    boxes the largest counts. ``aspect`` is ``upright``, ``square`` (within a tenth) or ``wide``.

    Args:
        shot: the image.
        size: (width, height) of the upright photo.
    """
    width, height = size
    ratio = width / height
    found = dict(shot.columns)
    sample = shot.old
    areas = (
        [(x1 - x0) * (y1 - y0) / (width * height) for x0, y0, x1, y1 in (box.box for box in sample.boxes)]
        if (sample is not None)
        else []
    )
    if areas:
        largest = max(areas)
        found["object_size"] = "small" if largest < _SMALL else "medium" if largest < _LARGE else "large"
    found["aspect"] = "upright" if ratio < _UPRIGHT else "wide" if ratio > _WIDE else "square"
    return tuple(found.items())


def groups(records: Sequence[PairRecord]) -> tuple[dict[str, dict[str, list[PairRecord]]], tuple[str, ...]]:
    """The images of each slice, by column and value; and a sentence for each column that makes none.

    A column with one value says nothing that the whole does not; one with more than 100 values, or a value of its own
    for most images, is no slice either.
    """
    found: dict[str, dict[str, list[PairRecord]]] = {}
    for record in records:
        for column, value in record.slices:
            found.setdefault(column, {}).setdefault(value, []).append(record)
    kept: dict[str, dict[str, list[PairRecord]]] = {}
    notes = []
    for column, values in found.items():
        covered = Counter({value: len(members) for value, members in values.items()})
        if len(values) == 1 and covered.total() == len(records):
            continue
        if len(values) > MOST_VALUES or (len(values) > 2 and 2 * len(values) > covered.total()):
            told = f"{count(len(values), 'value')} for {count(covered.total(), 'image')}"
            notes.append(f"Column '{column}' has {told}: no slices.")
            continue
        kept[column] = {value: values[value] for value in sorted(values)}
    return kept, tuple(notes)
