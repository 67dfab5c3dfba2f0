"""Suspect labels: images whose model is sure of something else, and whose label no cell knows.

An error may be the model's or the label's. Where both of these hold, looking at the label is worth the while:

- **sure**: the answer is no label of the image, and its probability reaches the threshold of its class. That is
  confident learning's (Northcutt et al., arXiv 1911.00068, eq. 2): the mean probability that the model gives to a class
  in the images that are labelled with it, ``t_c = mean of p_c over images labelled c``. So a class that the model is
  never sure of has a low threshold, and one that it always is sure of a high one. (An image with several labels has the
  sum of their probabilities. A class that labels fewer than `FEW` images has the mean over all images, since its own
  says nothing.)
- **no cell knows it**: in no cell on the object does a label of the image have the highest logit (a box is where the
  object is, whatever it is called); where no box or mask says which cells these are, in no cell of the grid.

The second is what the grid adds: a small object beside a large one makes a sure error too, but its cells know it.

It is a suspicion and no proof. Models that learned the wrong labels by heart do not find them; a whole class that the
model does not know is suspect though its labels are right. How many suspects are wrong labels where these were planted
is in ``docs/measures/suspect-labels.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_gapmil.metrics.image import ImageMeasures

#: Images of a class below which its own threshold says nothing.
FEW = 5

#: By how much a mean of equal numbers may miss them.
_SLACK = 1e-9


def suspect_images(images: Sequence[ImageMeasures]) -> tuple[int, ...] | None:
    """The places of the suspects, those whose answer is furthest above their label in probability first.

    Args:
        images: all of the data set: thresholds are of it as a whole.

    Returns:
        None if it was not measured what labels are worth to the model.
    """
    if any(image.label_probability is None or image.label_cells is None for image in images):
        return None
    thresholds, common = _thresholds(images)
    found = [
        (image.confidence - (image.label_probability or 0.0), place)
        for place, image in enumerate(images)
        if not image.right
        and image.prediction not in image.labels
        and not _known_by_a_cell(image)
        and image.confidence >= thresholds.get(image.prediction, common) - _SLACK
    ]
    return tuple(place for _, place in sorted(found, key=lambda entry: (-entry[0], entry[1])))


def _known_by_a_cell(image: ImageMeasures) -> bool:
    return image.foreground.any_top1 if image.foreground is not None else bool(image.label_cells)


def _thresholds(images: Sequence[ImageMeasures]) -> tuple[dict[int, float], float]:
    """Of each class that labels enough images, and of all others."""
    by_class: dict[int, list[float]] = {}
    for image in images:
        for label in image.labels:
            by_class.setdefault(label, []).append(image.label_probability or 0.0)
    own = {label: float(np.mean(values)) for label, values in by_class.items() if len(values) >= FEW}
    return own, float(np.mean([image.label_probability for image in images]))
