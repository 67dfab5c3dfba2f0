"""Whether the boxes of a sample lie in its image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from onnx_gapmil.data.types import Corners, Sample
from onnx_gapmil.errors import DataError

OVERSHOOT = 2.0
"""Pixels by which an edge may lie outside the image: rounding and off-by-one of annotation tools."""

_ROUNDING = 1e-3


def check_sample(sample: Sample, size: tuple[int, int]) -> Sample:
    """Check a sample's boxes against its image, once its size is known.

    Args:
        sample: the sample.
        size: height and width of the upright decoded image, in pixels.

    Returns:
        The sample, its boxes in pixels; edges that overshoot the image by up to `OVERSHOOT` pixels are moved to its
        border.

    Raises:
        DataError: a box is not finite, has no area or is inverted, or lies outside. The image has failed; the
            run has not.
    """
    if sample.relative:
        sample = _in_pixels(sample, size)
    for index, box in enumerate(sample.boxes):
        problem = box_problem(box.box, size)
        if problem:
            which = f"box {index + 1} of {len(sample.boxes)}" if len(sample.boxes) > 1 else "its box"
            raise DataError(f"{sample.name}: {which}: {problem}.")
    clipped = [_clipped(box.box, size) for box in sample.boxes]
    if all(edges == box.box for edges, box in zip(clipped, sample.boxes, strict=True)):
        return sample
    boxes = tuple(replace(box, box=edges) for box, edges in zip(sample.boxes, clipped, strict=True))
    return replace(sample, boxes=boxes)


def box_problem(box: Corners, size: tuple[int, int]) -> str:
    """What is wrong with a box in an image of this height and width; empty if nothing is."""
    x0, y0, x1, y1 = box
    height, width = size
    shown = f"({', '.join(f'{edge:g}' for edge in box)})"
    if not all(math.isfinite(edge) for edge in box):
        return f"{shown} is not finite"
    if x1 <= x0 or y1 <= y0:
        return f"{shown} is empty or inverted; [x0, y0, x1, y1] was expected, not a width and height"
    clipped = _clipped(box, size)
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return f"{shown} lies outside the image, which is {width} x {height} (width x height)"
    if max(-x0, -y0, x1 - width, y1 - height) > OVERSHOOT:
        return f"{shown} reaches out of the image, which is {width} x {height} (width x height)"
    return ""


def are_fractions(boxes: Sequence[Corners]) -> bool:
    """Whether boxes are fractions of their images: most of them lie within 0 to 1.

    Of pixels none does, for it would be smaller than one; of fractions a few may not, as annotators overshoot.
    """
    within = sum(all(-_ROUNDING <= edge <= 1 + _ROUNDING for edge in box) for box in boxes)
    return within * 2 > len(boxes)


def _in_pixels(sample: Sample, size: tuple[int, int]) -> Sample:
    height, width = size
    scale = (width, height, width, height)
    boxes = tuple(
        replace(box, box=_corners(edge * side for edge, side in zip(box.box, scale, strict=True)))
        for box in sample.boxes
    )
    return replace(sample, boxes=boxes, relative=False)


def _corners(edges: Iterable[float]) -> Corners:
    x0, y0, x1, y1 = edges
    return x0, y0, x1, y1


def _clipped(box: Corners, size: tuple[int, int]) -> Corners:
    x0, y0, x1, y1 = box
    height, width = float(size[0]), float(size[1])
    return max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
