"""One data set at several input sizes, or with a stitched grid: what changes, each beside the first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.columns import RunColumns
from onnx_gapmil.files.columns import known
from onnx_gapmil.files.texts import Texts
from onnx_gapmil.files.wording import percent, points, points_range
from onnx_gapmil.metrics import summarise
from onnx_gapmil.metrics.accuracy import share_of_right
from onnx_gapmil.metrics.intervals import Interval
from onnx_gapmil.metrics.means import seed_of
from onnx_gapmil.metrics.paired import mirrored_mean, paired_difference
from onnx_gapmil.metrics.summary import measured_boxes
from onnx_gapmil.metrics.temperature import LadderSums, Temperature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from onnx_gapmil.auditing.records import ImageRecord
    from onnx_gapmil.metrics.columns import ImageNumbers, MeasuredImages


@dataclass(frozen=True)
class Difference:
    """A figure less that of the first row, on the same images.

    Attributes:
        value: the difference.
        interval: its 95 % interval, paired by image (by object, of boxes).
    """

    value: float
    interval: Interval


@dataclass(frozen=True)
class Measured:
    """One of the runs that are compared.

    Attributes:
        size: (height, width) of the input in pixels.
        stitch: how many times as fine as the model's own the grid is.
        grid: (rows, columns) of it.
        folder: where its own results are, in the result folder; "" for those of the folder itself.
        records: of the images that were measured.
        note: what is to be said of the size; "" for nothing.
    """

    size: tuple[int, int]
    stitch: int
    grid: tuple[int, int]
    folder: str
    records: Sequence[ImageRecord]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SizeFigures:
    """What was measured at one size. The images are those that could be measured at every size.

    Attributes:
        size: (height, width) of the input in pixels.
        stitch: how many times as fine as the model's own the grid is, along each axis.
        grid: (rows, columns) of it.
        folder: where all results of this size are, in the result folder; "" for the folder itself.
        note: what is to be said of the size.
        images: how many.
        top1: share that is answered rightly.
        top1_difference: to the first row; None of that, and of a stitched grid of its size, whose answers are the same.
        top5: share of which a true class is among the first five.
        ece: calibration error.
        temperature: what the logits would have to be divided by, on these very images; None of several labels.
        label_cells: share of all cells that the label wins, on average over images.
        right_cell_share: of images answered rightly, the share of the object's cells that the label wins.
        recovery: share of errors in which the label wins a cell on the object.
        control: the same of classes that cannot know.
        excess: the first less the second.
        excess_interval: its 95 % interval.
        dilution: of the errors whose object has a known place, how many are dilution.
        distraction: how many are distraction.
        absent: of how many no cell of the object knows the label.
        pointing_game: share of objects whose best cell touches them.
        pointing_difference: to the first row.
        maxboxacc_v2: of boxes cut from the grid.
        maxboxacc_difference: to the first row.
        iou_50: share of objects boxed at an IoU of 0.5.
        box_threshold: where to cut the map, best on all objects.
        best_aggregator: the one of the highest top-1.
        best_top1: its top-1.
    """

    size: tuple[int, int]
    stitch: int
    grid: tuple[int, int]
    folder: str
    note: str
    images: int
    top1: float
    top1_difference: Difference | None
    top5: float
    ece: float
    temperature: Temperature | None
    label_cells: float | None
    right_cell_share: float | None
    recovery: float | None
    control: float | None
    excess: float | None
    excess_interval: Interval | None
    dilution: int | None
    distraction: int | None
    absent: int | None
    pointing_game: float | None
    pointing_difference: Difference | None
    maxboxacc_v2: float | None
    maxboxacc_difference: Difference | None
    iou_50: float | None
    box_threshold: float | None
    best_aggregator: str
    best_top1: float


def figures_by_size(runs: Sequence[Measured]) -> tuple[SizeFigures, ...]:
    """The figures of each run on the images that all of them have, each beside the first.

    Args:
        runs: at least one, of the same data set.

    Returns:
        One a run; empty where no image with a label was measured in all of them.
    """
    names = (Texts.of(record.image for record in run.records if record.measures.labels) for run in runs)
    common = reduce(Texts.shared, names)
    if not len(common):
        return ()
    first = _Numbers.of(runs[0].records, common)
    others = (_Numbers.of(run.records, common) for run in runs[1:])
    return tuple(_figures(run, own, runs[0], first) for run, own in zip(runs, chain((first,), others), strict=True))


@dataclass(frozen=True)
class _Numbers:
    """Of one run's images, what figures are made of."""

    columns: RunColumns
    temperature: Temperature | None

    @classmethod
    def of(cls, records: Iterable[ImageRecord], names: Iterable[str]) -> _Numbers:
        """Of those of some names, which are in the order of the records.

        Raises:
            ValueError: they are not.
        """
        ladders = LadderSums()

        def named() -> Iterator[ImageRecord]:
            left = iter(names)
            name = next(left, None)
            for record in records:
                if record.image == name:
                    name = next(left, None)
                    if record.measures.nll_ladder is not None:
                        ladders.add(record.measures.nll_ladder)
                    yield record
            if name is not None:
                raise ValueError(f"{name} does not stand where it stood in another run")

        return cls(RunColumns.of(named()), ladders.best())

    @property
    def measures(self) -> MeasuredImages:
        return self.columns.measures

    @property
    def images(self) -> ImageNumbers:
        return self.measures.images

    def top1(self, aggregator: str) -> float:
        """The share of images that an aggregator answers rightly."""
        return share_of_right(np.minimum.reduceat(self.columns.ranks[aggregator], self.images.starts) < 1)


def _figures(run: Measured, own: _Numbers, base: Measured, first: _Numbers) -> SizeFigures:
    images = own.images
    found = summarise(own.measures)
    wrong = found.foreground.wrong if found.foreground is not None else None
    causes = found.error_causes
    best = max(AGGREGATORS, key=own.top1)
    won = known(images["label_cells"]) / (run.grid[0] * run.grid[1])
    return SizeFigures(
        size=run.size,
        stitch=run.stitch,
        grid=run.grid,
        folder=run.folder,
        note=run.note,
        images=len(images),
        top1=found.top1,
        # Answers of one size are the same, however fine the grid.
        top1_difference=None if run.size == base.size else _accuracy_difference(images, first.images),
        top5=found.top5,
        ece=found.calibration.ece,
        temperature=own.temperature,
        label_cells=float(np.mean(won)) if len(won) else None,
        right_cell_share=found.foreground.right.cell_share if found.foreground is not None else None,
        recovery=wrong.any_top1 if wrong is not None else None,
        control=wrong.control_any_top1 if wrong is not None else None,
        excess=wrong.excess if wrong is not None else None,
        excess_interval=found.intervals.get("foreground.wrong.excess"),
        dilution=causes.dilution if causes is not None else None,
        distraction=causes.distraction if causes is not None else None,
        absent=causes.absent if causes is not None else None,
        pointing_game=found.pointing_game,
        pointing_difference=None if own is first else _pointing_difference(images, first.images),
        maxboxacc_v2=found.maxboxacc_v2,
        maxboxacc_difference=None if own is first else _box_difference(own.measures, first.measures),
        iou_50=found.localization.grid.shares.iou_50 if found.localization is not None else None,
        box_threshold=found.localization.grid.threshold if found.localization is not None else None,
        best_aggregator=best,
        best_top1=own.top1(best),
    )


def _accuracy_difference(images: ImageNumbers, before: ImageNumbers) -> Difference:
    new, old = images.rank < 1, before.rank < 1
    both, fixed, broken, neither = (
        int(np.count_nonzero(each)) for each in (new & old, new & ~old, old & ~new, ~(new | old))
    )
    return Difference((fixed - broken) / len(new), paired_difference(both, fixed, broken, neither))


def _pointing_difference(images: ImageNumbers, before: ImageNumbers) -> Difference | None:
    played = (images["pointing.games"] > 0) & (before["pointing.games"] > 0)
    new, old = (each["pointing.hits"][played] / each["pointing.games"][played] for each in (images, before))
    return _mean_difference(new - old, "pointing")


def _box_difference(images: MeasuredImages, before: MeasuredImages) -> Difference | None:
    """Each object at the threshold of the half that it is not in, of its own run."""
    new, old = measured_boxes(images)[1], measured_boxes(before)[1]
    # An object that only one of them sees has no partner.
    if new is None or old is None or not np.array_equal(images.objects, before.objects):
        return None
    return _mean_difference(new.v2 - old.v2, "maxboxacc")


def _mean_difference(changes: npt.NDArray[np.float64], what: str) -> Difference | None:
    if not len(changes):
        return None
    return Difference(float(np.mean(changes)), mirrored_mean(changes, seed=seed_of(f"sizes.{what}")))


def what_changes(rows: Sequence[SizeFigures]) -> list[str]:
    """Sentences on what other sizes change, each against the first; they say what was measured and no more."""
    first, lines = rows[0], list[str]()
    for row in rows[1:]:
        lines.append(f"{row_name(row)}: {'; '.join(_changes(row, first))}.")
    return lines


def localization_changes(rows: Sequence[SizeFigures]) -> list[str]:
    """Sentences on whether the grid finds objects better than the first row's, each with its interval."""
    lines = []
    for row in rows[1:]:
        changes = (("pointing game", row.pointing_difference), ("MaxBoxAccV2", row.maxboxacc_difference))
        said = [
            f"{name} {points(change.value)} points (95 % interval {points_range(change.interval)})"
            for name, change in changes
            if change is not None
        ]
        if said:
            lines.append(f"{row_name(row)} against {row_name(rows[0])}: {', '.join(said)}.")
    return lines


def row_name(row: SizeFigures) -> str:
    """``448x448``, or ``224x224 stitched``."""
    return f"{row.size[0]}x{row.size[1]}{' stitched' if row.stitch > 1 else ''}"


def _changes(row: SizeFigures, first: SizeFigures) -> list[str]:
    said = [f"{row.grid[0] * row.grid[1]} cells where {row_name(first)} has {first.grid[0] * first.grid[1]}"]
    if row.label_cells is not None and first.label_cells is not None:
        said.append(f"the label wins {percent(row.label_cells)} of them on average ({percent(first.label_cells)})")
    if row.dilution is not None and first.dilution is not None and row.stitch == first.stitch:
        said.append(f"errors by dilution {row.dilution} ({first.dilution}), absent {row.absent} ({first.absent})")
    own, other = row.temperature, first.temperature
    if own is not None and other is not None and row.stitch == first.stitch:
        sure = "less sure than it is right" if own.value < 1 else "surer than it is right"
        said.append(
            f"the mean is {sure}: its logits want the temperature {own.value:.2f} ({other.value:.2f}), which takes the "
            f"negative log-likelihood from {own.nll:.3f} to {own.nll_at_value:.3f}"
        )
    if row.box_threshold is not None and first.box_threshold is not None:
        said.append(f"boxes are best cut at {row.box_threshold:.2f} ({first.box_threshold:.2f})")
    if row.best_aggregator != "mean":
        said.append(f"the best of the fixed aggregators is {row.best_aggregator} with {percent(row.best_top1)}")
    return said
