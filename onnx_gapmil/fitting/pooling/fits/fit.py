"""What every fit can do, and what they share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.fitting.pooling.likelihood import Rows

Array = npt.NDArray[np.float64]
Stored = npt.NDArray[np.float32]

#: Images by which cells and features are standardised.
SAMPLED = 512


class Fit(Protocol):
    """Logits of images as a function of parameters.

    Attributes:
        tied: (D,), 1 for each parameter that the ridge ties to 0, else 0; the fit begins at 0.
        width: numbers that the work on one image holds at a time, by which images are taken in parts.
    """

    tied: Array
    width: int

    def logits(self, rows: Rows, values: Array) -> tuple[Array, Any]:
        """(n, K) float64 of some images, and what `slope` needs of the way."""
        ...

    def slope(self, rows: Rows, values: Array, way: Any, slope: Array) -> Array:
        """(D,), the slope by the parameters from that by the logits, (n, K), summed over images."""
        ...

    def penalty(self, values: Array) -> tuple[float, Array]:
        """What a fit pays beside its ridge, and the slope of that."""
        ...

    def pool(self, values: Array) -> FittedPool:
        """The pool that parameters make."""
        ...


def spread_of(values: npt.NDArray[Any], alone: bool) -> float:
    """Standard deviation of logits (n, K, ...), of those that are ranked against each other about their mean."""
    numbers = np.asarray(values, dtype=np.float64)
    if not alone:
        numbers = numbers - numbers.mean(axis=1, keepdims=True)
    return max(float(numbers.std()), 1e-6)


class Reader:
    """Rows of what is stored, in float64; the last ones are kept, since a fit to few images asks for the same again."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._rows: Rows | None = None
        self._held = np.empty(0)

    def __call__(self, rows: Rows) -> Array:
        """Of some images, by their places."""
        if self._rows is None or not np.array_equal(self._rows, rows):
            self._held = self._stored[rows].astype(np.float64)
            self._rows = rows
        return self._held
