"""Boxes cut from a map, and at which thresholds they meet an object: what `onnx_gapmil.metrics.localization` counts.

After github.com/clovaai/wsolevaluation, `evaluation.py` and `util.py`, bit for bit; the definitions stand there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.scoremap import SIDE

IOUS = (0.3, 0.5, 0.7)
IOU = 0.5
"""That of one box."""
THRESHOLDS: npt.NDArray[np.float64] = np.arange(0, 1, 0.01)
"""Shares of the map's range; of a centred box, the sides are these plus 0.01."""

_LEVELS = (THRESHOLDS * 255).astype(int).tolist()
_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)
Flags = npt.NDArray[np.bool_]
Boxes = npt.NDArray[np.int64]
Corners = Sequence[int]


@dataclass(frozen=True, slots=True)
class BoxHits:
    """At which thresholds one object is boxed well enough.

    A set of thresholds is a text of hexadecimal digits, the first threshold in the highest bit.

    Attributes:
        grid: for each of `IOUS`, by a box of any contour.
        centre: the same for the sizes of a centred box.
        largest: with an IoU of 0.5, by the box of the largest contour.
        answered: whether the image's answer is a class of the object.
    """

    grid: tuple[str, ...]
    centre: tuple[str, ...]
    largest: str
    answered: bool


def box_hits(score_map: npt.NDArray[np.float32], boxes: Boxes, *, answered: bool = False) -> BoxHits:
    """Measure one object.

    Args:
        score_map: (SIDE, SIDE) in 0..1, from `score_map`.
        boxes: (n, 4) of the object, n > 0, from `boxes_on_map`.
        answered: whether the image's answer is a class of the object.
    """
    best, by_largest = _fits(score_map, boxes)
    centred = intersection_over_union(_CENTRED, boxes).max(axis=1)
    least = np.array(IOUS)[:, None]
    flags = np.concatenate([best >= least, centred >= least, by_largest[None]])
    texts = [packed.tobytes().hex() for packed in np.packbits(flags, axis=1)]
    return BoxHits(tuple(texts[:3]), tuple(texts[3:6]), texts[6], answered)


def _fits(score_map: npt.NDArray[np.float32], boxes: Boxes) -> tuple[npt.NDArray[np.float64], Flags]:
    """At each threshold the best overlap of a contour's box, 0 where none reaches the lowest of `IOUS`; and whether the
    largest contour's box reaches `IOU`.

    One sweep from the highest threshold down. The box around all that is above a threshold is known from the highest
    value of each row and column. It says that no box can fit where too little of the object lies in it (`_covered`);
    and where what is above the threshold is known to be one piece without holes (`_pieces`), it is the only contour's
    box. At the other thresholds the contours are found and their boxes taken.

    A contour lies within one of every lower threshold. So where no contour's box covers enough of the object, none does
    at any higher threshold: the highest one where a box does is looked for by halving, and the sweep begins there.
    """
    image = (score_map * 255).astype(np.uint8)
    around = _boxes_around(image)
    possible = _covered(around, boxes) >= IOUS[0]
    alone = intersection_over_union(around, boxes).max(axis=1)
    if not image.any():  # a flat class is above no threshold, for which the source has the box (0, 0, 0, 0)
        return alone, alone >= IOU
    peaks, euler = _pieces(score_map, image)
    objects, places = boxes.tolist(), around.tolist()
    known: dict[int, tuple[Sequence[Any], list[Corners]]] = {}

    def contours_at(place: int) -> tuple[Sequence[Any], list[Corners]]:
        if place not in known:
            contours = _contours(image, _LEVELS[place], places[place])
            known[place] = contours, list(map(cv2.boundingRect, contours))
        return known[place]

    begun = np.cumsum(peaks[::-1])[::-1].tolist()
    lowest, end = 0, int(np.count_nonzero(possible))  # what is around all only shrinks
    while lowest < end:
        middle = (lowest + end) // 2
        one = begun[middle] == 1 and euler[middle] == 1
        if one or any(_covers(found, each) for found in contours_at(middle)[1] for each in objects):
            lowest = middle + 1
        else:
            end = middle
    best = np.where(np.arange(len(_LEVELS)) < end, alone, 0.0)
    by_largest = best >= IOU
    pieces = sum(peaks[end:])  # at the most, above the next threshold
    open_places: list[int] = []
    for place in range(end - 1, -1, -1):
        pieces += peaks[place]
        if not (pieces == 1 and euler[place] == 1):
            open_places.append(place)
            pieces = (len(contours_at(place)[0]) + euler[place]) // 2  # contours are pieces and holes
    if open_places:
        found = [contours_at(place) for place in open_places]
        fits = intersection_over_union(_boxes_of([each for _, own in found for each in own]), boxes).max(axis=1)
        ends = np.cumsum([len(own) for _, own in found])
        best[open_places] = np.maximum.reduceat(fits, [0, *ends[:-1]])
        for place, (contours, own), last in zip(open_places, found, ends, strict=True):
            if best[place] >= IOU:
                by_largest[place] = len(own) < 2 or fits[last - len(own) + _largest(contours)] >= IOU
            else:
                by_largest[place] = False
    return best, by_largest


def _covered(some: Boxes, boxes: Boxes) -> npt.NDArray[np.float64]:
    """(n,): the largest share of one of the object's boxes that lies in each of some, which no overlap exceeds."""
    common = np.minimum(some[:, None, 2:], boxes[:, 2:]) - np.maximum(some[:, None, :2], boxes[:, :2]) + 1
    shares = np.maximum(common, 0).prod(axis=2) / (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    most: npt.NDArray[np.float64] = shares.max(axis=1)
    return most


def _covers(found: Corners, box: Corners) -> bool:
    """Whether so much of a box may lie in the one of a contour that they can reach the lowest of `IOUS`.

    Args:
        found: x, y, width and height of the contour's.
        box: x0, y0, x1, y1.
    """
    x, y, width, height = found
    across = min(x + width, SIDE - 1, box[2]) - max(x, box[0]) + 1
    down = min(y + height, SIDE - 1, box[3]) - max(y, box[1]) + 1
    whole = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return across > 0 and down > 0 and across * down / whole >= IOUS[0]


def _boxes_around(image: npt.NDArray[np.uint8]) -> Boxes:
    """For each threshold the box around all that is above it; (0, 0, 0, 0) where nothing is."""
    levels = np.array(_LEVELS, dtype=np.uint8)
    low, high = [], []
    for axis in (0, 1):
        highest = image.max(axis=axis)
        # How many columns or rows from an end on are above no level.
        low.append(np.maximum.accumulate(highest).searchsorted(levels, side="right"))
        high.append(SIDE - 1 - np.maximum.accumulate(highest[::-1]).searchsorted(levels, side="right"))
    boxes = np.stack([*low, *high], axis=1).astype(np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, 2:] + 1, SIDE - 1)
    boxes[low[0] == SIDE] = 0
    return boxes


def _pieces(score_map: npt.NDArray[np.float32], image: npt.NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """What tells how many pieces are above each threshold.

    Returns:
        For each threshold how many new pieces may begin between it and the next higher one, at the most: each has a
        pixel that no neighbour exceeds. And Euler's number of what is above it: pieces, joined over corners too, less
        holes. It is the corners of its pixels less their sides plus the pixels, each counted once; a corner is there
        where the highest of the pixels around it is above the threshold, so that all thresholds are counted at once.
    """
    tops = image[score_map >= cv2.dilate(score_map, _NEIGHBOURS)]
    begun = np.diff(_above(tops), append=0)
    padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    across, down = np.maximum(padded[:, 1:], padded[:, :-1]), np.maximum(padded[1:], padded[:-1])
    corners = np.maximum(across[1:], across[:-1])
    euler = _above(corners) - _above(across) - _above(down) + _above(image)
    return (-begun).tolist(), euler.tolist()


def _above(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How many values are above each threshold."""
    counts = cv2.calcHist([values.reshape(1, -1)], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    left: npt.NDArray[np.int64] = values.size - counts.cumsum()[_LEVELS]
    return left


def _contours(image: npt.NDArray[np.uint8], level: int, around: Sequence[int]) -> Sequence[Any]:
    """The contours of what is above a level, which lies in the box ``around``."""
    x0, y0, x1, y1 = around
    cut = cv2.threshold(image[y0 : y1 + 1, x0 : x1 + 1], level, 255, cv2.THRESH_BINARY)[1]
    contours: Sequence[Any] = cv2.findContours(cut, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))[0]
    return contours


def _boxes_of(found: Sequence[Corners]) -> Boxes:
    """(n, 4), of the x, y, width and height of contours."""
    boxes = np.array(found, dtype=np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, :2] + boxes[:, 2:], SIDE - 1)
    return boxes


def _largest(contours: Sequence[Any]) -> int:
    """The place of the contour of the largest area, the first of equal ones, as in the source."""
    if len(contours) < 2:
        return 0
    areas = [cv2.contourArea(contour) for contour in contours]
    return areas.index(max(areas))


def intersection_over_union(some: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """(n, m) of (n, 4) and (m, 4) boxes whose corners are pixels that belong to them."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = np.maximum(high - low + 1, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (some, others)]
    ratio: npt.NDArray[np.float64] = common / (areas[0][:, None] + areas[1][None, :] - common)
    return ratio


def _centred_boxes() -> Boxes:
    half = (THRESHOLDS + 0.01) * SIDE / 2
    low, high = np.floor(SIDE / 2 - half + 1e-9), np.floor(SIDE / 2 + half + 1e-9)
    return np.stack([low, low, high, high], axis=1).astype(np.int64)


_CENTRED = _centred_boxes()


def thresholds_of(texts: Sequence[Sequence[str]]) -> Flags:
    """(objects, sets, thresholds) flags, from the hexadecimal digits of `BoxHits`."""
    packed = np.frombuffer(bytes.fromhex("".join(map("".join, texts))), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(len(texts), len(texts[0]), -1), axis=-1, count=len(_LEVELS))
    return bits.astype(np.bool_)
