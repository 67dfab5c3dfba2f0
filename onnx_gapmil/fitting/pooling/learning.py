"""A fit from beginning to end on some images: calibrated, its ridge found by folds of these, and solved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.fitting.pooling.biases import Biases
from onnx_gapmil.fitting.pooling.fits.layer import Head
from onnx_gapmil.fitting.pooling.fits.positions import Flex, FlexByChannel
from onnx_gapmil.fitting.pooling.fits.scores import Calibration, Mix
from onnx_gapmil.fitting.pooling.likelihood import Likelihood, Rows
from onnx_gapmil.fitting.pooling.solving import Solution, logits_of, solve, tuned
from onnx_gapmil.fitting.pooling.splitting import deal

if TYPE_CHECKING:
    from onnx_gapmil.aggregate.fitted import FittedPool
    from onnx_gapmil.fitting.pooling.fits.fit import Fit
    from onnx_gapmil.fitting.pooling.store import Stored
    from onnx_gapmil.fitting.pooling.wish import FitWish

Array = npt.NDArray[np.float64]

#: Folds of the images of a fit, by which its ridge is found.
_INNER = 4


@dataclass(frozen=True, eq=False)
class Material:
    """What is known of all images; a fit reads the rows that it may.

    Attributes:
        aggregators: M of them, the mean first.
        scores: (N, M, K), their logits.
        vendor: (N, K), the vendor's logits as its graph gives them: of a head that rounds not quite the mean's.
        likelihood: of the labels.
        groups: (N,), images of one group stay together.
        strata: (N,), the class by which they are dealt.
        size: (H, W).
        grids: (N, K, H W), where the fit reads them.
        features: (N, C, H W), where the fit reads them.
        layer: the vendor's weight (K, C) and offset (K,), where the fit reads features.
    """

    aggregators: tuple[Aggregator, ...]
    scores: Stored
    vendor: Stored
    likelihood: Likelihood
    groups: npt.NDArray[np.intp]
    strata: npt.NDArray[np.intp]
    size: tuple[int, int]
    grids: Stored | None = None
    features: Stored | None = None
    layer: tuple[Array, Array] | None = None

    def of(self, aggregator: Aggregator) -> Stored:
        """(N, K), the logits by one aggregator."""
        return self.scores[:, self.aggregators.index(aggregator)]


@dataclass(frozen=True, eq=False)
class Learned:
    """A fit.

    Attributes:
        pool: what it makes.
        fit: the fit.
        solution: its parameters.
        calibration: of the vendor's own weights, under the aggregator that the fit begins from.
        calibrated: its parameters.
        under: that aggregator.
        costs: by each ridge that was tried the mean cost of images that the fits did not see; empty where it was given.
    """

    pool: FittedPool
    fit: Fit
    solution: Solution
    calibration: Calibration
    calibrated: Solution
    under: Aggregator
    costs: Mapping[str, float]

    def answers(self, material: Material, rows: Rows) -> dict[str, Array]:
        """Logits (n, K) of some images: the vendor's, calibrated only, and fitted."""
        return {
            "vendor": material.vendor[rows].astype(np.float64),
            "calibrated": logits_of(self.calibration, rows, self.calibrated.values),
            "fitted": logits_of(self.fit, rows, self.solution.values),
        }


class Learner:
    """Fits of one kind on one set of images.

    Args:
        wish: what to fit.
        material: of all images.
        ridge: how strongly the fit is tied; found by folds of its images if None.
        seed: of these folds.
    """

    def __init__(self, wish: FitWish, material: Material, *, ridge: float | None, seed: int) -> None:
        self._wish, self._material, self._ridge, self._seed = wish, material, ridge, seed

    def learn(self, rows: Rows) -> Learned:
        """Fit to some images, and to nothing else.

        Args:
            rows: the images.
        """
        wish, material = self._wish, self._material
        folds = deal(material.groups[rows], material.strata[rows], _INNER, self._seed)
        alone = wish.kind == "calibrated"
        mean = self._calibrated(material.aggregators[0], rows, folds, self._ridge if alone else None)
        if alone:
            own = self._calibrated(wish.aggregator, rows, folds, self._ridge)
            return Learned(
                own[0].pool(own[1].values), own[0], own[1], mean[0], mean[1], material.aggregators[0], own[2]
            )
        under = wish.aggregator
        base = mean if under.name == "mean" else self._calibrated(under, rows, folds, None)

        def make(seen: Rows) -> Fit:
            if len(seen) == len(rows):
                return self._fit(seen, base[0], base[1])
            calibration = self._calibration(under, seen)
            return self._fit(seen, calibration, solve(calibration, material.likelihood, seen, base[1].ridge))

        ridge, costs = self._ridge, dict[str, float]()
        if ridge is None:
            ridge, costs = tuned(make, material.likelihood, rows, folds)
        fit = make(rows)
        solution = solve(fit, material.likelihood, rows, ridge)
        if not np.isfinite(ridge):  # then it is what is calibrated, which is the simpler pool
            fit, solution = base[0], replace(base[1], ridge=ridge)
        return Learned(fit.pool(solution.values), fit, solution, base[0], base[1], under, costs)

    def _calibration(self, aggregator: Aggregator, rows: Rows) -> Calibration:
        material = self._material
        return Calibration(material.of(aggregator), aggregator, Biases.of(material.likelihood, rows), len(rows))

    def _calibrated(
        self, aggregator: Aggregator, rows: Rows, folds: npt.NDArray[np.intp], ridge: float | None
    ) -> tuple[Calibration, Solution, dict[str, float]]:
        """Temperature and class biases of an aggregator, the ridge of these found by folds where it is not given."""
        likelihood = self._material.likelihood
        costs: dict[str, float] = {}
        if ridge is None:
            ridge, costs = tuned(lambda seen: self._calibration(aggregator, seen), likelihood, rows, folds)
        made = self._calibration(aggregator, rows)
        return made, solve(made, likelihood, rows, ridge), costs

    def _fit(self, rows: Rows, calibration: Calibration, calibrated: Solution) -> Fit:
        wish, material = self._wish, self._material
        alone = material.likelihood.alone
        scale, bias = calibration.scale(calibrated.values), calibration.bias(calibrated.values)
        biases = Biases.of(material.likelihood, rows)
        if wish.kind == "mix":
            return Mix(material.scores, material.aggregators, biases, rows, scale=scale, bias=bias, alone=alone)
        if wish.kind == "flex":
            return Flex(_held(material.grids), material.size, rows, scale=scale, bias=bias, alone=alone)
        features, layer = _held(material.features), material.layer
        if layer is None:
            raise ValueError("the vendor's layer was not read")
        if wish.kind == "head":
            return Head(
                features, material.of(wish.aggregator), layer, wish.aggregator, biases, rows, scale=scale, bias=bias
            )
        return FlexByChannel(
            features, material.size, layer, rows, scale=scale, bias=bias, by_softmax=wish.kind == "flex:softmax"
        )


def _held(array: Stored | None) -> Stored:
    if array is None:
        raise ValueError("what the fit reads was not kept")
    return array
