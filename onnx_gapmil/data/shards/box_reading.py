"""What the four numbers of a box are: the `datasets` library does not say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from onnx_gapmil.data.building import Placed
from onnx_gapmil.data.checks import are_fractions, box_problem
from onnx_gapmil.data.sizes import upright_size
from onnx_gapmil.data.types import Corners, RawBox, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.wording import count

_LOOKED_AT = 200
"""Images with boxes that are looked at, at most."""

_WHOLE = 1000
"""Fractions are tried on an image of this many pixels each way: they overshoot by as little as pixels may."""


def _from_size(box: Corners) -> Corners:
    x, y, width, height = box
    return x, y, x + width, y + height


def _from_corners(box: Corners) -> Corners:
    return box


def _from_centre(box: Corners) -> Corners:
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


Reading: TypeAlias = Callable[[Corners], Corners]

_PIXELS: dict[str, Reading] = {
    "[x, y, width, height]": _from_size,
    "[x0, y0, x1, y1]": _from_corners,
}
"""What boxes in pixels are tried as, the likelier first, which is taken where both fit as many."""

_FRACTIONS = {**_PIXELS, "[centre x, centre y, width, height]": _from_centre}
"""What fractions are tried as: DETR and YOLO write the centre."""


def settle_boxes(placed: Placed, column: str, what: str) -> tuple[Placed, str]:
    """The samples with boxes as corners, and what is to be said of how they were read.

    Boxes are tried on their images; the reading by which most of them fit is taken. In pixels COCO's,
    ``[x, y, width, height]``, where as many fit as corners. Fractions of the image, which have no such custom, have to
    fit one reading best.

    Args:
        placed: samples whose boxes are the four numbers as they are written.
        column: that holds them, for the note.
        what: is read, for messages.

    Raises:
        DataError: the boxes are fractions, and fit two readings alike.
    """
    looked_at = list(itertools.islice((sample for sample, _ in placed if sample.boxes), _LOOKED_AT))
    if not looked_at:
        return placed, ""
    relative = are_fractions([box.box for sample in looked_at for box in sample.boxes])
    readings = _FRACTIONS if relative else _PIXELS
    fitting, looked = _fitting(looked_at, readings, relative=relative)
    best = max(fitting, key=lambda name: fitting[name])
    first_name, *others = fitting
    told = f"{fitting[first_name]:,} fit their images as {first_name}"
    told += "".join(f", {fitting[name]:,} as {name}" for name in others)
    of = f"of those of the first {count(looked, 'image')} {told}"
    others_fit = [name for name in fitting if name != best and fitting[name] == fitting[best]]
    if relative and any(_differ(looked_at, readings[best], readings[name]) for name in others_fit):
        raise DataError(
            f"{what}: the boxes of '{column}' are fractions of the image, and of what is not known: {of}. Write them "
            f"in pixels, or as 'boxes' of a label file."
        )
    note = f"Boxes of '{column}' are read as {best}{', fractions of the image' if relative else ''}: {of}."
    read = readings[best]
    if read is _from_corners and not relative:
        return placed, note
    return PackedList((_read(sample, read, relative), where) for sample, where in placed), note


def _differ(samples: Sequence[RawSample], one: Reading, other: Reading) -> bool:
    """Whether two readings lead to other boxes: of one at the upper left corner, a size is a corner."""
    return any(one(box.box) != other(box.box) for sample in samples for box in sample.boxes)


def _fitting(
    samples: Sequence[RawSample], readings: Mapping[str, Reading], *, relative: bool
) -> tuple[dict[str, int], int]:
    """How many boxes fit their images by each reading, and of how many images."""
    fitting, looked = dict.fromkeys(readings, 0), 0
    for sample in samples:
        size = (_WHOLE, _WHOLE) if relative else upright_size(sample.image)
        if size is None:
            continue
        looked += 1
        for name, read in readings.items():
            found = (read(box.box) for box in sample.boxes)
            tried = (_scaled(box) for box in found) if relative else found
            fitting[name] += sum(not box_problem(box, size) for box in tried)
    return fitting, looked


def _scaled(box: Corners) -> Corners:
    x0, y0, x1, y1 = box
    return x0 * _WHOLE, y0 * _WHOLE, x1 * _WHOLE, y1 * _WHOLE


def _read(sample: RawSample, read: Reading, relative: bool) -> RawSample:
    boxes = tuple(RawBox(read(box.box), box.label) for box in sample.boxes)
    # `replace` asks the class for its fields each time: of a million rows, seconds.
    return RawSample(sample.image, sample.name, sample.labels, boxes, sample.mask, sample.columns, relative)
