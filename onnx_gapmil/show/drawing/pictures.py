"""One picture of one prediction, good enough to paste into a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.show.drawing.layout import PictureLayout
from onnx_gapmil.show.drawing.names import one_line, picture_names
from onnx_gapmil.show.drawing.scores import Scores
from onnx_gapmil.show.drawing.sentences import Caption


def render_prediction(
    photo: npt.NDArray[np.uint8],
    geometry: Geometry,
    grid: npt.NDArray[np.floating],
    logits: npt.NDArray[np.floating],
    *,
    labels: Sequence[str] | None,
    activation: Activation,
    caption: Caption,
    top: int = 4,
    chosen: Sequence[int] | None = None,
    levels: npt.NDArray[np.floating] | None = None,
    one_logit: bool = False,
    seen: Geometry | None = None,
    pools: Sequence[WeightedPool] = (),
) -> npt.NDArray[np.uint8]:
    """Draw a photo, the class that wins each cell, the evidence for the top classes, and the scores.

    The same arguments give the same pixels; where a name has letters that none of the package's fonts has, on machines
    with the same fonts. What the preprocessing cropped off is shown faded.

    Args:
        photo: (H, W, 3), RGB, uint8, upright as `read_image` gives it.
        geometry: where the window that the cells divide lies in the photo.
        grid: (K, h, w) logits of the cells.
        logits: (K,) logits of the image.
        labels: K class names, or None; of one logit two, or the one that it is for.
        activation: what the head makes of its logits: "softmax" or "sigmoid" to show probabilities, "none" to show
            logits.
        caption: what is said of photo, model and preprocessing.
        top: how many classes get a panel of their own at the most; see `Scores.shown`.
        chosen: the classes that get one, instead.
        levels: see `Scores`, as for `one_logit`.
        one_logit: whether these are the two classes of one logit.
        seen: where the network's input lies in the photo; the same window if None.
        pools: those that do not weigh all cells alike; what has a map of these cells is drawn.

    Returns:
        (height, 1680, 3), RGB, uint8.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.shape[:2] != geometry.image_size:
        raise ValueError(f"the photo is {photo.shape}, and its geometry is of {geometry.image_size}")
    if len(logits) == 1 and labels is not None and len(labels) == 1:
        labels = [f"not {labels[0]}", labels[0]]
    names = picture_names(labels, max(2, len(logits)))
    scores = Scores(grid, logits, names, activation, levels, one_logit=one_logit)
    same = seen is None or seen == geometry
    faded = "faded: cropped off, the network does not see it" if same else "faded: the place of no cell"
    shown = scores.shown(max(1, top)) if chosen is None else list(dict.fromkeys(chosen))
    mapped = [pool for pool in pools if pool.map is not None and np.shape(pool.map) == scores.winners.shape]
    sheet = PictureLayout(photo, geometry, scores, shown, faded=faded, pools=mapped)
    return sheet.draw(replace(caption, title=one_line(caption.title), model=one_line(caption.model)))
