"""MaxBoxAccV2, MaxBoxAcc and Top-1 localization: how well a thresholded map of the true class boxes the object.

Source: Choe et al., arXiv 2007.04178, and its code, github.com/clovaai/wsolevaluation, `evaluation.py`, which this
follows bit for bit at its option ``cam_curve_interval=0.01``: the map, as 8-bit numbers, is cut above ``int(tau *
255)`` for 100 thresholds tau. Corners are pixels and both belong to the box (sides are x1 - x0 + 1), and the box of a
contour ends one pixel late, as there. A threshold succeeds if a box of the map and one of the object's have at least
the asked intersection over union (IoU):

- **MaxBoxAccV2**: every contour of what is left, holes included, gives a box; for 0.3, 0.5 and 0.7 each by itself;
- **MaxBoxAcc** (V1; at one fixed threshold it is called GT-known localization): the contour of the largest area alone
  gives a box; for 0.5;
- **Top-1 localization**: as V1, and the image's answer is the object's class.

What the source reports is the accuracy at the best threshold, chosen on the images it is measured on: that is the
*oracle* here (in V2 each IoU has its own). The headline takes one threshold (in V2 for all three IoUs, as a user of the
boxes would have to), and never measures an object at a threshold that it helped to choose: the objects are halved,
every other one to each half, and each half is measured at the threshold that is best on the other (two-fold
cross-fitting).

The baseline is a box of the window's shape in its centre, of 100 sizes from 1/100 of the sides to all of them, its size
chosen in the same way. For Top-1 localization the answers are the model's own, and the box alone knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.files.serial import FLAT, JsonKey
from onnx_gapmil.metrics.box_flags import PART, WAYS, Flags, FlagsBuilder, ObjectFlags, Packed, Way
from onnx_gapmil.metrics.boxes import THRESHOLDS, BoxHits

Outcomes = npt.NDArray[Any]


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
class OneBoxAccuracy:
    """How many objects are boxed at an IoU of 0.5, by one box for each threshold; as `BoxAccuracy`.

    Attributes:
        share: over all objects, each at the threshold of the half that it is not in.
        threshold: the best one on all objects.
        oracle: at the best threshold on all objects, which is what papers report.
        halves: how they were measured.
    """

    share: float
    threshold: float
    oracle: float
    halves: Halves


@dataclass(frozen=True)
class OneBox:
    """MaxBoxAcc (V1), or Top-1 localization.

    Attributes:
        grid: the box of the map's largest contour.
        centre_box: the baseline.
        excess: the first less the second, paired by object; its interval stands under this place.
    """

    grid: Annotated[OneBoxAccuracy, FLAT]
    centre_box: OneBoxAccuracy
    excess: float


@dataclass(frozen=True)
class Localization:
    """How well the grid boxes the objects of a data set.

    Attributes:
        objects: how many there are.
        grid: MaxBoxAccV2, of boxes cut from the grid; thresholds are shares of the map's range.
        centre_box: its baseline; thresholds are shares of the window's sides.
        excess: the mean over IoUs of the first less that of the second, paired by object.
        one_box: MaxBoxAcc (V1).
        top1: Top-1 localization.
    """

    objects: int
    grid: Annotated[BoxAccuracy, FLAT]
    centre_box: BoxAccuracy
    excess: float
    one_box: OneBox
    top1: OneBox


@dataclass(frozen=True)
class BoxOutcomes:
    """Of each object, whether it was boxed at the threshold of the half that it is not in.

    Attributes:
        v2: (objects,), the mean over IoUs, float64 of 0 to 1.
        v2_centre: of the centred box.
        v1: (objects,), int8 of 0 or 1, by the largest contour, at an IoU of 0.5.
        v1_centre: of the centred box.
        top1: the same, and the image's answer is the object's class.
        top1_centre: of the centred box.
    """

    v2: Outcomes
    v2_centre: Outcomes
    v1: Outcomes
    v1_centre: Outcomes
    top1: Outcomes
    top1_centre: Outcomes

    def of(self, objects: npt.ArrayLike) -> BoxOutcomes:
        """Those of some objects, by their places: their thresholds stay the ones of the whole data set."""
        places = np.asarray(objects, dtype=np.intp)
        return BoxOutcomes(**{name: values[places] for name, values in vars(self).items()})


def box_accuracy(hits: Sequence[BoxHits]) -> tuple[Localization, BoxOutcomes]:
    """The accuracies of a data set, each half at the other's threshold, with the oracle's, and each object's outcome.

    Args:
        hits: one for each object, in the order of the data set.

    Raises:
        ValueError: there are no objects.
    """
    builder = FlagsBuilder()
    for each in hits:
        builder.add(each)
    flags = builder.built()
    if flags is None:
        raise ValueError("no objects")
    return accuracy_of(flags)


def accuracy_of(flags: ObjectFlags) -> tuple[Localization, BoxOutcomes]:
    """As `box_accuracy`, of the flags of at least one object."""
    cuts = [_Cut.of(len(flags.answered), Way(flags, way)) for way in WAYS]
    grid, centre, largest, box, right, right_box = cuts
    outcomes = BoxOutcomes(*(each.outcomes() for each in cuts))
    found = Localization(
        objects=len(flags.answered),
        grid=grid.by_iou(THRESHOLDS),
        centre_box=centre.by_iou(THRESHOLDS + 0.01),
        excess=float((outcomes.v2 - outcomes.v2_centre).mean()),
        one_box=_one_box(largest, box, outcomes.v1 - outcomes.v1_centre),
        top1=_one_box(right, right_box, outcomes.top1 - outcomes.top1_centre),
    )
    return found, outcomes


def held_out_hits(flags: Flags) -> Flags:
    """(objects, IoUs): of each object, whether it is boxed at the threshold of the half that it is not in.

    Args:
        flags: (objects, IoUs, thresholds).
    """
    parts = [np.packbits(flags[start : start + PART], axis=-1) for start in range(0, len(flags), PART)]
    return _Cut.of(len(flags), parts).held_out


def _one_box(grid: _Cut, centre: _Cut, excess: Outcomes) -> OneBox:
    return OneBox(grid.one_box(THRESHOLDS), centre.one_box(THRESHOLDS + 0.01), float(excess.mean()))


@dataclass(frozen=True)
class _Cut:
    """Where objects are cut, and how well that does.

    Attributes:
        halves: objects of each half.
        shares: (IoUs, thresholds), share of all objects that are boxed.
        best: place of the threshold of the most successes over all IoUs, the lowest among equal ones.
        others: the same for each half: the other's best.
        held_out: (objects, IoUs), each half at its threshold.
    """

    halves: tuple[int, int]
    shares: npt.NDArray[np.float64]
    best: int
    others: tuple[int, int]
    held_out: Flags

    @classmethod
    def of(cls, objects: int, parts: Iterable[Packed]) -> _Cut:
        """Of the (objects, IoUs, bytes) flags of at least one object, an even number of them in each part but the last;
        they are read twice."""
        counts = np.array([[_counts(part[half::2]) for half in (0, 1)] for part in parts])
        first, second = counts[:, 0].sum(axis=0), counts[:, 1].sum(axis=0)
        both = first + second
        others = _best(second if objects > 1 else both), _best(first)
        held_out = np.empty((objects, len(both)), dtype=np.bool_)
        start = 0
        for part in parts:
            own = held_out[start : start + len(part)]
            for half, place in enumerate(others):
                own[half::2] = (part[half::2, :, place // 8] >> (7 - place % 8)) & 1
            start += len(part)
        return cls((-(-objects // 2), objects // 2), both / objects, _best(both), others, held_out)

    def outcomes(self) -> Outcomes:
        """For each object the mean over IoUs of success at the other half's threshold; their mean is the headline."""
        flags = self.held_out
        shares: Outcomes = flags[:, 0].astype(np.int8) if flags.shape[1] == 1 else flags.mean(axis=1)
        return shares

    def by_iou(self, values: npt.NDArray[np.float64]) -> BoxAccuracy:
        """Accuracies at each IoU."""
        return BoxAccuracy(
            shares=_by_iou(self.held_out.mean(axis=0)),
            threshold=round(float(values[self.best]), 2),
            oracle=_by_iou(self.shares.max(axis=1)),
            halves=self._halves(values),
        )

    def one_box(self, values: npt.NDArray[np.float64]) -> OneBoxAccuracy:
        """Accuracies at one IoU."""
        return OneBoxAccuracy(
            share=float(self.held_out.mean()),
            threshold=round(float(values[self.best]), 2),
            oracle=float(self.shares.max()),
            halves=self._halves(values),
        )

    def _halves(self, values: npt.NDArray[np.float64]) -> Halves:
        first, second = self.others
        return Halves(self.halves, (round(float(values[first]), 2), round(float(values[second]), 2)))


def _counts(flags: Packed) -> npt.NDArray[np.int64]:
    """(IoUs, thresholds), of how many objects it is set."""
    total: npt.NDArray[np.int64] = np.unpackbits(flags, axis=-1, count=len(THRESHOLDS)).sum(axis=0, dtype=np.int64)
    return total


def _best(counts: npt.NDArray[np.int64]) -> int:
    return int(counts.sum(axis=0).argmax())


def _by_iou(shares: npt.NDArray[np.float64]) -> IouShares:
    return IouShares(float(shares[0]), float(shares[1]), float(shares[2]), float(shares.mean()))
