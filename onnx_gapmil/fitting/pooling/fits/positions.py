"""Fits of weights of positions: FlexPooling, arXiv 2606.14926."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.fitting.pooling.fits.fit import SAMPLED, Array, Reader, Stored, spread_of
from onnx_gapmil.fitting.pooling.likelihood import Rows

#: What the paper's penalty of sums counts for.
_SUMS = 1.0


class Flex:
    """``z = s sum_p (1/P + d_p) x_p + b``: FlexPooling with one weight for each position, tied to 1/P."""

    def __init__(
        self,
        grids: Stored,
        size: tuple[int, int],
        rows: Rows,
        *,
        scale: float,
        bias: Array,
        alone: bool,
    ) -> None:
        """Nothing is fitted yet.

        Args:
            grids: (N, K, P).
            size: (H, W).
            rows: the images of the fit, by which cells are standardised.
            scale: of the calibrated mean.
            bias: (K,) of the calibrated mean.
            alone: each class is read by itself.
        """
        self._grids, self._size, self._scale, self._bias = Reader(grids), size, scale, bias
        sample = grids[rows[:SAMPLED]]
        self._unit = 1.0 / (scale * spread_of(sample, alone))
        self.tied = np.ones(grids.shape[2])
        self.width = grids.shape[1] * grids.shape[2]

    def _weights(self, values: Array) -> Array:
        return np.asarray(1.0 / len(values) + self._unit * values)

    def logits(self, rows: Rows, values: Array) -> tuple[Array, Any]:
        """See `Fit`."""
        cells = self._grids(rows)
        return self._scale * (cells @ self._weights(values)) + self._bias, cells

    def slope(self, rows: Rows, values: Array, way: Any, slope: Array) -> Array:
        """See `Fit`."""
        return np.asarray(self._scale * self._unit * np.matmul(slope[:, None], way).sum(axis=(0, 1)))

    def penalty(self, values: Array) -> tuple[float, Array]:
        """None."""
        return 0.0, np.zeros_like(values)

    def pool(self, values: Array) -> FittedPool:
        """See `Fit`."""
        arrays = {
            "scale": np.array([self._scale]),
            "bias": self._bias,
            "positions": self._weights(values).reshape(self._size),
        }
        return FittedPool("flex", (), arrays)


class FlexByChannel:
    """``z = s (W sum_p v_cp A_cp + o) + b``: FlexPooling with a weight for each position and channel.

    The paper's (arXiv 2606.14926, equation 2): v is free, tied to 1/P, and pays ``sum_c (sum_p v_cp - 1)^2``. Its
    published code's: ``v_c = softmax_p(u_c)``, u tied to 0.
    """

    def __init__(
        self,
        features: Stored,
        size: tuple[int, int],
        layer: tuple[Array, Array],
        rows: Rows,
        *,
        scale: float,
        bias: Array,
        by_softmax: bool,
    ) -> None:
        """Nothing is fitted yet.

        Args:
            features: (N, C, P).
            size: (H, W).
            layer: W (K, C) and o (K,), the vendor's.
            rows: the images of the fit, by which features are standardised.
            scale: of the calibrated mean.
            bias: (K,) of the calibrated mean.
            by_softmax: the code's reading, and not the paper's.
        """
        self._features, self._size, self._scale, self._bias = Reader(features), size, scale, bias
        self._weight, self._offset = layer
        self._softmax = by_softmax
        channels, positions = features.shape[1:]
        sample = features[rows[:SAMPLED]].astype(np.float64)
        moved = scale * sample.std(axis=(0, 2)) * np.sqrt((self._weight**2).mean(axis=0))
        self._units = 1.0 / np.maximum(moved, 1e-3 * max(float(moved.max()), 1e-6))
        self.tied = np.ones(channels * positions)
        self.width = channels * positions

    def _weights(self, values: Array) -> Array:
        change = self._units[:, None] * values.reshape(len(self._units), -1)
        positions = change.shape[1]
        if not self._softmax:
            return np.asarray(1.0 / positions + change)
        exponents = positions * change  # a weight moves by d/P where its exponent moves by d
        parts = np.exp(exponents - exponents.max(axis=1, keepdims=True))
        return np.asarray(parts / parts.sum(axis=1, keepdims=True))

    def _by_values(self, weights: Array, slope: Array) -> Array:
        """The slope by the parameters from that by the weights, both (C, P)."""
        if self._softmax:
            inner = (slope * weights).sum(axis=1, keepdims=True)
            return np.asarray((weights.shape[1] * self._units[:, None] * weights * (slope - inner)).ravel())
        return np.asarray((self._units[:, None] * slope).ravel())

    def logits(self, rows: Rows, values: Array) -> tuple[Array, Any]:
        """See `Fit`."""
        features = self._features(rows)
        weights = self._weights(values)
        pooled = np.einsum("ncp,cp->nc", features, weights)
        return self._scale * (pooled @ self._weight.T + self._offset) + self._bias, (features, weights)

    def slope(self, rows: Rows, values: Array, way: Any, slope: Array) -> Array:
        """See `Fit`."""
        features, weights = way
        by_pooled = self._scale * slope @ self._weight
        return self._by_values(weights, np.einsum("nc,ncp->cp", by_pooled, features))

    def penalty(self, values: Array) -> tuple[float, Array]:
        """The paper's, of sums that are not 1; those of the softmax are."""
        if self._softmax:
            return 0.0, np.zeros_like(values)
        weights = self._weights(values)
        excess = weights.sum(axis=1, keepdims=True) - 1.0
        slope = np.broadcast_to(2 * _SUMS * excess, weights.shape)
        return _SUMS * float((excess**2).sum()), self._by_values(weights, slope)

    def pool(self, values: Array) -> FittedPool:
        """See `Fit`."""
        arrays = {
            "scale": np.array([self._scale]),
            "bias": self._bias,
            "positions": self._weights(values).reshape(-1, *self._size),
            "weight": self._weight,
            "offset": self._offset,
        }
        return FittedPool("flex:softmax" if self._softmax else "flex:channel", (), arrays)
