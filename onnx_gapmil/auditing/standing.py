"""Where each measured image stands among all: its slices, and whether its label is suspect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.data.slices import Places, Slices, columns_of, slices_of
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

    def among(self, kept: npt.NDArray[np.bool_]) -> Standing:
        """The same of some images only, by their places among those; slices that lose all of theirs are *unjudged*.

        Args:
            kept: (images,), true for those.
        """
        if kept.all():
            return self
        new = np.cumsum(kept) - 1

        def left(places: Sequence[int]) -> Places:
            own = np.asarray(places, dtype=np.intp)
            return Places(new[own[kept[own]]])

        members = {
            column: {value: left(places) for value, places in values.items()}
            for column, values in self.slices.members.items()
        }
        held = {column: {value: own for value, own in values.items() if own} for column, values in members.items()}
        columns = dict(self.slices.columns)
        for column, values in members.items():
            lost = {value: len(self.slices.members[column][value]) for value, own in values.items() if not own}
            columns[column] = replace(columns[column], unjudged=lost)
        suspects = None if self.suspects is None else tuple(int(new[place]) for place in self.suspects if kept[place])
        return Standing(Slices(held, columns), suspects)


def standing_of(run: Run) -> Standing:
    """Where the images of a run stand."""
    found = run.columns
    samples = (sample for sample, known in zip(run.prepared.samples, found.measured.tolist(), strict=True) if known)
    shares, sizes = found.numbers["measures.object_share"], found.sizes
    columns = (
        columns_of(sample.columns, (int(width), int(height)), None if share != share else float(share))
        for sample, (width, height), share in zip(samples, sizes, shares, strict=True)
    )
    slices = slices_of(columns, found.names)
    images = found.measures.images
    # A model that guesses is sure of nothing: the fault is its preprocessing's or the class order's, not the labels'.
    right = int(np.count_nonzero(images["right"] == 1))
    guesses = not len(images) or is_at_chance(right, len(images), run.classifier.classes)
    # Of several classes in one image each is present by itself: what the rule asks, the class that wins, says nothing.
    suspects = None if guesses or run.classifier.reading.multi_label else suspect_images(images)
    places = np.flatnonzero(found.labelled)
    return Standing(slices, None if suspects is None else tuple(int(places[place]) for place in suspects))
