"""TensorFlow's resize rules that no other library has, for models trained with them.

TensorFlow 1 puts pixel i of the result at `i * scale` of the source, where all others put its centre at
`(i + 0.5) * scale`; so a picture made four times smaller lies one and a half pixels higher and further left.
TensorFlow 2's bicubic has Keys' kernel with a = -0.5, where OpenCV's and PyTorch's have -0.75.

Sources: tensorflow/core/util/image_resizer_state.h (`LegacyScaler`, `HalfPixelScaler`), core/kernels/image/
resize_bilinear_op.cc and resize_bicubic_op.cc (whose weights are from a table of 1,024 steps, as here).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

TENSORFLOW_RULES = ("bilinear-tf1", "bicubic-tf1", "bicubic-tf2")

_TABLE_STEPS = 1024
_MAX_NUMBERS = 2**22
"""Floating-point numbers of a result that are made at once, 16 MB: large results are made in parts."""


@dataclass(frozen=True, slots=True)
class _Taps:
    """Which source pixels make each pixel of the result along one axis: both (length of the result, taps)."""

    indices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


_Pixels = TypeVar("_Pixels", np.uint8, np.float32)


def tensorflow_resize(image: npt.NDArray[_Pixels], size: tuple[int, int], rule: str) -> npt.NDArray[_Pixels]:
    """Resize by one of `TENSORFLOW_RULES`.

    TensorFlow gives floats, unclipped; these are clipped to 0..255, and of bytes rounded to the nearest grey level.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32.
        size: (height, width) of the result.
        rule: which.

    Returns:
        (height, width) or (height, width, C), of the image's type.
    """
    planes = image.reshape(image.shape[0], image.shape[1], -1)
    down, across = (_taps(rule, length, result) for length, result in zip(image.shape[:2], size, strict=True))
    result = np.empty((*size, planes.shape[2]), dtype=image.dtype)
    whole = image.dtype == np.uint8
    step = max(1, _MAX_NUMBERS // (size[1] * planes.shape[2]))
    for start in range(0, size[0], step):
        rows = _Taps(down.indices[start : start + step], down.weights[start : start + step])
        made = _weighted(planes, rows, across)
        result[start : start + step] = np.clip(np.rint(made) if whole else made, 0, 255)
    return result.reshape(*size, *image.shape[2:])


def _weighted(planes: npt.NDArray[Any], down: _Taps, across: _Taps) -> npt.NDArray[np.float32]:
    """The weighted sum over the taps of both axes, across first, as TensorFlow does: (rows, columns, C)."""
    total = np.zeros((len(down.indices), len(across.indices), planes.shape[2]), dtype=np.float32)
    for row, row_weight in zip(down.indices.T, down.weights.T, strict=True):
        line = np.zeros_like(total)
        for column, weight in zip(across.indices.T, across.weights.T, strict=True):
            line += planes[row[:, None], column] * weight[:, None]
        total += line * row_weight[:, None, None]
    return total


def _taps(rule: str, length: int, result: int) -> _Taps:
    scale = np.float32(length) / np.float32(result)
    places = np.arange(result, dtype=np.float32)
    if rule == "bilinear-tf1":
        return _bilinear(places * scale, length)
    if rule == "bicubic-tf1":
        return _bicubic(places * scale, length, a=-0.75, renormalize=False)
    return _bicubic((places + np.float32(0.5)) * scale - np.float32(0.5), length, a=-0.5, renormalize=True)


def _bilinear(places: npt.NDArray[np.float32], length: int) -> _Taps:
    """The pixel at or before each place, and the next one, clamped to the border."""
    before = np.minimum(np.floor(places).astype(np.int64), length - 1)
    share = places - before.astype(np.float32)
    indices = np.stack([before, np.minimum(before + 1, length - 1)], axis=1)
    return _Taps(indices, np.stack([1 - share, share], axis=1).astype(np.float32))


def _bicubic(places: npt.NDArray[np.float32], length: int, *, a: float, renormalize: bool) -> _Taps:
    """Two pixels on either side by Keys' kernel; beyond the border clamped, or left out and renormalized."""
    before = np.floor(places).astype(np.int64)
    share = np.rint((places - before) * _TABLE_STEPS) / _TABLE_STEPS
    distances = np.stack([1 + share, share, 1 - share, 2 - share], axis=1)
    weights = _keys(distances, a)
    wanted = before[:, None] + np.arange(-1, 3)
    indices = np.clip(wanted, 0, length - 1)
    if renormalize:
        weights = np.where(wanted == indices, weights, 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return _Taps(indices, weights.astype(np.float32))


def _keys(distance: npt.NDArray[np.float64], a: float) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel (IEEE Trans. ASSP 29(6), 1981) at distances 0..2."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)
