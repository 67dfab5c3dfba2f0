"""From the records of all images to the figures of an audit.

A figure is a mean over images (or objects) of what `measure_image` found, so the summary needs those measures
alone: an audit that was stopped and resumed has the same one, to the last bit. Images for which a value could not be
measured are left out of its mean, and the number of those that were counted stands beside it. A figure that nothing
counted for is None.

Intervals are 95 % percentile bootstraps over images (`intervals`), keyed by the place of their figure in the summary,
as in ``foreground.wrong.any_top1``.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from onnx_gapmil.metrics.accuracy import accuracy, macro_accuracy
from onnx_gapmil.metrics.calibration import calibration
from onnx_gapmil.metrics.causes import CAUSES
from onnx_gapmil.metrics.figures import (
    BackgroundFigures,
    CalibrationFigures,
    ClassRow,
    EdgeFigures,
    ErrorCauses,
    Figures,
    ForegroundFigures,
    MacroAccuracy,
    MeanMargin,
    Recoverable,
    RecoveryFigures,
    SeveralFigures,
    WrongRecoveryFigures,
)
from onnx_gapmil.metrics.image import ImageMeasures
from onnx_gapmil.metrics.intervals import Interval, bootstrap_macro, bootstrap_mean
from onnx_gapmil.metrics.localization import box_accuracy, successes
from onnx_gapmil.metrics.pxap import pixel_average_precision

Images = Sequence[ImageMeasures]
MOST_CONFUSED = 5


class _Means:
    """Means, with the interval of each remembered by its name."""

    def __init__(self) -> None:
        self.intervals: dict[str, Interval] = {}

    def of(self, name: str, values: Sequence[float | bool | None]) -> float | None:
        """The mean of the values that are not None; None if there are none."""
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        if known.size == 0:
            return None
        self.intervals[name] = bootstrap_mean(known, seed=seed_of(name))
        return float(known.mean())

    def macro(self, name: str, classes: Sequence[int], right: Sequence[bool]) -> None:
        """Remember the interval of a mean over classes."""
        self.intervals[name] = bootstrap_macro(classes, right, seed=seed_of(name))


def seed_of(name: str) -> int:
    """A seed for each figure, so that its interval does not depend on which others were computed before."""
    return zlib.crc32(name.encode())


def summarise(images: Images) -> Figures:
    """Summarise what `measure_image` found on each image, in the order of the data set.

    Args:
        images: at least one.

    Raises:
        ValueError: there are no images.
    """
    means = _Means()
    top1, top5, macro = _accuracy(images, means)
    foreground = _foreground(images, means)
    recoverable, causes = _errors(images, means) if foreground is not None else (None, None)
    background = _background(images, means)
    edges = _edges(images, means)
    pointing = [image.pointing for image in images if image.pointing is not None]
    hits = [each for image in images for each in image.localization or ()]
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
        pointing_game=means.of("pointing_game", _games((each.hits, each.games) for each in pointing)),
        pointing_game_centre=means.of("pointing_game_centre", _games((each.centre, each.games) for each in pointing)),
        maxboxacc_v2=means.of("maxboxacc_v2", successes(hits).tolist()) if hits else None,
        localization=box_accuracy(hits) if hits else None,
        pxap=pixel_average_precision([image.pxap for image in images if image.pxap is not None]),
        calibration=_calibration(images),
        several_objects=_several(images),
        intervals=means.intervals,
    )


def _accuracy(images: Images, means: _Means) -> tuple[float, float, MacroAccuracy]:
    """Top-1, top-5, and their means over classes."""
    labels, ranks = [image.labels for image in images], [image.ranks for image in images]
    top1, top5 = accuracy(ranks, 1), accuracy(ranks, 5)
    classes = [label for each in labels for label in each]
    for k in (1, 5):
        means.of(f"top{k}", [min(each) < k for each in ranks])
        means.macro(f"macro.top{k}", classes, [place < k for each in ranks for place in each])
    return top1, top5, MacroAccuracy(macro_accuracy(labels, ranks, 1), macro_accuracy(labels, ranks, 5))


def _games(won: Iterable[tuple[int, int]]) -> list[bool]:
    """Each game by itself, as the source counts; an image with objects of several kinds has several."""
    return [place < hits for hits, games in won for place in range(games)]


def _foreground(images: Images, means: _Means) -> ForegroundFigures | None:
    right = _recovery([image for image in images if image.right], "right", means)
    errors = [image for image in images if not image.right]
    wrong = _beside_control(_recovery(errors, "wrong", means), errors, means)
    return ForegroundFigures(right, wrong) if right.images or wrong.images else None


def _beside_control(found: RecoveryFigures, errors: Images, means: _Means) -> WrongRecoveryFigures:
    """The recovery of errors, and what classes that cannot know win in the same cells of the same images."""
    pairs = [
        (float(image.foreground.any_top1), image.control)
        for image in errors
        if image.foreground is not None and image.control is not None
    ]
    return WrongRecoveryFigures(
        **vars(found),
        control_any_top1=means.of("foreground.wrong.control_any_top1", [control for _, control in pairs]),
        excess=means.of("foreground.wrong.excess", [won - control for won, control in pairs]),
    )


def _recovery(images: Images, kind: str, means: _Means) -> RecoveryFigures:
    """Means over images. An image without a background cell has none with the true class on top: it counts as 0."""
    found = [image.foreground for image in images if image.foreground is not None]
    name = f"foreground.{kind}."
    return RecoveryFigures(
        images=len(found),
        any_top1=means.of(name + "any_top1", [each.any_top1 for each in found]),
        any_top5=means.of(name + "any_top5", [each.any_top5 for each in found]),
        most_top1=means.of(name + "most_top1", [each.most_top1 for each in found]),
        most_top5=means.of(name + "most_top5", [each.most_top5 for each in found]),
        cell_share=means.of(name + "cell_share", [each.cell_share for each in found]),
        background_share=means.of(name + "background_share", [each.background_share or 0.0 for each in found]),
        with_background=sum(each.background_share is not None for each in found),
    )


def _errors(images: Images, means: _Means) -> tuple[Recoverable, ErrorCauses]:
    wrong = [image for image in images if image.cause is not None]
    causes = [image.cause for image in wrong]
    margins = [image.margin for image in wrong if image.margin is not None]
    for cause in CAUSES:
        means.of(f"error_causes.{cause}", [own == cause for own in causes])
    recoverable = [bool(image.recoverable) for image in wrong]
    return (
        Recoverable(
            images=sum(recoverable),
            of=len(wrong),
            share=means.of("recoverable.share", recoverable),
            margin=MeanMargin(
                _plain_mean([each.foreground for each in margins]), _plain_mean([each.background for each in margins])
            ),
        ),
        ErrorCauses(**{cause: causes.count(cause) for cause in CAUSES}),
    )


def _background(images: Images, means: _Means) -> BackgroundFigures | None:
    known = [(image.right, image.background) for image in images if image.background is not None]
    if not known:
        return None
    shares = [each.share for _, each in known]
    of_right = [each.share for right, each in known if right and each.share is not None]
    wrong = [each for right, each in known if not right]
    return BackgroundFigures(
        images=sum(share is not None for share in shares),
        share=means.of("background_reliance", shares),
        right=means.of("background.right", of_right),
        wrong=means.of("background.wrong", [each.share for each in wrong]),
        centred_box=means.of("background.centred_box", [each.centred for _, each in known]),
        random_box=means.of("background.random_box", [each.random for _, each in known]),
        right_mostly_background=sum(share > 0.5 for share in of_right),
        only_background_errors=sum(each.only_background for each in wrong),
    )


def _edges(images: Images, means: _Means) -> EdgeFigures | None:
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


def _calibration(images: Images) -> CalibrationFigures:
    confidences = [image.confidence for image in images]
    found = calibration(confidences, [image.right for image in images])
    return CalibrationFigures(
        ece=found.ece,
        bins=found.bins,
        confidence=float(np.mean(confidences)),
        brier=_plain_mean([image.brier for image in images]),
        nll=_plain_mean([image.nll for image in images]),
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
    groups: dict[int, list[tuple[ImageMeasures, int]]] = {}
    for image in images:
        for label, rank in zip(image.labels, image.ranks, strict=True):
            groups.setdefault(label, []).append((image, rank))
    return tuple(_class_row(index, groups[index]) for index in sorted(groups))


def _class_row(index: int, own: Sequence[tuple[ImageMeasures, int]]) -> ClassRow:
    """A class's row from its images and its rank in each."""
    seen = [image.foreground for image, _ in own if image.foreground is not None]
    errors = Counter(image.prediction for image, _ in own if not image.right)
    return ClassRow(
        index=index,
        images=len(own),
        top1=_plain_mean([rank < 1 for _, rank in own]),
        top5=_plain_mean([rank < 5 for _, rank in own]),
        any_top1=_plain_mean([each.any_top1 for each in seen]),
        cell_share=_plain_mean([each.cell_share for each in seen]),
        most_confused=tuple(sorted(errors.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSED]),
    )


def _plain_mean(values: Sequence[float | bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
