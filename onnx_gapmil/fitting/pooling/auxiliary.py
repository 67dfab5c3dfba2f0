"""Simple auxiliary classifiers: a linear layer on a pooled earlier map, fitted by itself (arXiv 2606.14926).

The paper trains them with the net; here the trunk stays, so that each is a logistic regression on the map's means, with
a ridge by folds. A class that labels no image of the fit has no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.fitting.pooling.biases import Biases
from onnx_gapmil.fitting.pooling.fits.layer import Head
from onnx_gapmil.fitting.pooling.likelihood import Likelihood, Rows
from onnx_gapmil.fitting.pooling.solving import solve, tuned
from onnx_gapmil.fitting.pooling.splitting import deal

Array = npt.NDArray[np.float64]

#: Folds of the images of a fit, by which its ridge is found.
_INNER = 4


@dataclass(frozen=True, eq=False)
class AuxiliaryClassifier:
    """A classifier of a pooled map.

    Attributes:
        weight: (K, C); rows of classes that it does not know are 0.
        offset: (K,).
        classes: those that it knows.
        ridge: how strongly it is tied to 0; infinite where it knows nothing: then all of it is 0.
        costs: by each ridge that was tried the mean cost of images that the fits did not see; empty where it was given.
        converged: whether L-BFGS ended for there was nothing to gain.
    """

    weight: Array
    offset: Array
    classes: npt.NDArray[np.intp]
    ridge: float
    costs: Mapping[str, float]
    converged: bool

    @property
    def knows(self) -> bool:
        """Whether there is anything in it."""
        return bool(np.isfinite(self.ridge))

    def logits(self, pooled: npt.NDArray[np.floating]) -> Array:
        """(n, K) of means (n, C); 0 of classes that it does not know."""
        return np.asarray(pooled, dtype=np.float64) @ self.weight.T + self.offset


def fit_auxiliary(
    pooled: npt.NDArray[np.float32],
    likelihood: Likelihood,
    groups: npt.NDArray[np.intp],
    strata: npt.NDArray[np.intp],
    rows: Rows,
    *,
    ridge: float | None,
    seed: int,
) -> AuxiliaryClassifier:
    """Fit one to some images.

    Args:
        pooled: (N, C), the map's means.
        likelihood: of all images' labels.
        groups: (N,), images of one group stay in one fold.
        strata: (N,), the class by which they are dealt.
        rows: the images of the fit.
        ridge: how strongly it is tied to 0; found by folds of these if None.
        seed: of the folds.
    """
    known = Biases.of(likelihood, rows).classes
    own = Likelihood(likelihood.truth[:, known], likelihood.alone, likelihood.judged[known])
    features = pooled[:, :, None]
    count, channels = len(known), pooled.shape[1]
    nothing = (np.zeros((count, channels)), np.zeros(count))
    scores = np.zeros((len(pooled), count), dtype=np.float32)

    def make(seen: Rows) -> Head:
        # A class that is missing from a fold's images moves by its ridge alone.
        every = Biases(np.arange(count), count, not likelihood.alone)
        return Head(features, scores, nothing, Aggregator("mean"), every, seen, scale=1.0, bias=np.zeros(count))

    costs: dict[str, float] = {}
    if ridge is None:
        # An image whose labels are of other classes says nothing by a softmax over these; there is none in the fit.
        folds = deal(groups[rows], strata[rows], _INNER, seed)
        ridge, costs = tuned(make, own, rows, folds)
    fit = make(rows)
    solution = solve(fit, own, rows, ridge)
    arrays = fit.pool(solution.values).arrays
    weight, offset = np.zeros((likelihood.truth.shape[1], channels)), np.zeros(likelihood.truth.shape[1])
    weight[known], offset[known] = arrays["weight"], arrays["offset"]
    return AuxiliaryClassifier(weight, offset, known, ridge, costs, solution.converged)
