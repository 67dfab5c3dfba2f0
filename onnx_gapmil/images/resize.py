"""The interpolation rules: a picture made small by another library is another input.

At 4000x3000 -> 224x224 OpenCV's bilinear and Pillow's (which torchvision and timm use) differ by about 20
grey levels on average, because Pillow widens its filter by the scale (antialiasing) and OpenCV does not.
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Interpolation = Literal["bilinear", "bicubic", "area", "nearest", "bilinear-antialias", "bicubic-antialias"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)

_OPENCV = {
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
}
_PILLOW = {
    "bilinear-antialias": Image.Resampling.BILINEAR,
    "bicubic-antialias": Image.Resampling.BICUBIC,
}


def resize(image: npt.NDArray[np.uint8], size: tuple[int, int], interpolation: Interpolation) -> npt.NDArray[np.uint8]:
    """Resize to exactly `size`.

    Args:
        image: (H, W) or (H, W, 3), uint8.
        size: (height, width) of the result.
        interpolation: "bilinear", "bicubic", "area" and "nearest" are OpenCV's `cv2.resize` without
            antialiasing; "bilinear-antialias" and "bicubic-antialias" are Pillow's `Image.resize`, and so
            torchvision's and timm's on a PIL image.

    Returns:
        (height, width) or (height, width, 3), uint8. An image that has the size already is returned as it is.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if interpolation in _PILLOW:
        small = Image.fromarray(image).resize((width, height), _PILLOW[interpolation])
        return np.asarray(small, dtype=np.uint8)
    contiguous = np.ascontiguousarray(image)
    return np.asarray(cv2.resize(contiguous, (width, height), interpolation=_OPENCV[interpolation]), dtype=np.uint8)
