"""`PredictionGrid`: what one head says of a batch of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.placeless import placeless_share
from onnx_gapmil.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class PredictionGrid:
    """Class evidence by cell, and the logits that are its mean over cells. None for what was not asked for.

    The cells of a volume have the axes (D, H, W), those of a clip (T, H, W), those of a signal (1, T).

    Attributes:
        output: the vendor's output that the head ends in.
        logits: (N, K), in the type that the model computes; of a repooled model what it answers by, which is another
            aggregator of the cells than their mean (`HeadRecord.pool`).
        mean: (N, K), of a repooled model the vendor's logits, which are the mean over the model's own cells; None of
            others, whose `logits` are that.
        grid: (N, K, H, W); under the "contribution" readout `grid.mean((2, 3))` is the vendor's logits up to rounding.
        features: the feature grid (N, C, H, W).
        argmax: the best class of each cell, (N, H, W) int64.
        certainty: softmax share of the best class in each cell, (N, H, W), 0 to 1; the sigmoid where K is 1.
        peaks: the best cell of each class, (N, K) int64, numbered in row-major order: row * W + column.
        topk_classes: the image's best classes by its logits, best first, (N, k) int64.
        topk_grid: their grid, (N, k, H, W).
        classes_grid: the grid of chosen classes, (N, len, H, W).
        scores: image-level scores (N, K) of other aggregators, by `Aggregator.key`.
        placeless: (N, K), of a head that reads a class token the part of the logits that no place brings, which every
            cell has alike.
    """

    output: str
    logits: Array
    grid: Array | None = None
    features: Array | None = None
    argmax: Array | None = None
    certainty: Array | None = None
    peaks: Array | None = None
    topk_classes: Array | None = None
    topk_grid: Array | None = None
    classes_grid: Array | None = None
    scores: Mapping[str, Array] = field(default_factory=dict)
    placeless: Array | None = None
    mean: Array | None = None

    def placeless_share(self, *, independent: bool) -> Array | None:
        """How much of each answer no place brings, (N,) from 0 to 1 (`onnx_gapmil.aggregate.placeless`).

        Args:
            independent: whether the classes do not compete, as with a sigmoid.

        Returns:
            None of a head that reads no class token.
        """
        if self.placeless is None:
            return None
        return placeless_share(self.logits, self.placeless, independent=independent)

    def first(self, count: int) -> PredictionGrid:
        """The same of the first images of the batch."""
        arrays: dict[str, Any] = {
            entry.name: None if getattr(self, entry.name) is None else getattr(self, entry.name)[:count]
            for entry in fields(self)
            if entry.name not in ("output", "scores")
        }
        scores = {key: array[:count] for key, array in self.scores.items()}
        return PredictionGrid(self.output, **arrays, scores=scores)

    def mean_residual(self) -> float:
        """``max |mean over cells of the grid - logits| / max |logits|``, computed in float64.

        NaN where the model computes NaN; the absolute difference where all logits are 0.

        Raises:
            InputError: there is no grid.
        """
        if self.grid is None:
            raise InputError(f"the whole grid of {self.output!r} was not asked for, so it has no mean.")
        logits = self.logits.astype(np.float64)
        cells = self.grid.astype(np.float64).reshape(*self.grid.shape[:2], -1)
        difference = np.abs(cells.mean(axis=2) - logits).max()
        scale = np.abs(logits).max()
        return float(difference / scale) if scale != 0 else float(difference)
