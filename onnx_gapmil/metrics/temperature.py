"""By which one number the logits would have to be divided for their probabilities to be right as often as they say.

Temperature scaling (Guo et al., arXiv 1706.04599) changes no answer, only how sure it sounds. Here it is measured, and
not applied: a mean over other cells than the network was trained with may be too sure or not sure enough.

Each image's negative log-likelihood is kept on a ladder of temperatures, so that the best one is found from records
alone: the lowest mean, refined by the parabola through it and its neighbours over log T.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: From a quarter to four, by fourths of an octave.
LADDER: npt.NDArray[np.float64] = 2.0 ** (np.arange(-8, 9) / 4)
_ONE = int(np.flatnonzero(LADDER == 1.0)[0])


@dataclass(frozen=True)
class Temperature:
    """The temperature of the least mean negative log-likelihood, on the images that it was found on.

    Attributes:
        value: what logits are to be divided by: above 1 they are too sure as they are.
        nll: the mean negative log-likelihood at temperature 1.
        nll_at_value: the same at this one.
    """

    value: float
    nll: float
    nll_at_value: float


def likelihood_ladder(logits: npt.NDArray[np.float64], label: int) -> tuple[float, ...]:
    """``-log softmax(z / T)_label`` for each T of `LADDER`.

    Args:
        logits: (K,).
        label: the true class.
    """
    scaled = (logits - logits.max())[None, :] / LADDER[:, None]
    found = np.log(np.exp(scaled).sum(axis=1)) - scaled[:, label]
    return tuple(float(value) for value in found)


def best_temperature(ladders: Iterable[Sequence[float]]) -> Temperature | None:
    """The best one for all images; None where there are none.

    Args:
        ladders: of each image, as `likelihood_ladder` gives it.
    """
    sums = LadderSums()
    for ladder in ladders:
        sums.add(ladder)
    return sums.best()


class LadderSums:
    """Sums of ladders, which are added image by image."""

    def __init__(self) -> None:
        self._images, self._sums = 0, np.zeros(len(LADDER))

    def add(self, ladder: Sequence[float]) -> None:
        """Add that of the next image."""
        self._sums += ladder
        self._images += 1

    def best(self) -> Temperature | None:
        """The best temperature for all images; None where there are none."""
        return _best(self._sums / self._images) if self._images else None


def _best(means: npt.NDArray[np.float64]) -> Temperature:
    """That of the lowest of the means by the ladder's temperatures, and between its neighbours."""
    best = int(means.argmin())
    if best in (0, len(means) - 1):  # at an end of the ladder: further out would be better still
        return Temperature(float(LADDER[best]), float(means[_ONE]), float(means[best]))
    left, middle, right = means[best - 1 : best + 2]
    bend = left - 2 * middle + right
    off = 0.0 if bend <= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))
    value = float(LADDER[best] * 2.0 ** (off / 4))
    return Temperature(value, float(means[_ONE]), float(middle - 0.25 * (left - right) * off))
