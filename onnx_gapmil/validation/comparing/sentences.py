"""A comparison in sentences, for people: on the terminal, and first of all on the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.files.wording import count, percent, points, points_range
from onnx_gapmil.metrics.intervals import is_at_chance

if TYPE_CHECKING:
    from onnx_gapmil.validation.comparing.result import Comparison

#: p below which fixed and broken are not taken for one coin's.
_SURE = 0.05


def sentences(found: Comparison) -> list[str]:
    """What is said of the comparison, the gravest first: of sides that guess, no more than how well they answer."""
    guesses = guess_sentence(found)
    if guesses:
        said = [guesses, verdict_sentence(found), accuracy_sentence(found)]
    else:
        said = [verdict_sentence(found), accuracy_sentence(found), evidence_sentence(found), worst_sentence(found)]
    return [sentence for sentence in said if sentence]


def guess_sentence(found: Comparison) -> str:
    """Which sides answer no better than a guess; "" where none does, without labels and of several labels at once."""
    accuracy, models = found.accuracy, found.models
    if accuracy is None or found.agreement.present is not None:
        return ""
    sides = (("old", accuracy.old, models.old), ("new", accuracy.new, models.new))
    which = [
        name
        for name, right, model in sides
        if isinstance(classes := model.grid_shape[1], int)
        and is_at_chance(round(right * found.images), found.images, max(2, classes))
    ]
    if not which:
        return ""
    who = "Both models answer" if len(which) == 2 else f"The {which[0]} model answers"
    return (
        f"{who} no better than a guess does: are the photos prepared as in training, and are the labels the model's "
        "classes? Until then no figure here says anything of what changed."
    )


def verdict_sentence(found: Comparison) -> str:
    """What changed, in counts."""
    if found.same:
        return "Both sides are the same model, read in the same way: nothing differs."
    name = new_name(found)
    flips = found.flips
    if found.agreement.present is not None:
        others = found.images - round(found.agreement.present * found.images)
        return (
            f"{name} says that other classes are present in {others:,} of {found.images:,} images; the highest class "
            f"changes in {flips.count:,}."
        )
    if not flips.count:
        return f"{name} changes none of {count(found.images, 'answer')}."
    said = f"{name} changes {flips.count:,} of {count(found.images, 'answer')}"
    if flips.fixed is None or flips.broken is None:
        return f"{said}."
    others = flips.count - flips.fixed - flips.broken
    rest = f", {others:,} neither" if others > 0 else ""
    return f"{said}: {flips.fixed:,} fixed, {flips.broken:,} broken{rest}."


def accuracy_sentence(found: Comparison) -> str:
    """Whether it is better, and whether that may be chance; "" without labels, or where both sides are one."""
    accuracy, p = found.accuracy, found.flips.mcnemar_p
    if accuracy is None or p is None or found.same:
        return ""
    moved = f"{points(accuracy.difference)} points, 95 % interval {points_range(accuracy.interval)}"
    shares = f"{percent(accuracy.old)} before, {percent(accuracy.new)} after ({moved})"
    what = "Accuracy" if found.agreement.present is None else "Images whose highest class is a label"
    if not (found.flips.fixed or found.flips.broken):
        return f"{what}: {shares}."
    chance = "more than chance" if p < _SURE else "which may be chance"
    if found.flips.fixed == found.flips.broken:
        return f"{what}: {shares}."
    way = "rises" if accuracy.difference > 0 else "falls"
    return f"{what} {way}: {shares}, {chance} (McNemar's p = {shown_p(p)})."


def evidence_sentence(found: Comparison) -> str:
    """How far the evidence moved; the reason where that is not known."""
    if found.same:
        return ""
    grids = found.grids
    if grids.reason is not None or grids.winners_changed is None:
        return f"The grids are not compared: {grids.reason}."
    said = f"Another class wins {percent(grids.winners_changed)} of the cells"
    if grids.moved.share is not None:
        said += f"; {percent(grids.moved.share)} of the evidence for the answer lies in other cells"
    if grids.moved.onto_object is not None and grids.moved.off_object is not None:
        said += f" ({percent(grids.moved.onto_object)} came onto the object, {percent(grids.moved.off_object)} left it)"
    return f"{said}."


def worst_sentence(found: Comparison) -> str:
    """The class that lost most, of those that lost more than one image; "" without labels."""
    losses = [
        (row.figures.flips.broken - row.figures.flips.fixed, row)
        for row in found.classes
        if row.figures.flips.broken is not None and row.figures.flips.fixed is not None
    ]
    most = max(losses, key=lambda entry: (entry[0], -entry[1].index), default=None)
    if most is None or most[0] < 2:
        return ""
    row = most[1]
    accuracy = row.figures.accuracy
    if accuracy is None:
        return ""
    return (
        f"The class that lost most is {row.name}: {round(accuracy.old * row.figures.images):,} of "
        f"{row.figures.images:,} right before, {round(accuracy.new * row.figures.images):,} after."
    )


def new_name(found: Comparison) -> str:
    """What the new side is called."""
    old, new = found.models.old, found.models.new
    name = Path(new.path).name
    if old.path == new.path and old.output != new.output:
        return f"Output {new.output}"
    if old.path == new.path and old.aggregator != new.aggregator:
        return f"The aggregator {new.aggregator}"
    return name


def shown_p(p: float) -> str:
    """A p-value as text."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"
