"""Class biases of a fit: which classes have one, and what they may not learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.fitting.pooling.likelihood import Likelihood

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Biases:
    """One bias for each class that labels images of the fit; the others keep theirs.

    Where classes are ranked against each other the mean of the biases is 0: else a fit would learn that the classes
    of its images are likelier than those that it has no image of, which is a property of the data set alone. Where each
    is read by itself they have a part in common, which is free: another aggregator moves all logits alike.

    Attributes:
        classes: (J,), those with a bias.
        total: K.
        centred: whether their mean is 0.
    """

    classes: npt.NDArray[np.intp]
    total: int
    centred: bool

    @classmethod
    def of(cls, likelihood: Likelihood, rows: npt.NDArray[np.intp]) -> Biases:
        """Those of the images of a fit: of sigmoids a class needs an image without it, too."""
        truth = likelihood.truth[rows]
        known = truth.any(axis=0) & likelihood.judged
        if likelihood.alone:
            known &= ~truth.all(axis=0)
        return cls(np.flatnonzero(known), truth.shape[1], not likelihood.alone)

    @property
    def tied(self) -> Array:
        """(J,), or (1 + J,) with the part in common first: 1 for each parameter that a ridge ties to 0."""
        own = np.ones(len(self.classes))
        return own if self.centred else np.append(0.0, own)

    def spread(self, values: Array) -> Array:
        """Parameters as (K,) biases."""
        found = np.zeros(self.total)
        if len(self.classes):
            found[self.classes] = values - values.mean() if self.centred else values[0] + values[1:]
        return found

    def gathered(self, slope: Array) -> Array:
        """The slope by the parameters from that by the biases, (K,)."""
        own = slope[self.classes]
        if not self.centred:
            return np.append(own.sum(), own)
        return own - own.mean() if len(own) else own
