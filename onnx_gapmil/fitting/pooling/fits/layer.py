"""The fit of the last linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.fitting.pooling.biases import Biases
from onnx_gapmil.fitting.pooling.fits.fit import SAMPLED, Array, Reader, Stored
from onnx_gapmil.fitting.pooling.likelihood import Rows
from onnx_gapmil.fitting.pooling.slopes import score_and_slope


class Head:
    """``z = s S((W + D) A + o + e) + b``: the last linear layer under an aggregator, tied to the vendor's.

    Only the rows of classes that label images of the fit move.
    """

    def __init__(
        self,
        features: Stored,
        scores: Stored,
        layer: tuple[Array, Array],
        aggregator: Aggregator,
        biases: Biases,
        rows: Rows,
        *,
        scale: float,
        bias: Array,
    ) -> None:
        """Nothing is fitted yet.

        Args:
            features: (N, C, P).
            scores: (N, K), of the vendor's own layer under the aggregator.
            layer: W (K, C) and o (K,), the vendor's.
            aggregator: one of `onnx_gapmil.fitting.pooling.slopes.SLOPED`.
            biases: the classes whose rows move.
            rows: the images of the fit, by which features are standardised.
            scale: of the calibrated aggregator.
            bias: (K,) of the calibrated aggregator.
        """
        self._features, self._scores, self._aggregator = Reader(features), scores, aggregator
        self._weight, self._offset = layer
        self._classes = biases.classes
        self._scale, self._bias = scale, bias
        sample = features[rows[:SAMPLED]].astype(np.float64)
        spread = sample.std(axis=(0, 2))
        self._deviations = np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-6))
        self._means = sample.mean(axis=(0, 2))
        # Changes of all features at once move a logit by one where each is 1 / sqrt(C).
        self._unit = 1.0 / (scale * np.sqrt(len(spread)))
        self.tied = np.ones(len(self._classes) * (len(spread) + 1))
        self.width = (len(spread) + 3 * len(self._classes)) * features.shape[2]

    def _change(self, values: Array) -> tuple[Array, Array]:
        """D (J, C) and e (J,)."""
        free = values.reshape(len(self._classes), -1) * self._unit
        change = free[:, :-1] / self._deviations
        return change, free[:, -1] - change @ self._means

    def logits(self, rows: Rows, values: Array) -> tuple[Array, Any]:
        """See `Fit`."""
        features = self._features(rows)
        change, shift = self._change(values)
        weight, offset = self._weight[self._classes] + change, self._offset[self._classes] + shift
        cells = weight @ features + offset[:, None]
        moved, slopes = score_and_slope(self._aggregator, cells)
        found = self._scores[rows].astype(np.float64)
        found[:, self._classes] = moved
        return self._scale * found + self._bias, (features, slopes)

    def slope(self, rows: Rows, values: Array, way: Any, slope: Array) -> Array:
        """See `Fit`."""
        features, slopes = way
        by_cell = self._scale * slope[:, self._classes, None] * slopes
        by_shift = by_cell.sum(axis=(0, 2))
        by_change = np.matmul(by_cell, features.transpose(0, 2, 1)).sum(axis=0) - by_shift[:, None] * self._means
        return np.asarray(self._unit * np.column_stack([by_change / self._deviations, by_shift])).ravel()

    def penalty(self, values: Array) -> tuple[float, Array]:
        """None."""
        return 0.0, np.zeros_like(values)

    def pool(self, values: Array) -> FittedPool:
        """See `Fit`."""
        change, shift = self._change(values)
        weight, offset = self._weight.copy(), self._offset.copy()
        weight[self._classes] += change
        offset[self._classes] += shift
        arrays = {"scale": np.array([self._scale]), "bias": self._bias, "weight": weight, "offset": offset}
        return FittedPool("head", (self._aggregator,), arrays)
