"""From the records of all images to the figures of an audit.

A figure is a mean over images (or objects) of what `measure_image` found, so the summary needs those measures
alone: an audit that was stopped and resumed has the same one, to the last bit. Images for which a value could not be
measured are left out of its mean, and the number of those that were counted stands beside it. A figure that nothing
counted for is None.

Intervals are 95 % percentile bootstraps over images (`intervals`), keyed by the place of their figure in the summary,
as in ``foreground.wrong.any_top1``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnx_gapmil.files.serial import to_json
from onnx_gapmil.metrics.accuracy import accuracy, macro_accuracy
from onnx_gapmil.metrics.calibration import calibration
from onnx_gapmil.metrics.figures import (
    CalibrationFigures,
    ClassRow,
    EdgeFigures,
    Figures,
    MacroAccuracy,
    SeveralFigures,
)
from onnx_gapmil.metrics.image import ImageMeasures
from onnx_gapmil.metrics.localization import BoxOutcomes, Localization, box_accuracy
from onnx_gapmil.metrics.means import Means, plain_mean
from onnx_gapmil.metrics.placed import background_figures, error_figures, foreground_figures, pointing_figures
from onnx_gapmil.metrics.pxap import pixel_average_precision

Images = Sequence[ImageMeasures]
MOST_CONFUSED = 5


def summarise(images: Images) -> Figures:
    """Summarise what `measure_image` found on each image, in the order of the data set.

    Args:
        images: at least one.

    Raises:
        ValueError: there are no images.
    """
    means = Means()
    top1, top5, macro = _accuracy(images, means)
    foreground = foreground_figures(images, means)
    recoverable, causes = error_figures(images, means) if foreground is not None else (None, None)
    background = background_figures(images, means)
    edges = _edges(images, means)
    pointing = pointing_figures(images, means)
    boxes, outcomes = measured_boxes(images)
    _count_boxes(boxes, means)
    masked = [image.pxap for image in images if image.pxap is not None]
    means.count("pxap", len(masked))
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
        pxap=pixel_average_precision(masked),
        calibration=_calibration(images, means),
        several_objects=_several(images),
        intervals=means.intervals,
        counts=means.counts,
    )


def measured_boxes(images: Images) -> tuple[Localization, BoxOutcomes] | tuple[None, None]:
    """How well the objects are boxed, and how each is; None where none was measured."""
    hits = [each for image in images for each in image.localization or ()]
    return box_accuracy(hits) if hits else (None, None)


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
        found[name] = means.of(name, own.tolist())
        means.of(f"{place}.{baseline}", centre.tolist())
        means.difference(f"{place}.excess", (own - centre).tolist())
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


def _accuracy(images: Images, means: Means) -> tuple[float, float, MacroAccuracy]:
    """Top-1, top-5, and their means over classes."""
    labels, ranks = [image.labels for image in images], [image.ranks for image in images]
    top1, top5 = accuracy(ranks, 1), accuracy(ranks, 5)
    classes = [label for each in labels for label in each]
    for k in (1, 5):
        means.of(f"top{k}", [min(each) < k for each in ranks])
        means.macro(f"macro.top{k}", classes, [place < k for each in ranks for place in each])
    return top1, top5, MacroAccuracy(macro_accuracy(labels, ranks, 1), macro_accuracy(labels, ranks, 5))


def _edges(images: Images, means: Means) -> EdgeFigures | None:
    known = [image.edges for image in images if image.edges is not None]
    if not known:
        return None
    return EdgeFigures(
        images=len(known),
        ring_cells=means.of("edges.ring_cells", [each.ring_cells for each in known]),
        evidence=means.of("edges.evidence", [each.evidence for each in known]),
        winners=means.of("edges.winners", [each.winners for each in known]),
        energy=means.of("edges.energy", [each.energy for each in known]),
        best_cell=means.of("edges.best_cell", [each.best_cell for each in known]),
        padding=means.of("edges.padding", [each.padding for each in known]),
    )


def _calibration(images: Images, means: Means) -> CalibrationFigures:
    confidences = [image.confidence for image in images]
    found = calibration(confidences, [image.right for image in images])
    for name in ("ece", "confidence"):
        means.count(f"calibration.{name}", len(images))
    for name in ("brier", "nll"):  # of images with one label
        means.count(f"calibration.{name}", sum(getattr(image, name) is not None for image in images))
    return CalibrationFigures(
        ece=found.ece,
        bins=found.bins,
        confidence=float(np.mean(confidences)),
        brier=plain_mean([image.brier for image in images]),
        nll=plain_mean([image.nll for image in images]),
    )


def _several(images: Images) -> SeveralFigures | None:
    known = [image.several for image in images if image.several is not None]
    if not known:
        return None
    return SeveralFigures(
        images=len(known),
        objects=sum(each.objects for each in known),
        grid=sum(each.grid for each in known),
        top1=sum(each.top1 for each in known),
        top5=sum(each.top5 for each in known),
        top_m=sum(each.top_m for each in known),
    )


def class_rows(images: Images) -> tuple[ClassRow, ...]:
    """One row for each class that labels an image, by index."""
    groups: dict[int, _OfClass] = {}
    for image in images:
        for label, rank in zip(image.labels, image.ranks, strict=True):
            groups.setdefault(label, _OfClass()).add(image, rank)
    return tuple(groups[index].row(index) for index in sorted(groups))


@dataclass
class _OfClass:
    """What a class's row is made of: its rank in each image, and of those with a known object what its cells say."""

    ranks: list[int] = field(default_factory=list)
    any_top1: list[bool] = field(default_factory=list)
    cell_shares: list[float] = field(default_factory=list)
    errors: Counter[int] = field(default_factory=Counter)

    def add(self, image: ImageMeasures, rank: int) -> None:
        """One image that the class labels."""
        self.ranks.append(rank)
        if image.foreground is not None:
            self.any_top1.append(image.foreground.any_top1)
            self.cell_shares.append(image.foreground.cell_share)
        if not image.right:
            self.errors[image.prediction] += 1

    def row(self, index: int) -> ClassRow:
        """Its row."""
        return ClassRow(
            index=index,
            images=len(self.ranks),
            top1=plain_mean([rank < 1 for rank in self.ranks]),
            top5=plain_mean([rank < 5 for rank in self.ranks]),
            any_top1=plain_mean(self.any_top1),
            cell_share=plain_mean(self.cell_shares),
            most_confused=tuple(sorted(self.errors.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSED]),
        )
