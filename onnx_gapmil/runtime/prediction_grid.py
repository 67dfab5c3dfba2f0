"""`PredictionGrid`: what one head says of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class PredictionGrid:
    """Class evidence by cell, and the logits that are its mean over cells.

    Attributes:
        output: the vendor's output that the head ends in.
        logits: (N, K), in the type that the model computes.
        grid: (N, K, H, W); under the "contribution" readout `grid.mean((2, 3))` is `logits` up to rounding.
        features: the feature grid (N, C, H, W); None unless asked for.
    """

    output: str
    logits: npt.NDArray[Any]
    grid: npt.NDArray[Any]
    features: npt.NDArray[Any] | None = None

    def mean_residual(self) -> float:
        """Return max |mean over cells of the grid - logits| / max |logits|, computed in float64.

        NaN where the model computes NaN; the absolute difference where all logits are 0.
        """
        logits = self.logits.astype(np.float64)
        difference = np.abs(self.grid.astype(np.float64).mean(axis=(2, 3)) - logits).max()
        scale = np.abs(logits).max()
        return float(difference / scale) if scale != 0 else float(difference)
