"""Colours of the report: categorical for classes, sequential for logits, greys for the page."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Color = tuple[int, int, int]
"""RGB, 0..255."""

INK: Color = (27, 31, 36)
MUTED: Color = (91, 100, 112)
HAIRLINE: Color = (217, 222, 228)
TRACK: Color = (240, 242, 245)
PAPER: Color = (255, 255, 255)
OTHER: Color = (190, 195, 202)
CAUTION: Color = (140, 74, 0)

# Okabe and Ito's set, told apart with the common colour vision deficiencies (Wong, Nature Methods 8, 2011).
# Black is left out, because it reads as an outline; yellow comes last, because it is weak on white.
CATEGORICAL: tuple[Color, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
)


_FAINT, _STRONG = 0.3, 0.8


def opacity(level: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How much of the sequential scale covers a photo: the more, the higher the value.

    Args:
        level: any shape, 0..1, clipped.
    """
    return _FAINT + (_STRONG - _FAINT) * np.clip(level, 0.0, 1.0)


def sequential(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Colour values in 0..1 (clipped) by viridis, which is perceptually uniform and keeps its order in grey.

    Args:
        values: any shape.

    Returns:
        The shape with a last axis of 3, RGB, uint8.
    """
    levels = np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
    return _viridis()[levels]


def diverging(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Colour values in -1..1 (clipped): blue below 0, near white at 0, orange above; told apart by all eyes.

    Args:
        values: any shape.

    Returns:
        The shape with a last axis of 3, RGB, uint8.
    """
    levels = np.clip(values, -1.0, 1.0)[..., None]
    middle, ends = np.array([246.0, 246.0, 246.0]), (np.array([0.0, 92.0, 175.0]), np.array([200.0, 80.0, 0.0]))
    colours = middle + np.where(levels < 0, ends[0] - middle, ends[1] - middle) * np.abs(levels)
    return np.asarray(np.rint(colours), dtype=np.uint8)


@cache
def _viridis() -> npt.NDArray[np.uint8]:
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    return np.asarray(table, dtype=np.uint8)
