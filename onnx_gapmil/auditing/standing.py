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


def standing_of(run: Run) -> Standing:
    """Where the images of a run stand."""
    columns = [
        columns_of(sample.columns, record.size, record.measures.object_share)
        for sample, record in zip(run.prepared.samples, run.records, strict=True)
        if isinstance(record, ImageRecord)
    ]
    good = measured(run.records)
    slices = slices_of(columns, [record.image for record in good])
    return Standing(slices, suspect_images([record.measures for record in good]))
