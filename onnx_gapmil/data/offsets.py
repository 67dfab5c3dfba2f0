"""Which number a model gives to the class that a data set calls 0: off by one where a background class is."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_gapmil.data.building import all_labels
from onnx_gapmil.data.names import is_background
from onnx_gapmil.data.types import DataSet


def candidate_offsets(data: DataSet, classes: int, names: Sequence[str] | None = None) -> tuple[int, ...]:
    """The offsets that labels which are numbers may need: class = label + offset.

    Considered are 0 (both count alike), +1 (the model has a background class before them, or the labels count
    without one) and -1 (labels count from 1). What labels and names rule out is left out:

    - a label would fall below class 0 or above class K-1, or on a class named `background`;
    - +1 with names of which none is a background class; -1 with one.

    Args:
        data: the data set.
        classes: the number K of the model's classes.
        names: the model's class names, or None.

    Returns:
        The likeliest first; empty if no label is a number, or nothing fits. Where more than one is left, only
        the model's accuracy tells which is right.
    """
    numbers = [label for label in all_labels(data.samples) if isinstance(label, int)]
    if not numbers:
        return ()
    background = names is not None and len(names) == classes > 0 and is_background(names[0])
    last_is_background = names is not None and len(names) == classes > 1 and is_background(names[-1])
    lowest = 1 if background else 0
    highest = classes - 2 if last_is_background else classes - 1
    order: tuple[int, ...]
    if background:
        order = (1, 0)
    elif names is not None:
        order = (0, -1)
    else:
        order = (1, 0, -1) if classes == 1001 and max(numbers) <= 999 else (0, -1, 1)
    return tuple(offset for offset in order if lowest <= min(numbers) + offset and max(numbers) + offset <= highest)
