"""The fits: what each makes of its parameters, forwards and backwards.

Every fit begins at what it is tied to, where all tied parameters are 0, and states its change in standard deviations of
what is changed, so that one ridge is as strong for all parameters. A temperature is settled before (`Calibration`) and
stays: a free one would void the tie, since it scales any change away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.fitting.pooling.biases import Biases
from onnx_gapmil.fitting.pooling.likelihood import Rows
from onnx_gapmil.fitting.pooling.slopes import score_and_slope

Array = npt.NDArray[np.float64]
Stored = npt.NDArray[np.float32]


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


class _Reader:
    """Rows of what is stored, in float64; the last ones are kept, since a fit to few images asks for the same again."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._rows: Rows | None = None
        self._held = np.empty(0)

    def __call__(self, rows: Rows) -> Array:
        if self._rows is None or not np.array_equal(self._rows, rows):
            self._held = self._stored[rows].astype(np.float64)
            self._rows = rows
        return self._held


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
        self._scores, self._aggregator, self._biases = _Reader(scores), aggregator, biases
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
        self._scores, self._aggregators, self._biases = _Reader(scores), tuple(aggregators), biases
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
        self._grids, self._size, self._scale, self._bias = _Reader(grids), size, scale, bias
        sample = grids[rows[:_SAMPLED]]
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


#: Images by which cells and features are standardised.
_SAMPLED = 512
#: What the paper's penalty of sums counts for.
_SUMS = 1.0


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
        self._features, self._size, self._scale, self._bias = _Reader(features), size, scale, bias
        self._weight, self._offset = layer
        self._softmax = by_softmax
        channels, positions = features.shape[1:]
        sample = features[rows[:_SAMPLED]].astype(np.float64)
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
        self._features, self._scores, self._aggregator = _Reader(features), scores, aggregator
        self._weight, self._offset = layer
        self._classes = biases.classes
        self._scale, self._bias = scale, bias
        sample = features[rows[:_SAMPLED]].astype(np.float64)
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
