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
        reason: why they are not known.
        measured: what stripes of the image showed of ``rows`` and ``columns``
            (`onnx_gapmil.rewriting.proof.looks`); empty where none were run.
    """

    known: bool
    input: str = ""
    rows: AxisPlaces | None = None
    columns: AxisPlaces | None = None
    reason: str = ""
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def unknown(cls, reason: str) -> Places:
        """Places that could not be traced, and why."""
        return cls(known=False, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, as a head has them under ``places``."""
        if not self.known:
            return {"known": False, "reason": self.reason}
        axes = {"rows": self.rows, "columns": self.columns}
        return {
            "known": True,
            "input": self.input,
            **{name: axis.to_json() for name, axis in axes.items() if axis is not None},
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
        rows, columns = _axis(entry.get("rows")), _axis(entry.get("columns"))
        return cls(True, str(entry["input"]), rows, columns, measured=measured)


def _axis(entry: Mapping[str, Any] | None) -> AxisPlaces | None:
    return AxisPlaces(float(entry["first"]), float(entry["step"])) if entry is not None else None
