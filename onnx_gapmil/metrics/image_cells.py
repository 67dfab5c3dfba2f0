"""The cells of one image, in the layouts that its measures work in, each made once.

A grid comes in float32. What only compares logits (winners, ranks within a cell, maxima) is decided on these as they
are: every float32 is a float64, so that nothing changes. What sums them converts them first.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.cells import winners_along


class ImageCells:
    """The logits of one image's cells.

    Args:
        grid: (K, H, W), of any real type; K at least 2.
    """

    def __init__(self, grid: npt.ArrayLike) -> None:
        given = np.asarray(grid)
        self.grid: npt.NDArray[Any] = given if given.dtype == np.float32 else np.asarray(given, dtype=np.float64)
        """(K, H, W), float32 where it came so, else float64."""

    @classmethod
    def of(cls, grid: npt.ArrayLike | ImageCells) -> ImageCells:
        """The cells of a grid, or those that it is."""
        return grid if isinstance(grid, ImageCells) else cls(grid)

    def of_class(self, index: int) -> npt.NDArray[np.float64]:
        """(cells,): the logits of a class."""
        return self.values[:, index].astype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.grid.shape[1], self.grid.shape[2]

    @cached_property
    def by_class(self) -> npt.NDArray[Any]:
        """(K, cells), in the grid's type."""
        return self.grid.reshape(len(self.grid), -1)

    @cached_property
    def values(self) -> npt.NDArray[Any]:
        """(cells, K), contiguous, in the grid's type."""
        # OpenCV transposes in blocks, in less than half of NumPy's time.
        return np.asarray(cv2.transpose(np.ascontiguousarray(self.by_class)))

    @cached_property
    def best(self) -> npt.NDArray[np.intp]:
        """(cells,): the class of the highest logit of each cell, the first of equal ones."""
        return np.asarray(self.values.argmax(axis=1), dtype=np.intp)

    @cached_property
    def highest(self) -> npt.NDArray[Any]:
        """(cells,): that logit."""
        return self.values[np.arange(len(self.values)), self.best]

    @cached_property
    def winners(self) -> npt.NDArray[np.intp]:
        """(cells,): the class that wins each cell, -1 where several are equally high."""
        equal = self.values == self.highest[:, None]
        if np.count_nonzero(equal) == len(equal):  # as nearly always: every cell has one
            return self.best
        return winners_along(self.values, 1)
