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
    centred = intersection_over_union(_centred_boxes(), boxes).max(axis=1)
    return BoxHits(_digits(best), _digits(centred), _packed(by_largest), answered)


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
    known: dict[int, Sequence[Any]] = {}

    def contours_at(place: int) -> Sequence[Any]:
        if place not in known:
            known[place] = _contours(image, _LEVELS[place], around[place])
        return known[place]

    begun = np.cumsum(peaks[::-1])[::-1].tolist()
    lowest, end = 0, int(np.count_nonzero(possible))  # what is around all only shrinks
    while lowest < end:
        middle = (lowest + end) // 2
        one = begun[middle] == 1 and euler[middle] == 1
        if one or (_covered(_boxes_of(contours_at(middle)), boxes) >= IOUS[0]).any():
            lowest = middle + 1
        else:
            end = middle
    best = np.where(np.arange(len(_LEVELS)) < end, alone, 0.0)
    by_largest = best >= IOU
    found: list[tuple[int, Sequence[Any]]] = []
    pieces = sum(peaks[end:])  # at the most, above the next threshold
    for place in range(end - 1, -1, -1):
        pieces += peaks[place]
        if not (pieces == 1 and euler[place] == 1):
            contours = contours_at(place)
            pieces = (len(contours) + euler[place]) // 2  # contours are pieces and holes
            found.append((place, contours))
    if found:
        fits = intersection_over_union(_boxes_of([each for _, some in found for each in some]), boxes).max(axis=1)
        start = 0
        for place, contours in found:
            own = fits[start : start + len(contours)]
            start += len(contours)
            best[place] = own.max()
            by_largest[place] = best[place] >= IOU and own[_largest(contours)] >= IOU
    return best, by_largest


def _covered(some: Boxes, boxes: Boxes) -> npt.NDArray[np.float64]:
    """(n,): the largest share of one of the object's boxes that lies in each of some, which no overlap exceeds."""
    common = np.minimum(some[:, None, 2:], boxes[:, 2:]) - np.maximum(some[:, None, :2], boxes[:, :2]) + 1
    shares = np.maximum(common, 0).prod(axis=2) / (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    most: npt.NDArray[np.float64] = shares.max(axis=1)
    return most


def _boxes_around(image: npt.NDArray[np.uint8]) -> Boxes:
    """For each threshold the box around all that is above it; (0, 0, 0, 0) where nothing is."""
    levels = np.array(_LEVELS, dtype=np.uint8)[:, None]
    low, high = [], []
    for axis in (0, 1):
        above = image.max(axis=axis) > levels
        found = above.any(axis=1)
        low.append(np.where(found, above.argmax(axis=1), 0))
        high.append(np.where(found, SIDE - 1 - above[:, ::-1].argmax(axis=1), 0))
    boxes = np.stack([*low, *high], axis=1).astype(np.int64)
    boxes[:, 2:] = np.where(found[:, None], np.minimum(boxes[:, 2:] + 1, SIDE - 1), 0)
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


def _contours(image: npt.NDArray[np.uint8], level: int, around: npt.NDArray[np.int64]) -> Sequence[Any]:
    """The contours of what is above a level, which lies in the box ``around``."""
    x0, y0, x1, y1 = around.tolist()
    cut = cv2.threshold(image[y0 : y1 + 1, x0 : x1 + 1], level, 255, cv2.THRESH_BINARY)[1]
    contours: Sequence[Any] = cv2.findContours(cut, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))[0]
    return contours


def _boxes_of(contours: Sequence[Any]) -> Boxes:
    boxes = np.array([cv2.boundingRect(contour) for contour in contours], dtype=np.int64)
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


def _digits(best: npt.NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(_packed(best >= iou) for iou in IOUS)


def _packed(flags: Flags) -> str:
    return np.packbits(flags).tobytes().hex()


def thresholds_of(texts: Sequence[Sequence[str]]) -> Flags:
    """(objects, sets, thresholds) flags, from the hexadecimal digits of `BoxHits`."""
    packed = np.frombuffer(bytes.fromhex("".join(map("".join, texts))), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(len(texts), len(texts[0]), -1), axis=-1, count=len(_LEVELS))
    return bits.astype(np.bool_)
