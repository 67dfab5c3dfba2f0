"""From the records of all images to the figures of a comparison, as a whole and by slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnx_gapmil.files.columns import Columns, known
from onnx_gapmil.metrics.intervals import Interval, bootstrap_mean, wilson
from onnx_gapmil.metrics.means import plain_mean, seed_of
from onnx_gapmil.metrics.paired import interval_of_equal, mcnemar_p, mirrored_mean, paired_difference
from onnx_gapmil.validation.comparing.columns import PairColumns, broken, fixed, numbers_of
from onnx_gapmil.validation.comparing.records import PairRecord


@dataclass(frozen=True)
class Agreement:
    """How often both answer the same.

    Attributes:
        top1: share of images to which both give the same first class.
        top5: mean share of the first five classes that both have.
        present: of two multi-label heads, share of images of which both say that the same classes are present, of those
            that both have; None of others.
    """

    top1: float
    top5: float
    present: float | None = None


@dataclass(frozen=True)
class Flips:
    """Images that the new model answers otherwise.

    Attributes:
        count: how many.
        share: of all.
        fixed: images that the new model alone gets right; None without labels.
        broken: that the old one alone gets right; None without labels.
        unaligned: of ``count``, those where an answer is a class that the other model lacks.
        mcnemar_p: two-sided p of McNemar's exact test of fixed against broken; None without labels.
    """

    count: int
    share: float
    fixed: int | None
    broken: int | None
    unaligned: int
    mcnemar_p: float | None


@dataclass(frozen=True)
class Accuracy:
    """Top-k accuracy on the same images.

    Attributes:
        old: of the old model.
        new: of the new one.
        difference: new less old.
        interval: 95 % interval of that, paired.
    """

    old: float
    new: float
    difference: float
    interval: Interval


@dataclass(frozen=True)
class Moves:
    """Means and largest ``|new - old|`` of the aligned classes, over images."""

    mean: float
    max: float


@dataclass(frozen=True)
class DriftFigures:
    """How far the numbers moved."""

    logits: Moves
    probabilities: Moves


@dataclass(frozen=True)
class Moved:
    """Where the evidence for the answer went.

    Attributes:
        share: mean share of it that lies in other cells.
        onto_object: mean share that moved onto the object; of images with a box or mask.
        off_object: mean share that moved off it.
        net: what moved onto the object, less what moved off it.
    """

    share: float | None
    onto_object: float | None
    off_object: float | None
    net: float | None


@dataclass(frozen=True)
class GridFigures:
    """How far the evidence moved on common places; all None, with a reason, where these are not known.

    Attributes:
        correlation: mean correlation of the evidence of all aligned classes.
        winners_changed: mean share of cells that another class wins.
        moved: where the evidence for the answer went.
        images: with common places.
        averaged: of these, images of which a grid was averaged by area onto the cells of the coarser one.
        with_object: images with a known object that both see.
        reason: why the grids are not compared; None where they are.
    """

    correlation: float | None
    winners_changed: float | None
    moved: Moved
    images: int
    averaged: int
    with_object: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class PairFigures:
    """What a set of images says of two models.

    Attributes:
        images: that both answered.
        agreement: of the answers.
        flips: images that the new model answers otherwise.
        accuracy: top-1 of both; None without labels.
        accuracy_top5: top-5 of both; None without labels.
        drift: of logits and probabilities.
        grids: of the evidence.
        intervals: 95 % intervals by the figure's place, as in ``agreement.top1``.
        counts: by the figure's place, how many images it is of where that is not all of them.
    """

    images: int
    agreement: Agreement
    flips: Flips
    accuracy: Accuracy | None
    accuracy_top5: Accuracy | None
    drift: DriftFigures
    grids: GridFigures
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def figures_of(
    records: Iterable[PairRecord] | PairColumns | Columns,
    *,
    unplaced: str = "",
    same: bool = False,
    brief: bool = False,
) -> PairFigures:
    """Summarise what was measured; the same records give the same figures to the last bit.

    Args:
        records: at least one, or the numbers of at least one.
        unplaced: why the grids have no common places; "" where they have.
        same: whether both sides are one, so that no difference is a matter of chance.
        brief: leave out the intervals that take resampling.

    Raises:
        ValueError: there are no records.
    """
    numbers = numbers_of(records)
    images = len(numbers)
    if not images:
        raise ValueError("no records")
    intervals: dict[str, Interval] = {}
    agree = _count(numbers["agree"] == 1)
    intervals["agreement.top1"] = wilson(agree, images)
    intervals["flips.share"] = wilson(images - agree, images)
    accuracy = _accuracy(numbers, 1, same)
    top5 = _accuracy(numbers, 5, same)
    for name, found in (("accuracy", accuracy), ("accuracy_top5", top5)):
        if found is not None:
            intervals[f"{name}.old"] = wilson(round(found.old * images), images)
            intervals[f"{name}.new"] = wilson(round(found.new * images), images)
            intervals[f"{name}.difference"] = found.interval
    grids = _grids(numbers, unplaced)
    if not brief:
        intervals |= _resampled(numbers, same)
    return PairFigures(
        images=images,
        agreement=Agreement(agree / images, float(numbers["shared"].mean()), _present(numbers, intervals)),
        flips=_flips(numbers, images - agree),
        accuracy=accuracy,
        accuracy_top5=top5,
        drift=DriftFigures(_moves(numbers, "logits"), _moves(numbers, "probabilities")),
        grids=grids,
        intervals=intervals,
        counts=_counts(numbers),
    )


def _count(flags: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(flags))


def _positive(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values < 0.0, 0.0, values)


def _moves(numbers: Columns, kind: str) -> Moves:
    return Moves(float(numbers[f"{kind}.mean"].mean()), float(numbers[f"{kind}.max"].max()))


def _present(numbers: Columns, intervals: dict[str, Interval]) -> float | None:
    """Share of images with the same classes present, and its interval; None where that is no question."""
    same = numbers["same_present"]
    if (same < 0).any():
        return None
    equal = _count(same == 1)
    intervals["agreement.present"] = wilson(equal, len(same))
    return equal / len(same)


def _flips(numbers: Columns, count: int) -> Flips:
    labelled = numbers["old.rank"][0] >= 0
    fixes = _count(fixed(numbers)) if labelled else None
    breaks = _count(broken(numbers)) if labelled else None
    return Flips(
        count=count,
        share=count / len(numbers),
        fixed=fixes,
        broken=breaks,
        unaligned=_count((numbers["unaligned"] == 1) & (numbers["agree"] != 1)),
        mcnemar_p=mcnemar_p(fixes, breaks) if fixes is not None and breaks is not None else None,
    )


def _accuracy(numbers: Columns, k: int, same: bool) -> Accuracy | None:
    old, new = numbers["old.rank"], numbers["new.rank"]
    if (old < 0).any() or (new < 0).any():
        return None
    both = _count((old < k) & (new < k))
    fixes = _count((old >= k) & (new < k))
    breaks = _count((old < k) & (new >= k))
    images = len(old)
    interval = (0.0, 0.0) if same else paired_difference(both, fixes, breaks, images - both - fixes - breaks)
    return Accuracy((both + breaks) / images, (both + fixes) / images, (fixes - breaks) / images, interval)


def _grids(numbers: Columns, unplaced: str) -> GridFigures:
    averaged = numbers["grids.averaged"]
    images = _count(averaged >= 0)
    if not images:
        why = unplaced or "the two models see no common part of the images"
        return GridFigures(None, None, Moved(None, None, None, None), 0, 0, 0, why)
    gained = known(numbers["grids.on_object"])
    return GridFigures(
        correlation=plain_mean(numbers["grids.correlation"]),
        winners_changed=plain_mean(numbers["grids.winners_changed"]),
        moved=Moved(
            share=plain_mean(numbers["grids.moved"]),
            onto_object=plain_mean(_positive(gained)),
            off_object=plain_mean(_positive(-gained)),
            net=plain_mean(gained),
        ),
        images=images,
        averaged=_count(averaged == 1),
        with_object=len(gained),
        reason=None,
    )


def _counts(numbers: Columns) -> dict[str, int]:
    """Of how many images the figures on grids are: not all have common places, evidence or a known object."""
    with_object = len(known(numbers["grids.on_object"]))
    return {
        "grids.correlation": len(known(numbers["grids.correlation"])),
        "grids.winners_changed": _count(numbers["grids.averaged"] >= 0),
        "grids.moved.share": len(known(numbers["grids.moved"])),
        **dict.fromkeys(("grids.moved.onto_object", "grids.moved.off_object", "grids.moved.net"), with_object),
    }


def _resampled(numbers: Columns, same: bool) -> dict[str, Interval]:
    """Percentile bootstraps over images; of one model on both sides nothing could differ."""
    gained = known(numbers["grids.on_object"])
    values = {
        "agreement.top5": numbers["shared"],
        "drift.logits.mean": numbers["logits.mean"],
        "drift.probabilities.mean": numbers["probabilities.mean"],
        "grids.correlation": known(numbers["grids.correlation"]),
        "grids.winners_changed": known(numbers["grids.winners_changed"]),
        "grids.moved.share": known(numbers["grids.moved"]),
        "grids.moved.onto_object": _positive(gained),
        "grids.moved.off_object": _positive(-gained),
    }
    # Onto and off are one figure seen from two sides: their draws are the same, so that they mirror.
    seeds = {name: seed_of(name.replace("off_object", "onto_object")) for name in values}
    found = {}
    for name, entries in values.items():
        if not len(entries):
            continue
        first = float(entries[0])
        if (entries != first).any():
            found[name] = bootstrap_mean(entries, seed=seeds[name])
        elif same:  # nothing could differ
            found[name] = first, first
        elif name != "drift.logits.mean":  # which could be of any size, so that equal ones bound nothing
            least = -1.0 if name == "grids.correlation" else 0.0
            found[name] = interval_of_equal(first, len(entries), least, 1.0)
    if len(gained):
        found["grids.moved.net"] = (0.0, 0.0) if same else mirrored_mean(gained, seed=seed_of("grids.moved.net"))
    return found
