"""The cells along one axis of a map, and all others beside each: what combs look at, of images, volumes and clips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.images.places import AxisPlaces
    from onnx_gapmil.rewriting.proof.stimulus import Responses, Stimulus


@dataclass(frozen=True)
class OneAxis:
    """The cells along one axis of a map, and the lines of the image that they are said to look at.

    Attributes:
        stimulus: the image.
        axis: of the input.
        place: of the map: 0 for its first axis of cells, which are rows in an image.
        claim: where the cells are said to look.
    """

    stimulus: Stimulus
    axis: int
    place: int
    claim: AxisPlaces

    @property
    def cells(self) -> int:
        """How many there are."""
        return self.stimulus.size[self.place]

    @property
    def pixels(self) -> int:
        """Length of the image along the axis."""
        return self.stimulus.pixels(self.axis)

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """Places of the image in cells: 0 is the middle of the first."""
        return np.asarray((pixels - self.claim.first) / self.claim.step)

    def answers(self, found: Responses) -> Responses:
        """The same answers, with the cells of all other axes in one: (S, cells, others)."""
        return replace(found, moved=self._flat(found.moved), parts=())

    def replaced(self, chosen: Sequence[np.ndarray]) -> np.ndarray:
        """What replacing some lines of the image moves, and then others, (n, cells, others) float64.

        Args:
            chosen: for each run, which lines, (pixels,) bool.
        """
        return self._flat(self.stimulus.replaced(self.axis, chosen))

    def others(self, count: int) -> list[OneAxis]:
        """The same of so many other base images."""
        return [replace(self, stimulus=other) for other in self.stimulus.others(count)]

    def _flat(self, moved: np.ndarray) -> np.ndarray:
        ahead = np.moveaxis(moved, 1 + self.place, 1)
        return ahead.reshape(*ahead.shape[:2], -1)


def mean_of_lines(moved: np.ndarray) -> np.ndarray:
    """Root mean square over all cells beside each, (..., cells) of (..., cells, others)."""
    return np.asarray(np.sqrt(np.mean(moved**2, axis=-1)))
