"""Intervals of images that come in groups: photos of one patient or one scene, which are alike, count together.

The cluster bootstrap (Field and Welsh, Journal of the Royal Statistical Society B 69, 2007, pages 369 to 390): groups
are drawn with replacement, as many as there are, each with all of its images, and the figure is computed anew. Where
each image is a group of its own it is the plain bootstrap of `onnx_gapmil.metrics.intervals`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.intervals import LEVEL, RESAMPLES, Interval
from onnx_gapmil.metrics.paired import interval_of_equal

Array = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]

#: Draws that are held at once, in numbers.
_CHUNK = 4_000_000


def grouped(groups: Groups) -> bool:
    """Whether some images are of one group.

    Args:
        groups: (N,), the group of each image.
    """
    return len(np.unique(groups)) < len(groups)


def drawn_weights(groups: Groups, resamples: int, seed: int) -> Iterator[Array]:
    """How often each draw has each image: all images of a group equally often.

    Args:
        groups: (N,), the group of each image.
        resamples: how many draws.
        seed: of the draws.

    Yields:
        (R, N) each, of all draws together ``resamples`` rows.
    """
    kinds, inverse = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(inverse))
    for start in range(0, resamples, step):
        drawn = rng.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=min(step, resamples - start))
        yield drawn[:, inverse].astype(np.float64)


def clustered_mean(values: npt.ArrayLike, groups: Groups, *, seed: int = 0) -> Interval:
    """95 % interval of a mean over images, by drawing groups of them.

    Args:
        values: (N,), one for each image.
        groups: (N,), the group of each.
        seed: of the draws.

    Raises:
        ValueError: there are no values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise ValueError("no values")
    if (numbers == numbers[0]).all():
        return float(numbers[0]), float(numbers[0])
    kinds, inverse = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(inverse, numbers), np.bincount(inverse).astype(np.float64)
    weights = drawn_weights(np.arange(len(kinds)), RESAMPLES, seed)
    means = np.concatenate([part @ sums / (part @ counts) for part in weights])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def clustered_difference(new: npt.ArrayLike, old: npt.ArrayLike, groups: Groups, *, seed: int = 0) -> Interval:
    """95 % interval of ``new - old`` of shares of the same images, by drawing groups of them.

    Where the two differ by the same in every image, another difference was seen in none of the groups, and the interval
    is as wide as `interval_of_equal` has it for so many.

    Args:
        new: (N,) of 0 and 1.
        old: the same.
        groups: (N,), the group of each image.
        seed: of the draws.
    """
    values = np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64)
    if (values == values[0]).all():
        return interval_of_equal(float(values[0]), len(np.unique(groups)), -1.0, 1.0)
    return clustered_mean(values, groups, seed=seed)
