"""From the records of all images to the figures of a comparison, as a whole and by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnx_gapmil.metrics.intervals import Interval, bootstrap_mean, wilson
from onnx_gapmil.metrics.means import seed_of
from onnx_gapmil.metrics.paired import interval_of_equal, mcnemar_p, mirrored_mean, paired_difference
from onnx_gapmil.validation.comparing.records import GridDrift, PairRecord

Records = Sequence[PairRecord]


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


def figures_of(records: Records, *, unplaced: str = "", same: bool = False, brief: bool = False) -> PairFigures:
    """Summarise what was measured; the same records give the same figures to the last bit.

    Args:
        records: at least one.
        unplaced: why the grids have no common places; "" where they have.
        same: whether both sides are one, so that no difference is a matter of chance.
        brief: leave out the intervals that take resampling.

    Raises:
        ValueError: there are no records.
    """
    images = len(records)
    if not images:
        raise ValueError("no records")
    intervals: dict[str, Interval] = {}
    agree = sum(record.agree for record in records)
    intervals["agreement.top1"] = wilson(agree, images)
    intervals["flips.share"] = wilson(images - agree, images)
    accuracy = _accuracy(records, 1, same)
    top5 = _accuracy(records, 5, same)
    for name, found in (("accuracy", accuracy), ("accuracy_top5", top5)):
        if found is not None:
            intervals[f"{name}.old"] = wilson(round(found.old * images), images)
            intervals[f"{name}.new"] = wilson(round(found.new * images), images)
            intervals[f"{name}.difference"] = found.interval
    grids = _grids(records, unplaced)
    if not brief:
        intervals |= _resampled(records, same)
    return PairFigures(
        images=images,
        agreement=Agreement(agree / images, _mean([record.shared for record in records]), _present(records, intervals)),
        flips=_flips(records, images - agree),
        accuracy=accuracy,
        accuracy_top5=top5,
        drift=DriftFigures(
            Moves(_mean([record.logits.mean for record in records]), max(record.logits.max for record in records)),
            Moves(
                _mean([record.probabilities.mean for record in records]),
                max(record.probabilities.max for record in records),
            ),
        ),
        grids=grids,
        intervals=intervals,
        counts=_counts(records),
    )


def _present(records: Records, intervals: dict[str, Interval]) -> float | None:
    """Share of images with the same classes present, and its interval; None where that is no question."""
    same = [record.same_present for record in records if record.same_present is not None]
    if len(same) < len(records):
        return None
    intervals["agreement.present"] = wilson(sum(same), len(same))
    return sum(same) / len(same)


def _flips(records: Records, count: int) -> Flips:
    labelled = records[0].old.rank is not None
    fixed = sum(record.fixed for record in records) if labelled else None
    broken = sum(record.broken for record in records) if labelled else None
    return Flips(
        count=count,
        share=count / len(records),
        fixed=fixed,
        broken=broken,
        unaligned=sum(record.unaligned and not record.agree for record in records),
        mcnemar_p=mcnemar_p(fixed, broken) if fixed is not None and broken is not None else None,
    )


def _accuracy(records: Records, k: int, same: bool) -> Accuracy | None:
    ranks = [
        (record.old.rank, record.new.rank)
        for record in records
        if record.old.rank is not None and record.new.rank is not None
    ]
    if len(ranks) != len(records):
        return None
    both = sum(old < k and new < k for old, new in ranks)
    fixed = sum(old >= k > new for old, new in ranks)
    broken = sum(new >= k > old for old, new in ranks)
    images = len(ranks)
    interval = (0.0, 0.0) if same else paired_difference(both, fixed, broken, images - both - fixed - broken)
    return Accuracy((both + broken) / images, (both + fixed) / images, (fixed - broken) / images, interval)


def _grids(records: Records, unplaced: str) -> GridFigures:
    known = [record.grids for record in records if record.grids is not None]
    if not known:
        why = unplaced or "the two models see no common part of the images"
        return GridFigures(None, None, Moved(None, None, None, None), 0, 0, 0, why)
    gained = [each.on_object for each in known if each.on_object is not None]
    return GridFigures(
        correlation=_known_mean([each.correlation for each in known]),
        winners_changed=_mean([each.winners_changed for each in known]),
        moved=Moved(
            share=_known_mean([each.moved for each in known]),
            onto_object=_known_mean([max(value, 0.0) for value in gained]),
            off_object=_known_mean([max(-value, 0.0) for value in gained]),
            net=_known_mean(gained),
        ),
        images=len(known),
        averaged=sum(each.averaged for each in known),
        with_object=len(gained),
        reason=None,
    )


def _counts(records: Records) -> dict[str, int]:
    """Of how many images the figures on grids are: not all have common places, evidence or a known object."""
    known = [record.grids for record in records if record.grids is not None]
    with_object = sum(each.on_object is not None for each in known)
    return {
        "grids.correlation": sum(each.correlation is not None for each in known),
        "grids.winners_changed": len(known),
        "grids.moved.share": sum(each.moved is not None for each in known),
        **dict.fromkeys(("grids.moved.onto_object", "grids.moved.off_object", "grids.moved.net"), with_object),
    }


def _resampled(records: Records, same: bool) -> dict[str, Interval]:
    """Percentile bootstraps over images; of one model on both sides nothing could differ."""
    grids: list[GridDrift] = [record.grids for record in records if record.grids is not None]
    gained = [each.on_object for each in grids if each.on_object is not None]
    values: dict[str, Sequence[float | None]] = {
        "agreement.top5": [record.shared for record in records],
        "drift.logits.mean": [record.logits.mean for record in records],
        "drift.probabilities.mean": [record.probabilities.mean for record in records],
        "grids.correlation": [each.correlation for each in grids],
        "grids.winners_changed": [each.winners_changed for each in grids],
        "grids.moved.share": [each.moved for each in grids],
        "grids.moved.onto_object": [max(value, 0.0) for value in gained],
        "grids.moved.off_object": [max(-value, 0.0) for value in gained],
    }
    # Onto and off are one figure seen from two sides: their draws are the same, so that they mirror.
    seeds = {name: seed_of(name.replace("off_object", "onto_object")) for name in values}
    found = {}
    for name, entries in values.items():
        numbers = [value for value in entries if value is not None]
        if numbers:
            if len(set(numbers)) > 1:
                found[name] = bootstrap_mean(numbers, seed=seeds[name])
            elif same:  # nothing could differ
                found[name] = numbers[0], numbers[0]
            elif name != "drift.logits.mean":  # which could be of any size, so that equal ones bound nothing
                least = -1.0 if name == "grids.correlation" else 0.0
                found[name] = interval_of_equal(numbers[0], len(numbers), least, 1.0)
    if gained:
        found["grids.moved.net"] = (0.0, 0.0) if same else mirrored_mean(gained, seed=seed_of("grids.moved.net"))
    return found


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _known_mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
