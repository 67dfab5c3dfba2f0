"""Fits to the scores of aggregators: their temperature, and weights over several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.fitting.pooling.biases import Biases
from onnx_gapmil.fitting.pooling.fits.fit import Array, Reader, Stored, spread_of
from onnx_gapmil.fitting.pooling.likelihood import Rows


class Calibration:
    """``z = exp(t) S + b``: temperature and class biases of one aggregator.

    The classes' own biases are tied; the temperature is, to 1, by as much as one image weighs: of few images that the
    scores tell apart without an error it would go to 0.
    """

    def __init__(self, scores: Stored, aggregator: Aggregator, biases: Biases, images: int) -> None:
        """Nothing is read yet.

        Args:
            scores: (N, K), the aggregator's logits.
            aggregator: which.
            biases: the classes with one.
            images: of the fit.
        """
        self._firm = 1.0 / images
        self._scores, self._aggregator, self._biases = Reader(scores), aggregator, biases
        self.tied = np.append(0.0, biases.tied)
        self.width = scores.shape[1]

    def logits(self, rows: Rows, values: Array) -> tuple[Array, Any]:
        """See `Fit`."""
        scaled = self.scale(values) * self._scores(rows)
        return scaled + self._biases.spread(values[1:]), scaled

    def slope(self, rows: Rows, values: Array, way: Any, slope: Array) -> Array:
        """See `Fit`."""
        return np.append((slope * way).sum(), self._biases.gathered(slope.sum(axis=0)))

    def penalty(self, values: Array) -> tuple[float, Array]:
        """``t^2 / 2`` of the temperature's logarithm, spread over the images."""
        slope = np.zeros_like(values)
        slope[0] = self._firm * values[0]
        return 0.5 * self._firm * float(values[0]) ** 2, slope

    def scale(self, values: Array) -> float:
        """What the scores are multiplied by: 1 over the temperature."""
        return float(np.exp(values[0]))

    def bias(self, values: Array) -> Array:
        """(K,)."""
        return self._biases.spread(values[1:])

    def pool(self, values: Array) -> FittedPool:
        """See `Fit`."""
        arrays = {"scale": np.array([self.scale(values)]), "bias": self.bias(values)}
        return FittedPool("calibrated", (self._aggregator,), arrays)


class Mix:
    """``z = sum_m (w_m + d_m / s_m) S_m + b``: weights over aggregators, tied to the calibrated mean's."""

    def __init__(
        self,
        scores: Stored,
        aggregators: Sequence[Aggregator],
        biases: Biases,
        rows: Rows,
        *,
        scale: float,
        bias: Array,
        alone: bool,
    ) -> None:
        """Nothing is fitted yet.

        Args:
            scores: (N, M, K).
            aggregators: M of them, the mean first.
            biases: the classes with one.
            rows: the images of the fit, by which scores are standardised.
            scale: of the calibrated mean.
            bias: (K,) of the calibrated mean.
            alone: each class is read by itself.
        """
        self._scores, self._aggregators, self._biases = Reader(scores), tuple(aggregators), biases
        self._deviations = np.array([spread_of(scores[rows, place], alone) for place in range(len(aggregators))])
        self._base = np.zeros(len(aggregators))
        self._base[0] = scale
        self._bias = bias
        self.tied = np.append(np.ones(len(aggregators)), biases.tied)
        self.width = scores.shape[1] * scores.shape[2]

    def _weights(self, values: Array) -> Array:
        return np.asarray(self._base + values[: len(self._base)] / self._deviations)

    def logits(self, rows: Rows, values: Array) -> tuple[Array, Any]:
        """See `Fit`."""
        scores = self._scores(rows)
        found = np.matmul(self._weights(values), scores)
        return found + self._bias + self._biases.spread(values[len(self._base) :]), scores

    def slope(self, rows: Rows, values: Array, way: Any, slope: Array) -> Array:
        """See `Fit`."""
        by_weight = np.matmul(way, slope[:, :, None]).sum(axis=(0, 2)) / self._deviations
        return np.append(by_weight, self._biases.gathered(slope.sum(axis=0)))

    def penalty(self, values: Array) -> tuple[float, Array]:
        """None."""
        return 0.0, np.zeros_like(values)

    def pool(self, values: Array) -> FittedPool:
        """See `Fit`."""
        bias = self._bias + self._biases.spread(values[len(self._base) :])
        return FittedPool("mix", self._aggregators, {"scale": self._weights(values), "bias": bias})
