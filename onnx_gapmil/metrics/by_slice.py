"""The figures of a slice: those of the whole data set that say something of few images, under the same names.

A slice judges nothing anew that the whole data set decided: thresholds of boxes are the ones at which each object is
measured in the whole, thresholds of suspects too. So the slices of a column add up to the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.accuracy import share_of_right
from onnx_gapmil.metrics.calibration import calibration
from onnx_gapmil.metrics.columns import MeasuredImages
from onnx_gapmil.metrics.figures import (
    CentreMean,
    CentreShare,
    SliceCalibration,
    SliceFigures,
    SliceLocalization,
    SliceOneBox,
    SuspectCount,
)
from onnx_gapmil.metrics.means import Means
from onnx_gapmil.metrics.placed import (
    background_figures,
    error_figures,
    foreground_figures,
    pointing_figures,
)

if TYPE_CHECKING:
    from onnx_gapmil.metrics.columns import ImageNumbers
    from onnx_gapmil.metrics.image import ImageMeasures
    from onnx_gapmil.metrics.localization import BoxOutcomes

Images = Sequence["ImageMeasures"] | MeasuredImages


def figures_by_slice(
    images: Images,
    members: Mapping[str, Mapping[str, Sequence[int]]],
    boxes: BoxOutcomes | None,
    suspects: Collection[int] | None,
) -> dict[str, dict[str, SliceFigures]]:
    """The figures of every slice, by column and value.

    Args:
        images: of the whole data set, in its order.
        members: by column and value, the places of the images; see `onnx_gapmil.data.slices.Slices`.
        boxes: how each object was boxed, in the order of the images' objects; None where none was measured.
        suspects: places of the images whose label is suspect; None where that was not measured.
    """
    measured = MeasuredImages.of(images)
    suspect = None
    if suspects is not None:
        suspect = np.zeros(len(measured), dtype=np.bool_)
        suspect[list(suspects)] = True
    owner = np.repeat(np.arange(len(measured)), measured.objects)
    found: dict[str, dict[str, SliceFigures]] = {}
    for column, values in members.items():
        found[column] = {}
        for value, listed in values.items():
            places = np.asarray(listed, dtype=np.intp)
            marks = np.zeros(len(measured), dtype=np.bool_)
            marks[places] = True
            found[column][value] = slice_figures(
                measured.images.among(places),
                boxes.of(np.flatnonzero(marks[owner])) if boxes is not None else None,
                None if suspect is None else suspect[places],
            )
    return found


def slice_figures(
    images: ImageNumbers, boxes: BoxOutcomes | None, suspects: npt.NDArray[np.bool_] | None
) -> SliceFigures:
    """The figures of some images.

    Args:
        images: at least one.
        boxes: how each of their objects was boxed.
        suspects: (images,), whether each one's label is suspect.
    """
    means, best = Means(), images.rank
    for k in (1, 5):
        means.of(f"top{k}", (best < k).astype(np.int8))
    foreground = foreground_figures(images, means)
    recoverable, causes = error_figures(images, means) if foreground is not None else (None, None)
    background = background_figures(images, means)
    pointing = pointing_figures(images, means)
    confidences = images["confidence"]
    localization = _localization(boxes, means)
    return SliceFigures(
        images=len(images),
        top1=share_of_right(best < 1),
        top5=share_of_right(best < 5),
        foreground=foreground,
        recoverable=recoverable,
        error_causes=causes,
        background_reliance=background.share if background is not None else None,
        background=background,
        pointing_game=pointing[0],
        pointing_game_centre=pointing[1],
        pointing_game_excess=pointing[2],
        maxboxacc_v2=_boxed(boxes, "v2", "maxboxacc_v2", means),
        maxboxacc_v1=_boxed(boxes, "v1", "maxboxacc_v1", means),
        top1_localization=_boxed(boxes, "top1", "top1_localization", means),
        localization=localization,
        calibration=SliceCalibration(calibration(confidences, images["right"]).ece, float(np.mean(confidences))),
        suspect_labels=suspect_count(suspects, means),
        intervals=means.intervals,
        counts=means.counts,
    )


def suspect_count(suspects: npt.NDArray[np.bool_] | None, means: Means) -> SuspectCount:
    """How many labels are suspect; 0 of 0 where that was not measured."""
    known = np.zeros(0, dtype=np.bool_) if suspects is None else suspects
    share = means.of("suspect_labels.share", known.astype(np.int8))
    return SuspectCount(int(np.count_nonzero(known)), len(known), share)


def _boxed(boxes: BoxOutcomes | None, kind: str, name: str, means: Means) -> float | None:
    return None if boxes is None else means.of(name, getattr(boxes, kind))


def _localization(boxes: BoxOutcomes | None, means: Means) -> SliceLocalization | None:
    if boxes is None or not len(boxes.v2):
        return None
    one_box, top1 = (
        SliceOneBox(
            CentreShare(means.of(f"localization.{place}.centre_box.share", centre) or 0.0),
            means.difference(f"localization.{place}.excess", own - centre) or 0.0,
        )
        for place, own, centre in (("one_box", boxes.v1, boxes.v1_centre), ("top1", boxes.top1, boxes.top1_centre))
    )
    means.count("localization.objects", len(boxes.v2))
    return SliceLocalization(
        objects=len(boxes.v2),
        centre_box=CentreMean(means.of("localization.centre_box.mean", boxes.v2_centre) or 0.0),
        excess=means.difference("localization.excess", boxes.v2 - boxes.v2_centre) or 0.0,
        one_box=one_box,
        top1=top1,
    )
