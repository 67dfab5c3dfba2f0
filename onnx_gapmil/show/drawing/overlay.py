"""A photo under the map of one class, at the photo's own size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.show.drawing.gridmap import Panel
from onnx_gapmil.show.drawing.palette import opacity, sequential


def overlay(photo: npt.NDArray[np.uint8], geometry: Geometry, cells: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Lay a class's cells over a photo: the lowest faint, the highest strong.

    Args:
        photo: (H, W, 3) RGB uint8, upright.
        geometry: where the network's input lies in it.
        cells: (rows, columns), logits of one class.

    Returns:
        (H, W, 3) RGB uint8; what the network does not see is faded.
    """
    values = np.asarray(cells, dtype=np.float64)
    panel = Panel(photo, geometry, (values.shape[0], values.shape[1]), (photo.shape[0], photo.shape[1]))
    low, high = float(values.min()), float(values.max())
    level = (values - low) / ((high - low) or 1.0)
    return panel.tinted(sequential(level), opacity(level), None)
