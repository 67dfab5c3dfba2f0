"""The scores of a few classes by each aggregator, to the last bit what it gives them among all."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import AGGREGATORS, OF_PROBABILITIES
from onnx_gapmil.metrics.image_cells import ImageCells

Array = npt.NDArray[np.float64]


class SomeScores:
    """Scores of classes of one image.

    Args:
        cells: of the image, K at least 2.
    """

    def __init__(self, cells: ImageCells) -> None:
        self._cells = cells
        self._of_all: dict[str, Array] = {}

    def scores(self, name: str, classes: npt.NDArray[np.intp]) -> Array:
        """Of some classes.

        Args:
            name: of the aggregator.
            classes: (n,).

        Returns:
            (n,), float64.
        """
        if name not in OF_PROBABILITIES:  # each class by itself
            return AGGREGATORS[name](self._cells.grid[classes])
        if name not in self._of_all:  # a class's probability takes the others
            self._of_all[name] = AGGREGATORS[name](self._exact)
        return self._of_all[name][classes]

    @cached_property
    def _exact(self) -> Array:
        """(K, H, W), float64."""
        return np.asarray(self._cells.grid, dtype=np.float64)
