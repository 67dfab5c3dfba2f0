"""One picture of one prediction, good enough to paste into a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_gapmil.aggregate.activation import Activation
from onnx_gapmil.files.writing import whole_file
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.show.drawing.canvas import drawable
from onnx_gapmil.show.drawing.layout import PictureLayout
from onnx_gapmil.show.drawing.scores import Scores


def render_prediction(
    photo: npt.NDArray[np.uint8],
    geometry: Geometry,
    grid: npt.NDArray[np.floating],
    logits: npt.NDArray[np.floating],
    *,
    labels: Sequence[str] | None,
    activation: Activation,
    title: str,
    subtitle: str,
    top: int = 4,
    seen: Geometry | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw a photo, the class that wins each cell, the evidence for the top classes, and the scores.

    The same arguments give the same pixels. What the preprocessing cropped off is shown faded.

    Args:
        photo: (H, W, 3), RGB, uint8, upright as `read_image` gives it.
        geometry: where the window that the cells divide lies in the photo.
        grid: (K, h, w) logits of the cells.
        logits: (K,) logits of the image.
        labels: K class names, or None.
        activation: "softmax" or "sigmoid" to show probabilities, "none" to show logits.
        title: the first line, such as the photo's name.
        subtitle: the second, such as the model and its preprocessing.
        seen: where the network's input lies in the photo; the same window if None.
        top: how many classes get a panel of their own; half of them the best at image level, the others
            those that win most cells.

    Returns:
        (height, 1680, 3), RGB, uint8.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.shape[:2] != geometry.image_size:
        raise ValueError(f"the photo is {photo.shape}, and its geometry is of {geometry.image_size}")
    names = None if labels is None else [_readable(name, index) for index, name in enumerate(labels)]
    scores = Scores(grid, logits, names, activation)
    same = seen is None or seen == geometry
    faded = "faded: cropped off, the network does not see it" if same else "faded: the place of no cell"
    sheet = PictureLayout(photo, geometry, scores, max(1, top), faded=faded)
    return sheet.draw(title, subtitle)


def save_png(array: npt.NDArray[np.uint8], path: str | Path) -> None:
    """Write a picture, (H, W, 3) RGB uint8, whole or not at all.

    Raises:
        InputError: the folder is missing or cannot be written to.
    """
    with whole_file(Path(path)) as stream:
        Image.fromarray(array).save(stream, format="PNG", compress_level=2)  # 6: three times slower, 7 % smaller


def _readable(name: str, index: int) -> str:
    """The name as the font can draw it; a name of which nothing is left becomes the class's number."""
    shown = drawable(name)
    return shown if shown.strip("? ") else f"class {index}"
