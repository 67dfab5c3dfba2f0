"""What a proof of place found, of all axes of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx_gapmil.rewriting.proof.looks import AxisLooks, AxisName

#: Why the cells of one image look at no place in it alone.
MIXED = "the map of an image changes with the other images of its batch"


@dataclass(frozen=True)
class PlaceCheck:
    """Whether the cells of a map look where they are said to look.

    Attributes:
        rows: of its rows; None where it has one, or none is said to have a place.
        columns: of its columns.
        depth: of a volume's slices.
        frames: of a clip's frames.
        mixed: whether the map of an image is another among other images of a batch; then no axis was looked at.
        skipped: why nothing is known, as a clause; "" where something is.
        runs: how many images were run.
    """

    rows: AxisLooks | None = None
    columns: AxisLooks | None = None
    skipped: str = ""
    runs: int = 0
    depth: AxisLooks | None = None
    frames: AxisLooks | None = None
    mixed: bool = False

    @property
    def passed(self) -> bool | None:
        """True if all axes passed, False if one failed or images are mixed; None where of one nothing is known."""
        if self.mixed:
            return False
        found = [axis.passed for axis in self.axes.values()]
        return False if False in found else None if None in found or not found else True

    @property
    def measure(self) -> float | None:
        """The worst figure of both axes as a share of what is allowed of it; None where nothing is known."""
        return max((axis.measure for axis in self.axes.values() if axis.passed is not None), default=None)

    @property
    def shown(self) -> bool:
        """Whether stripes alone show that the cells look where they are said to."""
        return bool(self.passed) and all(axis.shown for axis in self.axes.values())

    @property
    def leaves_out(self) -> bool:
        """Whether the cells of an axis leave out much of what lies among them."""
        return any(axis.leaves_out for axis in self.axes.values())

    @property
    def share(self) -> float:
        """How much of what is allowed was measured, of both axes whether they tell or not."""
        return max((axis.measure for axis in self.axes.values()), default=0.0) / self.allowed

    @property
    def away(self) -> float:
        """The larger offset of both axes in cells; 0 where nothing is known."""
        return max((abs(axis.offset) for axis in self.axes.values()), default=0.0)

    @property
    def allowed(self) -> float:
        """What the measure may be."""
        return 1.0

    @property
    def reason(self) -> str:
        """Why it failed, or nothing is known, as a clause; "" where it passed."""
        if self.mixed:
            return MIXED
        return self.skipped or " and ".join(filter(None, (axis.problem(name) for name, axis in self.axes.items())))

    @property
    def detail(self) -> str:
        """How far the cells of each axis look from where is said, for people."""
        return f"{', '.join(f'{name} to {abs(axis.offset):.2f}' for name, axis in self.axes.items())} cells"

    @property
    def axes(self) -> dict[AxisName, AxisLooks]:
        """What was found of each axis that has places, in the map's order."""
        found: dict[AxisName, AxisLooks | None] = {
            "frames": self.frames,
            "depth": self.depth,
            "rows": self.rows,
            "columns": self.columns,
        }
        return {name: axis for name, axis in found.items() if axis is not None}

    @property
    def measured(self) -> dict[str, dict[str, float]]:
        """The figures of each axis, as places keep them."""
        return {name: axis.to_json() for name, axis in self.axes.items()}
