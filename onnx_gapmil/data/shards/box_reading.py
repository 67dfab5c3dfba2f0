"""Whether four numbers of a box are corners, or a corner and a size: the `datasets` library does not say."""

from __future__ import annotations

from onnx_gapmil.data.building import Placed
from onnx_gapmil.data.checks import box_problem
from onnx_gapmil.data.sizes import upright_size
from onnx_gapmil.data.types import Corners, RawBox, RawSample
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.wording import count

_LOOKED_AT = 200
"""Images with boxes whose headers are read, at most."""


def settle_boxes(placed: Placed) -> tuple[Placed, str]:
    """The samples with boxes as corners, and what is to be said of how they were read.

    Boxes are tried on their images both ways; the reading by which more of them fit is taken, and COCO's,
    ``[x, y, width, height]``, where as many fit.
    """
    looked, as_sizes, as_corners = 0, 0, 0
    for sample, _ in placed:
        size = upright_size(sample.image) if sample.boxes and looked < _LOOKED_AT else None
        if size is None:
            continue
        looked += 1
        as_corners += sum(not box_problem(box.box, size) for box in sample.boxes)
        as_sizes += sum(not box_problem(_from_size(box.box), size) for box in sample.boxes)
    if not any(sample.boxes for sample, _ in placed):
        return placed, ""
    sized = as_sizes >= as_corners
    read = "[x, y, width, height]" if sized else "[x0, y0, x1, y1]"
    note = (
        f"Boxes of 'objects' are read as {read}: of those of the first {count(looked, 'image')} {as_sizes:,} fit their "
        f"images as a corner and a size, {as_corners:,} as two corners."
    )
    return (PackedList((_sized(sample), where) for sample, where in placed) if sized else placed), note


def _sized(sample: RawSample) -> RawSample:
    boxes = tuple(RawBox(_from_size(box.box), box.label) for box in sample.boxes)
    return RawSample(sample.image, sample.name, sample.labels, boxes, sample.mask, sample.columns, sample.relative)


def _from_size(box: Corners) -> Corners:
    x, y, width, height = box
    return x, y, x + width, y + height
