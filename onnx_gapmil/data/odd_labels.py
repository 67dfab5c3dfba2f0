"""Labels that stand out from those of most images: what a refusal of all of them has to name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from onnx_gapmil.data.types import Label, RawSample
from onnx_gapmil.files.wording import are, count

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NAMED = 3


def below_zero(samples: Iterable[RawSample], labels: Collection[Label]) -> str:
    """A sentence on labels below 0 of a data set whose labels are numbers; "" where there are none.

    Texts they are to a reader that takes numbers from 0 on: those would be neither numbers nor names.
    """
    if not labels or not all(isinstance(label, str) and _WHOLE.fullmatch(label) for label in labels):
        return ""
    few = [label for label in labels if int(label) < 0]
    if not few:
        return ""
    named = _with_images(samples, few)
    return (
        f"Labels are numbers, and a class has to be 0 or more: {named}. Where -1 says that the class is not known, "
        "leave these images out of the label file."
    )


def odd_labels(samples: Iterable[RawSample], labels: Collection[Label], classes: int, offset: int = 0) -> str:
    """A sentence on them, each with how many images have it and the first of these, behind a space; "" without any.

    Odd are names among numbers, or numbers among names, whichever are fewer; of numbers alone those that are no class.

    Args:
        samples: of the data set.
        labels: all that they have.
        classes: of the model.
        offset: class = label + offset.
    """
    numbers = {label for label in labels if isinstance(label, int) or _WHOLE.fullmatch(label)}
    names = set(labels) - numbers
    if numbers and names:
        few, said = (names, "name") if len(names) < len(numbers) else (numbers, "number")
        one, many = f"a {said}, and others are not", f"{said}s, and others are not"
    else:
        few = {label for label in numbers if not 0 <= int(label) + offset < classes}
        one = many = f"beyond the model's {classes:,} classes"
    if not few or len(few) == len(labels):
        return ""
    return f" {are(len(few), 'label')} {one if len(few) == 1 else many}: {_with_images(samples, few)}."


def _with_images(samples: Iterable[RawSample], labels: Collection[Label]) -> str:
    """The first labels, each with how many images have it and the first of these."""
    few = set(labels)
    times: Counter[Label] = Counter()
    first: dict[Label, str] = {}
    for sample in samples:
        for label in {*sample.labels, *(own for box in sample.boxes for own in box.label)} & few:
            times[label] += 1
            first.setdefault(label, sample.name)
    shown = sorted(few, key=str)[:_NAMED]
    listed = [f"{label!r} ({count(times[label], 'image')}, the first {first[label]})" for label in shown]
    more = ", ..." if len(few) > _NAMED else ""
    return f"{', '.join(listed)}{more}"
