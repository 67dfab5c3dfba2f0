"""Pictures made of whole-number arithmetic alone, so that every library's environment makes the same ones.

They are hard on purpose: all spatial frequencies, noise, and edges from black to white. The "soft" ones have a
quarter of the contrast, so that no kernel overshoots 0..255 and libraries that clip at different places agree.
"""

from __future__ import annotations

import functools

import numpy as np

SAMPLES = 10
"""Rows and columns of a result that are kept: the corners and evenly between."""

#: (library's function, our rule, grey levels apart at most: on hard pictures, on soft ones), as documented in
#: docs/preprocessing.md. Where both are exact but one rounds to whole grey levels that is 0.5.
EQUALS = (
    ("tf.image.resize bilinear", "bilinear", 0.75, 0.75),
    ("tf.image.resize bilinear antialias", "bilinear-antialias", 1.0, 1.0),
    ("tf.image.resize bicubic", "bicubic-tf2", 0.5, 0.5),
    ("tf.image.resize bicubic antialias", "bicubic-antialias", 20.0, 1.0),
    ("tf.image.resize area", "area", 0.75, 0.75),
    ("tf.image.resize nearest", "nearest-exact", 0.0, 0.0),
    ("tf.compat.v1.image.resize_bilinear", "bilinear-tf1", 0.5, 0.5),
    ("tf.compat.v1.image.resize_bicubic", "bicubic-tf1", 0.5, 0.5),
    ("tf.compat.v1.image.resize_nearest_neighbor", "nearest", 0.0, 0.0),
    ("F.interpolate bilinear", "bilinear", 0.75, 0.75),
    ("F.interpolate bilinear antialias", "bilinear-antialias", 1.0, 1.0),
    ("F.interpolate bicubic", "bicubic", 0.6, 0.6),
    ("F.interpolate bicubic antialias", "bicubic-antialias", 20.0, 1.0),
    ("F.interpolate nearest", "nearest", 0.0, 0.0),
    ("F.interpolate nearest-exact", "nearest-exact", 0.0, 0.0),
    ("torchvision uint8 tensor bilinear antialias", "bilinear-antialias", 1.0, 1.0),
)


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
