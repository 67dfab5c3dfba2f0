"""Where each measured image stands among all: its slices, and whether its label is suspect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.records import ImageRecord, measured, measures_of
from onnx_gapmil.data.slices import Slices, columns_of, slices_of
from onnx_gapmil.metrics.intervals import is_at_chance
from onnx_gapmil.metrics.suspects import suspect_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.auditing.measuring import Run


@dataclass(frozen=True)
class Standing:
    """What only all images together say of each; places are those of the measured images, in order.

    Attributes:
        slices: which images make which slice.
        suspects: places of those whose label is suspect, the plainest first; None where that was not measured.
    """

    slices: Slices
    suspects: tuple[int, ...] | None

    def among(self, kept: Sequence[int]) -> Standing:
        """The same of some images only, by their places among those; slices that lose all of theirs are *unjudged*."""
        new = {old: place for place, old in enumerate(kept)}
        members = {
            column: {value: tuple(new[place] for place in places if place in new) for value, places in values.items()}
            for column, values in self.slices.members.items()
        }
        held = {column: {value: own for value, own in values.items() if own} for column, values in members.items()}
        columns = dict(self.slices.columns)
        for column, values in members.items():
            lost = {value: len(self.slices.members[column][value]) for value, own in values.items() if not own}
            columns[column] = replace(columns[column], unjudged=lost)
        suspects = None if self.suspects is None else tuple(new[place] for place in self.suspects if place in new)
        return Standing(Slices(held, columns), suspects)


def standing_of(run: Run) -> Standing:
    """Where the images of a run stand."""
    columns = [
        columns_of(sample.columns, record.size, record.measures.object_share)
        for sample, record in zip(run.prepared.samples, run.records, strict=True)
        if isinstance(record, ImageRecord)
    ]
    good = measured(run.records)
    slices = slices_of(columns, [record.image for record in good])
    labelled = [place for place, record in enumerate(good) if record.measures.labels]
    images = measures_of(good, labelled)
    # A model that guesses is sure of nothing: the fault is its preprocessing's or the class order's, not the labels'.
    guesses = not images or is_at_chance(sum(image.right for image in images), len(images), run.classifier.classes)
    # Of several classes in one image each is present by itself: what the rule asks, the class that wins, says nothing.
    found = None if guesses or run.classifier.reading.multi_label else suspect_images(images)
    return Standing(slices, None if found is None else tuple(labelled[place] for place in found))
