"""From the records of all images to the figures of an audit.

A figure is a mean over images (or objects) of what `measure_image` found, so the summary needs those measures
alone: an audit that was stopped and resumed has the same one, to the last bit. Images for which a value could not be
measured are left out of its mean, and the number of those that were counted stands beside it. A figure that nothing
counted for is None.

Intervals are 95 % percentile bootstraps over images (`intervals`), keyed by the place of their figure in the summary,
as in ``foreground.wrong.any_top1``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.files.serial import to_json
from onnx_gapmil.metrics.accuracy import macro_share, share_of_right
from onnx_gapmil.metrics.calibration import calibration
from onnx_gapmil.metrics.columns import MeasuredImages
from onnx_gapmil.metrics.figures import (
    CalibrationFigures,
    ClassRow,
    EdgeFigures,
    Figures,
    MacroAccuracy,
    SeveralFigures,
)
from onnx_gapmil.metrics.image import ImageMeasures
from onnx_gapmil.metrics.localization import BoxOutcomes, Localization, accuracy_of
from onnx_gapmil.metrics.means import Means, plain_mean
from onnx_gapmil.metrics.placed import background_figures, error_figures, foreground_figures, pointing_figures
from onnx_gapmil.metrics.pxap import average_precision_of_pixels

if TYPE_CHECKING:
    from onnx_gapmil.files.columns import Columns, Numbers
    from onnx_gapmil.metrics.columns import ImageNumbers

Images = Sequence[ImageMeasures] | MeasuredImages
MOST_CONFUSED = 5


def summarise(images: Images) -> Figures:
    """Summarise what `measure_image` found on each image, in the order of the data set.

    Args:
        images: at least one.

    Raises:
        ValueError: there are no images.
    """
    measured, means = MeasuredImages.of(images), Means()
    numbers = measured.images
    top1, top5, macro = _accuracy(numbers, means)
    foreground = foreground_figures(numbers, means)
    recoverable, causes = error_figures(numbers, means) if foreground is not None else (None, None)
    background = background_figures(numbers, means)
    edges = _edges(numbers, means)
    pointing = pointing_figures(numbers, means)
    boxes, outcomes = measured_boxes(measured)
    _count_boxes(boxes, means)
    means.count("pxap", measured.masked)
    return Figures(
        top1=top1,
        top5=top5,
        macro=macro,
        foreground=foreground,
        recoverable=recoverable,
        error_causes=causes,
        background_reliance=background.share if background is not None else None,
        background=background,
        edges=edges,
        pointing_game=pointing[0],
        pointing_game_centre=pointing[1],
        pointing_game_excess=pointing[2],
        **_localization(outcomes, means),
        localization=boxes,
        pxap=average_precision_of_pixels(measured.pixels),
        calibration=_calibration(numbers, means),
        several_objects=SeveralFigures(**measured.several) if measured.several["images"] else None,
        intervals=means.intervals,
        counts=means.counts,
    )


def measured_boxes(images: Images) -> tuple[Localization, BoxOutcomes] | tuple[None, None]:
    """How well the objects are boxed, and how each is; None where none was measured."""
    boxes = MeasuredImages.of(images).boxes
    return accuracy_of(boxes) if boxes is not None else (None, None)


def _localization(boxes: BoxOutcomes | None, means: Means) -> dict[str, float | None]:
    """The three headlines; with the intervals of their baselines, and of what is beyond them."""
    if boxes is None:
        return dict.fromkeys(("maxboxacc_v2", "maxboxacc_v1", "top1_localization"))
    found = {}
    for name, own, centre, place, baseline in (
        ("maxboxacc_v2", boxes.v2, boxes.v2_centre, "localization", "centre_box.mean"),
        ("maxboxacc_v1", boxes.v1, boxes.v1_centre, "localization.one_box", "centre_box.share"),
        ("top1_localization", boxes.top1, boxes.top1_centre, "localization.top1", "centre_box.share"),
    ):
        found[name] = means.of(name, own)
        means.of(f"{place}.{baseline}", centre)
        means.difference(f"{place}.excess", own - centre)
    return found


def _count_boxes(boxes: Localization | None, means: Means) -> None:
    """Every figure on boxes is of the objects that were measured, however many images have none."""
    if boxes is not None:
        for place in _numbers(to_json(boxes), "localization"):
            means.count(place, boxes.objects)


def _numbers(content: Mapping[str, object], place: str) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{place}.{key}")
        elif isinstance(value, int | float):
            yield f"{place}.{key}"


def _accuracy(images: ImageNumbers, means: Means) -> tuple[float, float, MacroAccuracy]:
    """Top-1, top-5, and their means over classes."""
    best = images.rank
    top1, top5 = share_of_right(best < 1), share_of_right(best < 5)
    macro = {k: images.ranks < k for k in (1, 5)}
    for k, right in macro.items():
        means.of(f"top{k}", (best < k).astype(np.int8))
        means.macro(f"macro.top{k}", images.labels, right)
    return top1, top5, MacroAccuracy(*(macro_share(images.labels, right) for right in macro.values()))


def _edges(images: ImageNumbers, means: Means) -> EdgeFigures | None:
    known = int(np.count_nonzero(images["edges.best_cell"] >= 0))
    if not known:
        return None
    names = ("ring_cells", "evidence", "winners", "energy", "best_cell", "padding")
    return EdgeFigures(known, *(means.of(f"edges.{name}", images[f"edges.{name}"]) for name in names))


def _calibration(images: ImageNumbers, means: Means) -> CalibrationFigures:
    confidences = images["confidence"]
    found = calibration(confidences, images["right"])
    for name in ("ece", "confidence"):
        means.count(f"calibration.{name}", len(images))
    for name in ("brier", "nll"):  # of images with one label
        means.count(f"calibration.{name}", int(np.count_nonzero(~np.isnan(images[name]))))
    return CalibrationFigures(
        ece=found.ece,
        bins=found.bins,
        confidence=float(np.mean(confidences)),
        brier=plain_mean(images["brier"]),
        nll=plain_mean(images["nll"]),
    )


def class_rows(images: Images) -> tuple[ClassRow, ...]:
    """One row for each class that labels an image, by index."""
    numbers = MeasuredImages.of(images).images
    order = np.argsort(numbers.labels, kind="stable")
    classes, starts = np.unique(numbers.labels[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)]
    owner = numbers.by_label(np.arange(len(numbers)))
    return tuple(
        _class_row(int(index), numbers.ranks[order[start:end]], numbers.numbers.among(owner[order[start:end]]))
        for index, start, end in zip(classes.tolist(), starts.tolist(), ends, strict=True)
    )


def _class_row(index: int, ranks: Numbers, images: Columns) -> ClassRow:
    """The row of a class.

    Args:
        index: of the class.
        ranks: of the class in the images that it labels.
        images: these.
    """
    answers, times = np.unique(images["prediction"][images["right"] != 1], return_counts=True)
    errors = sorted(zip(answers.tolist(), times.tolist(), strict=True), key=lambda item: (-item[1], item[0]))
    return ClassRow(
        index=index,
        images=len(ranks),
        top1=plain_mean((ranks < 1).astype(np.int8)),
        top5=plain_mean((ranks < 5).astype(np.int8)),
        any_top1=plain_mean(images["foreground.any_top1"]),
        cell_share=plain_mean(images["foreground.cell_share"]),
        most_confused=tuple(errors[:MOST_CONFUSED]),
    )
