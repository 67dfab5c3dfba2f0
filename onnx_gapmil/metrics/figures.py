"""The figures of a data set, as `summarise` finds them; each attribute is a key of ``summary.json``.

Shares are in 0..1. None stands for what nothing was measured for: no boxes, no masks, no image of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx_gapmil.metrics.calibration import Calibration
from onnx_gapmil.metrics.intervals import Interval
from onnx_gapmil.metrics.localization import Localization


@dataclass(frozen=True)
class MacroAccuracy:
    """Means over classes; see `macro_accuracy`."""

    top1: float
    top5: float


@dataclass(frozen=True)
class RecoveryFigures:
    """Means of `Recovery` over images.

    Attributes:
        images: with a known foreground.
        any_top1: share of them in which some foreground cell is right.
        any_top5: in which some foreground cell has a true class among its five highest.
        most_top1: in which more than half of the foreground cells are right.
        most_top5: the same for the five highest.
        cell_share: mean share of foreground cells that are right.
        background_share: mean share of the other cells that are; an image without others counts as 0.
        with_background: images that have others.
    """

    images: int
    any_top1: float | None
    any_top5: float | None
    most_top1: float | None
    most_top5: float | None
    cell_share: float | None
    background_share: float | None
    with_background: int


@dataclass(frozen=True)
class WrongRecoveryFigures(RecoveryFigures):
    """`RecoveryFigures` of images that are answered wrongly, beside what cannot know.

    Attributes:
        control_any_top1: mean over images of `rank_matched_control`: how often a class that ranks beside the label wins
            a foreground cell.
        excess: mean over images of ``any_top1`` minus control, paired; its interval is that of
            ``foreground.wrong.excess``.
    """

    control_any_top1: float | None = None
    excess: float | None = None


@dataclass(frozen=True)
class ForegroundFigures:
    """Foreground recovery, apart for images that are answered rightly and wrongly."""

    right: RecoveryFigures
    wrong: WrongRecoveryFigures


@dataclass(frozen=True)
class MeanMargin:
    """The mean of `Margin` over errors."""

    foreground: float | None
    background: float | None


@dataclass(frozen=True)
class Recoverable:
    """Errors in which a true class wins a cell on its object; whether more than chance does, `excess` says.

    Attributes:
        images: how many.
        of: errors with a known foreground.
        share: of them.
        margin: by how much, on average, the true class lost in all of these errors, and where.
    """

    images: int
    of: int
    share: float | None
    margin: MeanMargin


@dataclass(frozen=True)
class ErrorCauses:
    """Errors by their cause; see `error_cause`."""

    dilution: int
    distraction: int
    absent: int

    @property
    def total(self) -> int:
        """Errors with a known foreground."""
        return self.dilution + self.distraction + self.absent


@dataclass(frozen=True)
class BackgroundFigures:
    """Where the evidence for the predicted class lies; means of `Background`.

    Attributes:
        images: with such evidence.
        share: of it outside the object.
        right: the same of images that are answered rightly.
        wrong: of the others.
        centred_box: the baseline of a box in the centre.
        random_box: the baseline of a box anywhere.
        over_centred_box: ``share`` less ``centred_box``, paired by image; below 0 the evidence lies on the object more
            than in the middle.
        right_mostly_background: images answered rightly of whose evidence more than half lies outside.
        only_background_errors: errors whose predicted class wins no foreground cell.
    """

    images: int
    share: float | None
    right: float | None
    wrong: float | None
    centred_box: float | None
    random_box: float | None
    over_centred_box: float | None
    right_mostly_background: int
    only_background_errors: int


@dataclass(frozen=True)
class EdgeFigures:
    """Means of `Edges` over images.

    Attributes:
        images: whose grids have an inside.
        ring_cells: the outermost ring's share of cells.
        evidence: its share of the evidence for the predicted class.
        winners: its share of the cells that the predicted class wins.
        energy: its share of the energy.
        best_cell: share of images whose best cell of the predicted class lies in it.
        padding: share of the evidence that lies in letterbox padding.
    """

    images: int
    ring_cells: float | None
    evidence: float | None
    winners: float | None
    energy: float | None
    best_cell: float | None
    padding: float | None


@dataclass(frozen=True)
class CalibrationFigures(Calibration):
    """Calibration of a data set.

    Attributes:
        confidence: mean probability of the predicted class.
        brier: mean Brier score of images with one label.
        nll: mean negative log-likelihood of those.
    """

    confidence: float
    brier: float | None
    nll: float | None


@dataclass(frozen=True)
class SeveralFigures:
    """Sums of `Several` over the images with two kinds of objects or more.

    Attributes:
        images: how many.
        objects: in all of them.
        grid: found by the grid.
        top1: named by the images' first classes.
        top5: by their first five.
        top_m: by as many as there are objects.
    """

    images: int
    objects: int
    grid: int
    top1: int
    top5: int
    top_m: int


@dataclass(frozen=True)
class ClassRow:
    """One class that labels an image.

    Attributes:
        index: of the class.
        images: that it labels.
        top1: share of them in which the class itself comes first, other labels aside.
        top5: in which it is among the first five.
        any_top1: of those with a known foreground, share in which some cell on the object is right.
        cell_share: mean share of their foreground cells that are right.
        most_confused: classes predicted in its errors and how often, the most frequent first, five at most.
    """

    index: int
    images: int
    top1: float | None
    top5: float | None
    any_top1: float | None
    cell_share: float | None
    most_confused: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a data set's images say of a model.

    Attributes:
        top1: share of images of which a true class has the highest logit.
        top5: of which one is among the five highest.
        macro: the same with every class weighing as much.
        foreground: whether the cells on the object know what it is.
        recoverable: errors in which a true class wins a cell on its object.
        error_causes: why the mean failed.
        background_reliance: share of the evidence that lies outside the object.
        background: in detail, with baselines.
        edges: how loudly the outermost cells speak.
        pointing_game: share of games that the true class's best cell wins.
        pointing_game_centre: that the centre of the photo would win.
        pointing_game_excess: the first less the second, paired.
        maxboxacc_v2: MaxBoxAccV2, the mean over three IoUs.
        maxboxacc_v1: MaxBoxAcc, by the box of the largest contour, at an IoU of 0.5.
        top1_localization: the same of objects that are the image's answer as well.
        localization: all three in detail, with their baselines.
        pxap: average precision over pixels, of masks.
        calibration: whether the confidence is the accuracy.
        several_objects: how many objects are found in images with several.
        intervals: 95 % intervals by the figure's place, as in ``foreground.wrong.any_top1``.
        counts: by the same places, how many images (games, objects) a figure is of.
    """

    top1: float
    top5: float
    macro: MacroAccuracy
    foreground: ForegroundFigures | None
    recoverable: Recoverable | None
    error_causes: ErrorCauses | None
    background_reliance: float | None
    background: BackgroundFigures | None
    edges: EdgeFigures | None
    pointing_game: float | None
    pointing_game_centre: float | None
    pointing_game_excess: float | None
    maxboxacc_v2: float | None
    maxboxacc_v1: float | None
    top1_localization: float | None
    localization: Localization | None
    pxap: float | None
    calibration: CalibrationFigures
    several_objects: SeveralFigures | None
    intervals: Mapping[str, Interval]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class SuspectCount:
    """Images whose label is suspect; see `onnx_gapmil.metrics.suspects`.

    Attributes:
        images: how many.
        of: images in which a suspect was looked for.
        share: of them.
    """

    images: int
    of: int
    share: float | None


@dataclass(frozen=True)
class CentreMean:
    """What a box in the middle gets, as a mean over IoUs."""

    mean: float


@dataclass(frozen=True)
class CentreShare:
    """What a box in the middle gets, at an IoU of 0.5."""

    share: float


@dataclass(frozen=True)
class SliceOneBox:
    """The baseline of ``maxboxacc_v1`` or ``top1_localization`` in a slice.

    Attributes:
        centre_box: what a box in the middle gets.
        excess: the figure less that, paired by object.
    """

    centre_box: CentreShare
    excess: float


@dataclass(frozen=True)
class SliceLocalization:
    """The baselines of a slice's localization, and what is beyond them; places as in `Localization`.

    Attributes:
        objects: that the slice has.
        centre_box: the baseline of ``maxboxacc_v2``.
        excess: that figure less its baseline, paired by object.
        one_box: of ``maxboxacc_v1``.
        top1: of ``top1_localization``.
    """

    objects: int
    centre_box: CentreMean
    excess: float
    one_box: SliceOneBox
    top1: SliceOneBox


@dataclass(frozen=True)
class SliceCalibration:
    """Calibration of a slice.

    Attributes:
        ece: expected calibration error, which few images make larger than it is.
        confidence: mean probability of the predicted class.
    """

    ece: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class SliceFigures:
    """What the images of a slice say of a model; each figure has the name and the place that it has in `Figures`.

    Attributes:
        images: how many.
        top1: share of images of which a true class has the highest logit.
        top5: of which one is among the five highest.
        foreground: whether the cells on the object know what it is, with the control of errors.
        recoverable: errors in which a true class wins a cell on its object.
        error_causes: why the mean failed.
        background_reliance: share of the evidence that lies outside the object.
        background: in detail, with baselines.
        pointing_game: share of games that the true class's best cell wins.
        pointing_game_centre: that the centre of the photo would win.
        pointing_game_excess: the first less the second, paired.
        maxboxacc_v2: MaxBoxAccV2 of the slice's objects, each at the threshold that it has in the whole data set.
        maxboxacc_v1: MaxBoxAcc, likewise.
        top1_localization: Top-1 localization, likewise.
        localization: the baselines of the three, and what is beyond them.
        calibration: whether the confidence is the accuracy.
        suspect_labels: images whose label is suspect.
        intervals: 95 % intervals by the figure's place.
        counts: by the same places, how many images (games, objects) a figure is of.
    """

    images: int
    top1: float
    top5: float
    foreground: ForegroundFigures | None
    recoverable: Recoverable | None
    error_causes: ErrorCauses | None
    background_reliance: float | None
    background: BackgroundFigures | None
    pointing_game: float | None
    pointing_game_centre: float | None
    pointing_game_excess: float | None
    maxboxacc_v2: float | None
    maxboxacc_v1: float | None
    top1_localization: float | None
    localization: SliceLocalization | None
    calibration: SliceCalibration
    suspect_labels: SuspectCount
    intervals: Mapping[str, Interval]
    counts: Mapping[str, int]
