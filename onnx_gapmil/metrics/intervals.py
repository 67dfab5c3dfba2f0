"""Confidence intervals of what an audit prints: how much of a figure is chance of the images that were at hand.

The percentile bootstrap (Efron 1979): images are drawn with replacement, as many as there are, the figure is computed
anew, 2,000 times; the interval is what lies between the 2.5th and 97.5th percentile. Drawing n of n images is drawing
how often each distinct value occurs, so a share needs one multinomial draw for each resample and not n.

Where all values are 0, or all are 1, every resample is the same, and the percentiles would claim certainty: there
Wilson's interval of the share stands.

Seeds are fixed: the same values give the same interval, to the last bit.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
LEVEL = 0.95
Interval = tuple[float, float]

_FEW_VALUES = 256
_CHUNK = 4_000_000


def bootstrap_mean(
    values: npt.ArrayLike, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Percentile interval of a mean.

    Args:
        values: (N,), one for each image: 0 or 1 for a share, or any numbers.
        resamples: how many.
        level: of confidence.
        seed: of the draws.

    Raises:
        ValueError: there are no values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size and (numbers[0] in (0.0, 1.0)) and (numbers == numbers[0]).all():
        return wilson(int(numbers.sum()), numbers.size, NormalDist().inv_cdf((1.0 + level) / 2))
    return _percentiles(resampled_means(numbers, resamples=resamples, seed=seed), level)


def share_interval(successes: int, trials: int, *, seed: int = 0) -> Interval:
    """Percentile interval of a share; `bootstrap_mean` of that many ones among zeros.

    Raises:
        ValueError: there are no trials, or more successes than those.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is no share")
    return bootstrap_mean(np.repeat([0.0, 1.0], [trials - successes, successes]), seed=seed)


def resampled_means(values: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> npt.NDArray[np.float64]:
    """(resamples,): the means that `bootstrap_mean` takes percentiles of."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise ValueError("no values")
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(numbers, return_counts=True)
    means = np.empty(resamples)
    if distinct.size <= _FEW_VALUES:
        drawn = rng.multinomial(numbers.size, counts / numbers.size, size=resamples)
        means[:] = drawn @ distinct / numbers.size
        return means
    step = max(1, _CHUNK // numbers.size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        means[start : start + rows] = numbers[rng.integers(numbers.size, size=(rows, numbers.size))].mean(axis=1)
    return means


def bootstrap_macro(
    classes: npt.ArrayLike, right: npt.ArrayLike, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Percentile interval of the mean over classes of the share that is right.

    A class that a resample does not hold is left out of its mean. An image with several labels is drawn once for each.

    Args:
        classes: (N,), the true class of each image.
        right: (N,), whether it is right.
        resamples: how many.
        level: of confidence.
        seed: of the draws.

    Raises:
        ValueError: there are no values.
    """
    _, inverse = np.unique(np.asarray(classes), return_inverse=True)
    if inverse.size == 0:
        raise ValueError("no values")
    hits = np.asarray(right, dtype=np.intp)
    kinds, counts = np.unique(2 * inverse + hits, return_counts=True)
    number = int(inverse.max()) + 1
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _CHUNK // (2 * number))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = np.zeros((rows, 2 * number))
        drawn[:, kinds] = rng.multinomial(inverse.size, counts / inverse.size, size=rows)
        wrong, good = drawn[:, 0::2], drawn[:, 1::2]
        images = wrong + good
        shares = np.divide(good, images, out=np.zeros_like(good), where=images > 0)
        means[start : start + rows] = shares.sum(axis=1) / (images > 0).sum(axis=1)
    return _percentiles(means, level)


def is_at_chance(right: int, images: int, classes: int) -> bool:
    """Whether so many right answers are no more than guessing gives: Wilson's interval of the share holds 1 / classes
    or lies below it, and fewer than half are right (of few images all may be right, and nothing be shown).

    Args:
        right: images that are answered rightly.
        images: of how many, at least 1.
        classes: of the model, at least 2.
    """
    return 2 * right < images and wilson(right, images)[0] <= 1 / classes


def ranks_at_chance(mean_average_precision: float, low: float, chance: float) -> bool:
    """Whether labels are ranked no better than by chance: the interval of the mean average precision holds the mean
    prevalence or lies below it, and the mean is nearer to that than to 1 (of few images all may be ranked rightly, and
    nothing be shown). Of few images chance itself lies above the prevalence, so that not every guess is found.

    Args:
        mean_average_precision: as measured.
        low: the lower end of its interval.
        chance: the mean prevalence.
    """
    return low <= chance and mean_average_precision < (1 + chance) / 2


def wilson(successes: int, trials: int, z: float = 1.959963984540054) -> Interval:
    """Wilson's score interval of a share (1927), which stays in 0..1 and is right for shares of 0 and 1 as well.

    Args:
        successes: how many.
        trials: of how many.
        z: quantile of the normal distribution; 95 % by default.

    Raises:
        ValueError: there are no trials, or more successes than those.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is no share")
    share = successes / trials
    scale = 1.0 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1.0 - share) / trials + z * z / (4.0 * trials * trials))
    return (max(0.0, middle - half), min(1.0, middle + half))


def _percentiles(means: npt.NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(means, [(1.0 - level) / 2, (1.0 + level) / 2])
    return float(low), float(high)
