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
Flags = npt.NDArray[np.bool_]
Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True)
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
    found, level, largest = contour_boxes(score_map)
    fits = intersection_over_union(found, boxes).max(axis=1)
    best = np.zeros(len(_LEVELS))
    np.maximum.at(best, level, fits)
    centred = intersection_over_union(_centred_boxes(), boxes).max(axis=1)
    return BoxHits(_digits(best), _digits(centred), _packed(fits[largest] >= IOU), answered)


def contour_boxes(
    score_map: npt.NDArray[np.float32],
) -> tuple[Boxes, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The boxes of all contours above each threshold.

    Returns:
        (n, 4) boxes; for each the index of its threshold; and (thresholds,), for each threshold the place of the box of
        its largest contour (by `cv2.contourArea`, the first of equal ones in the order of contours, as in the source).
        A threshold above which nothing is left has (0, 0, 0, 0).
    """
    image = (score_map * 255).astype(np.uint8)
    flat = not image.any()
    found: list[tuple[int, int, int, int]] = []
    level: list[int] = []
    largest: list[int] = []
    for place, value in enumerate(_LEVELS):
        contours: Sequence[Any] = ()
        if not flat:
            cut = cv2.threshold(image, value, 255, cv2.THRESH_BINARY)[1]
            contours = cv2.findContours(cut, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
        largest.append(len(found) + _largest(contours))
        found.extend([cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)])
        level.extend([place] * max(len(contours), 1))
    boxes = np.array(found, dtype=np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, :2] + boxes[:, 2:], SIDE - 1)
    return boxes, np.array(level), np.array(largest)


def _largest(contours: Sequence[Any]) -> int:
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
