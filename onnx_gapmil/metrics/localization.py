"""MaxBoxAccV2: how well a thresholded map of the true class boxes the object.

Source: Choe et al., arXiv 2007.04178, and its code, github.com/clovaai/wsolevaluation, `evaluation.py`, which this
follows bit for bit at its option ``cam_curve_interval=0.01``: the map, as 8-bit numbers, is cut above ``int(tau *
255)`` for 100 thresholds tau; every contour of what is left, holes included, gives a box; a threshold succeeds if one
of these boxes and one of the object's have at least the asked intersection over union, for 0.3, 0.5 and 0.7 each by
itself. Corners are pixels and both belong to the box (sides are x1 - x0 + 1), and the box of a contour ends one pixel
late, as there.

What the source reports is the accuracy at the best threshold, chosen on the images it is measured on: that is the
*oracle* here, where each IoU has its own best threshold. The headline takes one threshold for all three, as a user of
the boxes would have to, and never measures an object at a threshold that it helped to choose: the objects are halved,
every other one to each half, and each half is measured at the threshold that is best in the mean over IoUs on the other
(two-fold cross-fitting).

The baseline is a box of the window's shape in its centre, of 100 sizes from 1/100 of the sides to all of them, its size
chosen in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.files.serial import FLAT, JsonKey
from onnx_gapmil.metrics.scoremap import SIDE

IOUS = (0.3, 0.5, 0.7)
THRESHOLDS: npt.NDArray[np.float64] = np.arange(0, 1, 0.01)
"""Shares of the map's range; of a centred box, the sides are these plus 0.01."""

_LEVELS = (THRESHOLDS * 255).astype(int).tolist()
Flags = npt.NDArray[np.bool_]
Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BoxHits:
    """At which thresholds one object is boxed well enough.

    Attributes:
        grid: for each of `IOUS`, a set of thresholds as hexadecimal digits, the first threshold in the highest bit.
        centre: the same for the sizes of a centred box.
    """

    grid: tuple[str, ...]
    centre: tuple[str, ...]


@dataclass(frozen=True)
class IouShares:
    """Shares of objects that are boxed well enough.

    Attributes:
        iou_30: with an intersection over union of at least 0.3; in JSON ``iou_0.3``, and so on.
        iou_50: of at least 0.5.
        iou_70: of at least 0.7.
        mean: of the three.
    """

    iou_30: Annotated[float, JsonKey("iou_0.3")]
    iou_50: Annotated[float, JsonKey("iou_0.5")]
    iou_70: Annotated[float, JsonKey("iou_0.7")]
    mean: float


@dataclass(frozen=True)
class Halves:
    """The two halves of the objects.

    Attributes:
        objects: how many each has.
        thresholds: where each is measured: at the other's best.
    """

    objects: tuple[int, int]
    thresholds: tuple[float, float]


@dataclass(frozen=True)
class BoxAccuracy:
    """How many objects are boxed, by one way of making boxes.

    Attributes:
        shares: over all objects, each at the threshold of the half that it is not in (of itself, if there is but one).
        threshold: the best one on all objects, for whoever wants boxes.
        oracle: with each IoU at its best threshold on all objects, which is what the source reports.
        halves: how they were measured.
    """

    shares: Annotated[IouShares, FLAT]
    threshold: float
    oracle: IouShares
    halves: Halves


@dataclass(frozen=True)
class Localization:
    """MaxBoxAccV2 of a data set.

    Attributes:
        objects: how many there are.
        grid: boxes cut from the grid; thresholds are shares of the map's range.
        centre_box: the baseline; thresholds are shares of the window's sides.
    """

    objects: int
    grid: Annotated[BoxAccuracy, FLAT]
    centre_box: BoxAccuracy


def box_hits(score_map: npt.NDArray[np.float32], boxes: Boxes) -> BoxHits:
    """Measure one object.

    Args:
        score_map: (SIDE, SIDE) in 0..1, from `score_map`.
        boxes: (n, 4) of the object, n > 0, from `boxes_on_map`.
    """
    found, level = contour_boxes(score_map)
    best = np.zeros(len(_LEVELS))
    np.maximum.at(best, level, intersection_over_union(found, boxes).max(axis=1))
    centred = intersection_over_union(_centred_boxes(), boxes).max(axis=1)
    return BoxHits(_digits(best), _digits(centred))


def contour_boxes(score_map: npt.NDArray[np.float32]) -> tuple[Boxes, npt.NDArray[np.intp]]:
    """The boxes of all contours above each threshold.

    Returns:
        (n, 4) boxes, and for each the index of its threshold. A threshold above which nothing is left has (0, 0, 0, 0).
    """
    image = (score_map * 255).astype(np.uint8)
    flat = not image.any()
    found: list[tuple[int, int, int, int]] = []
    level: list[int] = []
    for place, value in enumerate(_LEVELS):
        contours: Sequence[Any] = ()
        if not flat:
            cut = cv2.threshold(image, value, 255, cv2.THRESH_BINARY)[1]
            contours = cv2.findContours(cut, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
        found.extend([cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)])
        level.extend([place] * max(len(contours), 1))
    boxes = np.array(found, dtype=np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, :2] + boxes[:, 2:], SIDE - 1)
    return boxes, np.array(level)


def intersection_over_union(some: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """(n, m) of (n, 4) and (m, 4) boxes whose corners are pixels that belong to them."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = np.maximum(high - low + 1, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (some, others)]
    ratio: npt.NDArray[np.float64] = common / (areas[0][:, None] + areas[1][None, :] - common)
    return ratio


def box_accuracy(hits: Sequence[BoxHits]) -> Localization:
    """MaxBoxAccV2 of a data set, each half at the other's threshold, and beside it the oracle's.

    Args:
        hits: one for each object, in the order of the data set.

    Raises:
        ValueError: there are no objects.
    """
    if not hits:
        raise ValueError("no objects")
    return Localization(
        objects=len(hits),
        grid=_chosen(_unpacked([each.grid for each in hits]), THRESHOLDS),
        centre_box=_chosen(_unpacked([each.centre for each in hits]), THRESHOLDS + 0.01),
    )


def successes(hits: Sequence[BoxHits]) -> npt.NDArray[np.float64]:
    """For each object the mean over IoUs of success at the other half's threshold; their mean is the headline."""
    flags = _unpacked([each.grid for each in hits])
    shares: npt.NDArray[np.float64] = _held_out(flags, _thresholds(flags)).mean(axis=1)
    return shares


def _chosen(flags: Flags, values: npt.NDArray[np.float64]) -> BoxAccuracy:
    """Accuracies of (objects, IoUs, thresholds) flags."""
    first, second = _thresholds(flags)
    return BoxAccuracy(
        shares=_by_iou(_held_out(flags, (first, second)).mean(axis=0)),
        threshold=round(float(values[_best(flags)]), 2),
        oracle=_by_iou(flags.mean(axis=0).max(axis=1)),
        halves=Halves(
            objects=(len(flags[0::2]), len(flags[1::2])),
            thresholds=(round(float(values[first]), 2), round(float(values[second]), 2)),
        ),
    )


def _best(flags: Flags) -> int:
    """The threshold of the most successes over all IoUs, the lowest among equal ones."""
    return int(np.count_nonzero(flags, axis=(0, 1)).argmax())


def _thresholds(flags: Flags) -> tuple[int, int]:
    """At which threshold each half is measured: the other's best."""
    return _best(flags[1::2] if len(flags) > 1 else flags), _best(flags[0::2])


def _held_out(flags: Flags, thresholds: tuple[int, int]) -> Flags:
    """(objects, IoUs): each half at its threshold."""
    measured = np.empty(flags.shape[:2], dtype=np.bool_)
    for half, index in enumerate(thresholds):
        measured[half::2] = flags[half::2, :, index]
    return measured


def _by_iou(shares: npt.NDArray[np.float64]) -> IouShares:
    return IouShares(float(shares[0]), float(shares[1]), float(shares[2]), float(shares.mean()))


def _centred_boxes() -> Boxes:
    half = (THRESHOLDS + 0.01) * SIDE / 2
    low, high = np.floor(SIDE / 2 - half + 1e-9), np.floor(SIDE / 2 + half + 1e-9)
    return np.stack([low, low, high, high], axis=1).astype(np.int64)


def _digits(best: npt.NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(np.packbits(best >= iou).tobytes().hex() for iou in IOUS)


def _unpacked(texts: Sequence[Sequence[str]]) -> Flags:
    """(objects, IoUs, thresholds)."""
    packed = np.frombuffer(bytes.fromhex("".join(map("".join, texts))), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(len(texts), len(IOUS), -1), axis=-1, count=len(_LEVELS))
    return bits.astype(np.bool_)
