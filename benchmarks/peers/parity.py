"""Are the tools' maps the same thing? Differences from the prediction grid, by the formulas that link them.

``b`` is the head's answer to a map of zeros, here the bias of the linear layer; G the grid, (N, K, H, W):

- torch-cam's raw CAM of class k is ``G[:, k] - b[k]`` (arXiv 1512.04150: the weights without the bias);
- OpenVINO XAI's ReciproCAM answers a map that is zero but for one cell, R = b + (G - b) / HW (arXiv 2209.14074), so
  ``G = (R - b) * HW + b``;
- pytorch-grad-cam's Grad-CAM of a head like this weighs channels by w[k] / HW (arXiv 1610.02391); it keeps the positive
  part, stretches each map to 0..1 and resizes it to the image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
#: pytorch-grad-cam adds this to what it divides by.
EPSILON = 1e-7


def cam_of(grid: Array, bias: Array) -> Array:
    """Raw class activation maps of a grid (N, K, H, W) and a bias (K,)."""
    return grid - bias[:, None, None]


def grid_of_reciprocam(maps: Array, bias: Array) -> Array:
    """The grid that ReciproCAM's raw maps (N, K, H, W) stand for."""
    return (maps - bias[:, None, None]) * (maps.shape[-1] * maps.shape[-2]) + bias[:, None, None]


def grad_cam_of(grid: Array, bias: Array, size: tuple[int, int]) -> Array:
    """Grad-CAM's pictures, (N, K, *size), of a grid (N, K, H, W) and a bias (K,); the library stretches twice."""
    positive = np.maximum(cam_of(grid, bias), 0) / (grid.shape[-1] * grid.shape[-2])
    height, width = size
    maps = [[_stretched(cv2.resize(_stretched(cell), (width, height))) for cell in image] for image in positive]
    return np.asarray(maps, dtype=np.float32)


def _stretched(image: Array) -> Array:
    image = image - image.min()
    return np.asarray(image / (EPSILON + image.max()), dtype=np.float32)


def differences(known: dict[str, Array], maps: dict[str, Array]) -> dict[str, float]:
    """Largest difference of each tool from the grid, as a share of the largest value compared.

    Args:
        known: ``zero`` (1, K), the bias, and ``logits`` (N, K).
        maps: ``grid``, ``cam`` and ``reciprocam`` (N, K, H, W), ``grad_cam`` (N, some of K, height, width),
            and perhaps ``features`` and ``features of onnx_gapmil`` (N, C, H, W).
    """
    grid, bias = maps["grid"].astype(np.float64), known["zero"][0].astype(np.float64)
    some = maps["grad_cam"].shape[1]
    pairs = {
        "mean over cells against the model's logits in PyTorch": (grid.mean((2, 3)), known["logits"]),
        "torch-cam CAM against G[:, k] - b[k]": (maps["cam"], cam_of(grid, bias)),
        "ReciproCAM's (R - b) * HW + b against G": (grid_of_reciprocam(maps["reciprocam"].astype(float), bias), grid),
        "Grad-CAM against G[:, k] - b[k], positive part, stretched, resized": (
            maps["grad_cam"],
            grad_cam_of(grid[:, :some], bias[:some], maps["grad_cam"].shape[2:]),
        ),
    }
    if "features" in maps:
        rounding = "for scale, the layers before: features, PyTorch's against ONNX Runtime's"
        pairs = {rounding: (maps["features"], maps["features of onnx_gapmil"]), **pairs}
    return {name: float(np.abs(theirs - ours).max() / np.abs(ours).max()) for name, (theirs, ours) in pairs.items()}
