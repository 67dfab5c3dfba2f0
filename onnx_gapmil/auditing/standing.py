"""Where each measured image stands among all: its slices, and whether its label is suspect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_gapmil.auditing.records import ImageRecord, measured
from onnx_gapmil.data.slices import Slices, columns_of, slices_of
from onnx_gapmil.metrics.suspects import suspect_images

if TYPE_CHECKING:
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

    def slices_by_image(self, images: int) -> list[dict[str, str]]:
        """For each image, the value by which it is found, by column."""
        found: list[dict[str, str]] = [{} for _ in range(images)]
        for column, values in self.slices.members.items():
            for value, places in values.items():
                for place in places:
                    found[place][column] = value
        return found


def standing_of(run: Run) -> Standing:
    """Where the images of a run stand."""
    columns = [
        columns_of(sample.columns, record.size, record.measures.object_share)
        for sample, record in zip(run.prepared.samples, run.records, strict=True)
        if isinstance(record, ImageRecord)
    ]
    return Standing(slices_of(columns), suspect_images([record.measures for record in measured(run.records)]))
