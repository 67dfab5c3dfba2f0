"""Pictures made of whole-number arithmetic alone, so that every library's environment makes the same ones.

They are hard on purpose: all spatial frequencies, noise, and edges from black to white. The "soft" ones have a
quarter of the contrast, so that no kernel overshoots 0..255 and libraries that clip at different places agree.
"""

from __future__ import annotations

import functools

import numpy as np

SAMPLES = 10
"""Rows and columns of a result that are kept: the corners and evenly between."""


@functools.lru_cache(maxsize=32)
def photo(height, width, contrast="hard"):
    """(height, width, 3) uint8: a chirp, noise on a chirp, and noise on a chequerboard."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    coarse = max(1, min(height, width) // 97)
    chirp = ((x * x // (coarse * coarse * 29) + y * y // (coarse * coarse * 41)) * 5) & 255
    noise = (((x * 7919 + y * 104729) * 2654435761) >> 13) & 255
    checks = ((x // (coarse * 3) + y // (coarse * 5)) & 1) * 255
    levels = np.stack([chirp, (chirp + noise) // 2, (checks * 2 + noise) // 3], axis=2)
    return (levels if contrast == "hard" else 96 + levels // 4).astype(np.uint8)


def sampled(array):
    """(H, W, ...) to (SAMPLES, SAMPLES, ...)."""
    rows, columns = ((np.arange(SAMPLES) * (length - 1)) // (SAMPLES - 1) for length in array.shape[:2])
    return array[rows][:, columns]
