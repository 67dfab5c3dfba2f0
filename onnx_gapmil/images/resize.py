"""The interpolation rules: a picture made small by another library is another input.

At 4000x3000 -> 224x224 OpenCV's bilinear and Pillow's (which torchvision and timm use) differ by about 20
grey levels on average, because Pillow widens its filter by the scale (antialiasing) and OpenCV does not.
`docs/preprocessing.md` says which library's function each rule equals, and how closely.
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_gapmil.images.tensorflow import TENSORFLOW_RULES, tensorflow_resize

Interpolation = Literal[
    "bilinear",
    "bicubic",
    "area",
    "nearest",
    "bilinear-antialias",
    "bicubic-antialias",
    "lanczos-antialias",
    "nearest-exact",
    "bilinear-tf1",
    "bicubic-tf1",
    "bicubic-tf2",
]
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
    "lanczos-antialias": Image.Resampling.LANCZOS,
    "nearest-exact": Image.Resampling.NEAREST,
}


def resize(image: npt.NDArray[np.uint8], size: tuple[int, int], interpolation: Interpolation) -> npt.NDArray[np.uint8]:
    """Resize to exactly `size`.

    Args:
        image: (H, W) or (H, W, 3), uint8.
        size: (height, width) of the result.
        interpolation: by whose rule.

            - "bilinear", "bicubic", "area", "nearest": OpenCV's `cv2.resize`, without antialiasing;
            - "bilinear-antialias", "bicubic-antialias", "lanczos-antialias": Pillow's `Image.resize`, and so
              torchvision's and timm's;
            - "nearest-exact": Pillow's nearest, by the pixels' centres; also TensorFlow 2's;
            - "bilinear-tf1", "bicubic-tf1": TensorFlow 1's `tf.image.resize_*` with `align_corners=False`;
            - "bicubic-tf2": TensorFlow 2's `tf.image.resize(method="bicubic")`, without antialiasing.

    Returns:
        (height, width) or (height, width, 3), uint8, rounded to the nearest grey level. An image that has the
        size already is returned as it is.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if interpolation in _PILLOW:
        small = Image.fromarray(image).resize((width, height), _PILLOW[interpolation])
        return np.asarray(small, dtype=np.uint8)
    if interpolation in TENSORFLOW_RULES:
        return tensorflow_resize(image, size, interpolation)
    contiguous = np.ascontiguousarray(image)
    return np.asarray(cv2.resize(contiguous, (width, height), interpolation=_OPENCV[interpolation]), dtype=np.uint8)


def resize_levels(
    image: npt.NDArray[np.float32], size: tuple[int, int], interpolation: Interpolation
) -> npt.NDArray[np.float32]:
    """Resize levels in single precision by the rules of `resize`, without rounding.

    Args:
        image: (H, W) or (H, W, 3), float32 in 0..255.
        size: (height, width) of the result.
        interpolation: by whose rule.

    Returns:
        (height, width) or (height, width, 3), float32, clipped to 0..255, where a cubic kernel overshoots.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if interpolation in _PILLOW:  # which resizes one plane of floats at a time
        planes = [image] if image.ndim == 2 else list(np.moveaxis(image, 2, 0))
        small = [
            np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), _PILLOW[interpolation]))
            for plane in planes
        ]
        made = small[0] if image.ndim == 2 else np.stack(small, axis=2)
    elif interpolation in TENSORFLOW_RULES:
        return tensorflow_resize(image, size, interpolation)
    else:
        made = np.asarray(
            cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=_OPENCV[interpolation])
        )
    clipped: npt.NDArray[np.float32] = np.clip(made, 0.0, 255.0).astype(np.float32)
    return clipped
