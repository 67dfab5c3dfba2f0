"""The map that localization is measured on: one class of the grid, as large as wsolevaluation makes it.

Source: github.com/clovaai/wsolevaluation, `inference.py` of the authors of arXiv 2007.04178: bicubic to 224 x 224, less
its minimum, divided by its maximum.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry, Rectangle

SIDE = 224
"""Pixels of a map along each side, whatever the input's size."""


def score_map(plane: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """A class of a grid, (H, W), as a map of SIDE x SIDE in 0..1 that reaches both; all 0 where the class is flat."""
    large = cv2.resize(np.asarray(plane, dtype=np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    low = large.min()
    if low == large.max():
        return np.zeros_like(large)
    large -= low
    large /= large.max()
    return np.asarray(large, dtype=np.float32)


def boxes_on_map(boxes: tuple[Rectangle, ...], geometry: Geometry) -> npt.NDArray[np.int64]:
    """Boxes in whole pixels of the map, (n, 4), cut at what the network sees and rounded down as the source does.

    Boxes of which the network sees nothing are left out.
    """
    height, width = geometry.input_size
    found = []
    for x0, y0, x1, y1 in boxes:
        left, top = geometry.to_input(x0, y0)
        right, bottom = geometry.to_input(x1, y1)
        corners = np.array([left * SIDE / width, top * SIDE / height, right * SIDE / width, bottom * SIDE / height])
        corners = np.clip(corners, 0.0, SIDE)
        if corners[2] > corners[0] and corners[3] > corners[1]:
            # Sides that are whole but for the rounding of the way here stay whole.
            found.append(np.floor(corners + 1e-9))
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def mask_on_map(mask: npt.NDArray[np.bool_], geometry: Geometry) -> npt.NDArray[np.int8]:
    """A mask of the photo at each pixel of the map, by its centre: 1 object, 0 other, -1 padding; SIDE x SIDE."""
    axes = []
    for axis in (0, 1):
        inside = (np.arange(SIDE) + 0.5) * (geometry.input_size[axis] / SIDE) + geometry.offset[axis]
        axes.append(np.floor(inside * geometry.image_size[axis] / geometry.resized_size[axis]).astype(np.intp))
    rows, cols = axes
    height, width = mask.shape
    values = mask[np.clip(rows, 0, height - 1)[:, None], np.clip(cols, 0, width - 1)].astype(np.int8)
    values[(rows < 0) | (rows >= height)] = -1
    values[:, (cols < 0) | (cols >= width)] = -1
    return values
