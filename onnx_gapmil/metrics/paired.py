"""Two models on the same images: whether they differ, and by how much, from the images on which they differ.

What both get right or both get wrong says nothing of which is better; all is in the discordant ones: *fixed* (the old
model wrong, the new one right) and *broken* (the reverse).

Both functions mirror: with fixed and broken exchanged, the p-value is the same and the interval is the negative, to the
last bit.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.intervals import Interval, bootstrap_mean, wilson

#: Discordant pairs above which the sum would be of too many terms, and the normal curve is as good.
_EXACT = 20_000


def mcnemar_p(fixed: int, broken: int) -> float:
    """McNemar's exact test: two-sided p-value of a fair coin that falls ``fixed`` and ``broken`` times.

    ``min(1, 2 * sum_{i <= min(fixed, broken)} C(n, i) / 2^n)`` with n = fixed + broken; 1 where n is 0. Above 20,000
    discordant images the normal approximation with continuity correction.

    Raises:
        ValueError: a count is below 0.
    """
    if fixed < 0 or broken < 0:
        raise ValueError("counts are 0 or more")
    n, least = fixed + broken, min(fixed, broken)
    if n == 0 or 2 * least == n:
        return 1.0
    if n > _EXACT:
        return math.erfc((abs(fixed - broken) - 1) / math.sqrt(2.0 * n))
    term = total = 1
    for i in range(1, least + 1):
        term = term * (n - i + 1) // i
        total += term
    return min(1.0, float(Fraction(2 * total, 2**n)))


def paired_difference(both: int, fixed: int, broken: int, neither: int) -> Interval:
    """95 % interval of ``new - old`` accuracy on the same images.

    Newcombe's hybrid of two Wilson intervals for paired shares (Statistics in Medicine 17, 1998, method 10), which
    stays in -1..1 and is right for few discordant images, and for none.

    Args:
        both: images that both get right.
        fixed: that the new one alone gets right.
        broken: that the old one alone gets right.
        neither: that both get wrong.

    Raises:
        ValueError: there are no images.
    """
    if fixed < broken:
        low, high = paired_difference(both, broken, fixed, neither)
        return -high, -low
    n = both + fixed + broken + neither
    new, old = (both + fixed) / n, (both + broken) / n
    (new_low, new_high), (old_low, old_high) = wilson(both + fixed, n), wilson(both + broken, n)
    phi = _correlation(both, fixed, broken, neither)
    low, high = new - new_low, new_high - new
    other_low, other_high = old - old_low, old_high - old
    below = math.sqrt(max(0.0, low * low - 2 * phi * low * other_high + other_high * other_high))
    above = math.sqrt(max(0.0, high * high - 2 * phi * high * other_low + other_low * other_low))
    if fixed == broken:  # the two are one by symmetry, and differ by rounding
        below = above = max(below, above)
    difference = (fixed - broken) / n
    return max(-1.0, difference - below), min(1.0, difference + above)


def interval_of_equal(value: float, images: int, least: float, most: float) -> Interval:
    """95 % interval of a mean where all values are equal, of which resampling would say that it is certain.

    Of images like these another value was seen 0 times in N. By Clopper and Pearson (Biometrika 26, 1934) their share
    is below s = 1 - 0.025^(1/N), and such a value may be anything from ``least`` to ``most``.

    Args:
        value: of each image.
        images: how many, at least 1.
        least: the least value that there may be.
        most: the greatest.
    """
    share = -math.expm1(math.log(0.025) / images)
    return max(least, value - share * (value - least)), min(most, value + share * (most - value))


def images_to_resolve(difference: float, interval: Interval, images: int) -> int | None:
    """How many images it takes until the 95 % interval of such a difference no longer holds 0; None where it is 0.

    The interval narrows with the root of the number of images: ``N (half / difference)^2`` with half the interval's
    half width. It is what the difference would need if it were as large as was measured.

    Args:
        difference: as measured.
        interval: of it.
        images: of how many.
    """
    if difference == 0:
        return None
    return math.ceil(images * ((interval[1] - interval[0]) / 2 / difference) ** 2)


def mirrored_mean(values: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """`bootstrap_mean` of differences in -1..1, such that the negative values have the negative interval.

    Where all are equal, the interval is as wide as another difference that was never seen may make it.

    Args:
        values: (N,), one for each image.
        seed: of the draws.

    Raises:
        ValueError: there are no values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise ValueError("no values")
    if (numbers == numbers[0]).all():
        return interval_of_equal(float(numbers[0]), numbers.size, -1.0, 1.0)
    total = float(numbers.sum())
    if total < 0:
        low, high = mirrored_mean(-numbers, seed=seed)
        return -high, -low
    low, high = bootstrap_mean(numbers, seed=seed)
    if total > 0:
        return low, high
    return -max(-low, high), max(-low, high)


def _correlation(both: int, fixed: int, broken: int, neither: int) -> float:
    """Phi of the four counts, with Newcombe's continuity correction; 0 where a margin is 0."""
    margins = (both + fixed) * (broken + neither) * (both + broken) * (fixed + neither)
    if margins == 0:
        return 0.0
    excess: float = both * neither - fixed * broken
    if excess > 0:
        excess = max(excess - (both + fixed + broken + neither) / 2, 0.0)
    return excess / math.sqrt(margins)
