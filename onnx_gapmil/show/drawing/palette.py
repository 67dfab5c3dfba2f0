"""Colours of the report: categorical for classes, sequential for logits, greys for the page."""

from __future__ import annotations

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


def evidence(ground: npt.NDArray[np.uint8], level: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Lay the sequential scale over a grey ground, the more opaque the higher the value.

    Args:
        ground: (h, w, 3), RGB, uint8.
        level: (h, w), 0..1, clipped.
    """
    level = np.clip(level, 0.0, 1.0)
    alpha = (_FAINT + (_STRONG - _FAINT) * level)[:, :, None]
    return np.rint(ground * (1 - alpha) + sequential(level) * alpha).astype(np.uint8)


def sequential(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Colour values in 0..1 (clipped) by viridis, which is perceptually uniform and keeps its order in grey.

    Args:
        values: any shape.

    Returns:
        The shape with a last axis of 3, RGB, uint8.
    """
    levels = np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    return np.asarray(table, dtype=np.uint8)[levels]
