"""`Places`: where the cells of a grid look, in pixels of the network's input.

Coordinates are continuous, with pixel (i, j) covering [j, j+1) x [i, i+1): the centre of the first pixel is 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AxisPlaces:
    """Where cells look along one axis: cell i at ``first + i * step``.

    Attributes:
        first: centre of the first cell.
        step: from one cell's centre to the next; above 0 in reading order.
    """

    first: float
    step: float

    @classmethod
    def tiling(cls, cells: int, pixels: int) -> AxisPlaces:
        """Cells that divide the input evenly."""
        step = pixels / cells
        return cls(step / 2, step)

    def stretched(self, factor: float) -> AxisPlaces:
        """The same cells of an input that is so many times as long."""
        return AxisPlaces(self.first * factor, self.step * factor)

    def centre(self, cell: float) -> float:
        """Where a cell looks."""
        return self.first + cell * self.step

    def to_json(self) -> dict[str, float]:
        """Plain JSON types."""
        return {"first": self.first, "step": self.step}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the cells of a grid look.

    Attributes:
        known: whether that could be traced.
        input: the graph input that they look at.
        rows: of the grid's rows, down the image.
        columns: of its columns, to the right.
        depth: of a volume's slices, in voxels.
        frames: of a clip's frames, in frames of the input.
        axes: which axis of the input each of these runs along; only where that is no (rows, columns) image.
        reason: why they are not known.
        settled: whether stripes of the image are not asked, where places are not known: they show one size of it, and
            the model may do otherwise at another. Not part of the JSON: whoever opens a file traces it anew.
        attended: whether they are those of an attention's queries alone, past which no skip connection keeps the map:
            then stripes must show them, cell by cell. Not part of the JSON either.
        measured: what stripes of the image showed of ``rows`` and ``columns``
            (`onnx_gapmil.rewriting.proof.looks`); empty where none were run.
    """

    known: bool
    input: str = ""
    rows: AxisPlaces | None = None
    columns: AxisPlaces | None = None
    reason: str = ""
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    depth: AxisPlaces | None = None
    frames: AxisPlaces | None = None
    axes: Mapping[str, int] = field(default_factory=dict)
    settled: bool = False
    attended: bool = False

    @property
    def lines(self) -> dict[str, AxisPlaces]:
        """What is known of each axis of the grid that has places, in the grid's order: frames, depth, rows, columns."""
        found = {name: getattr(self, name) for name in ("frames", "depth", "rows", "columns")}
        return {name: line for name, line in found.items() if line is not None}

    @classmethod
    def unknown(cls, reason: str, *, settled: bool = False) -> Places:
        """Places that could not be traced, and why; whether no stimulus may say otherwise."""
        return cls(known=False, reason=reason, settled=settled)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, as a head has them under ``places``."""
        if not self.known:
            return {"known": False, "reason": self.reason}
        return {
            "known": True,
            "input": self.input,
            **{name: axis.to_json() for name, axis in self.lines.items()},
            **({"axes": dict(self.axes)} if self.axes else {}),
            **({"measured": {name: dict(found) for name, found in self.measured.items()}} if self.measured else {}),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Places:
        """What `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it did not.
        """
        if entry["known"] is not True:
            return cls.unknown(str(entry["reason"]))
        measured = {
            str(name): {str(key): float(value) for key, value in found.items()}
            for name, found in (entry.get("measured") or {}).items()
        }
        rows, columns, depth, frames = (_axis(entry.get(name)) for name in ("rows", "columns", "depth", "frames"))
        axes = {str(name): int(axis) for name, axis in (entry.get("axes") or {}).items()}
        name = str(entry["input"])
        return cls(True, name, rows, columns, measured=measured, depth=depth, frames=frames, axes=axes)


def _axis(entry: Mapping[str, Any] | None) -> AxisPlaces | None:
    return AxisPlaces(float(entry["first"]), float(entry["step"])) if entry is not None else None
