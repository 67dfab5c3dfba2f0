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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.metrics.columns import numbers_of

if TYPE_CHECKING:
    from onnx_gapmil.files.columns import Numbers
    from onnx_gapmil.metrics.columns import ImageNumbers
    from onnx_gapmil.metrics.image import ImageMeasures

#: Images of a class below which its own threshold says nothing.
FEW = 5

#: By how much a mean of equal numbers may miss them.
_SLACK = 1e-9


def suspect_images(images: Sequence[ImageMeasures] | ImageNumbers) -> tuple[int, ...] | None:
    """The places of the suspects, those whose answer is furthest above their label in probability first.

    Args:
        images: all of the data set: thresholds are of it as a whole.

    Returns:
        None if it was not measured what labels are worth to the model.
    """
    numbers = numbers_of(images)
    own, cells = numbers["label_probability"], numbers["label_cells"]
    if np.isnan(own).any() or (cells < 0).any():
        return None
    answers, confidence = numbers["prediction"], numbers["confidence"]
    on_object = numbers["foreground.any_top1"]
    known_by_a_cell = np.where(on_object >= 0, on_object == 1, cells > 0)
    named = np.zeros(len(numbers), dtype=np.bool_)
    named[numbers.by_label(np.arange(len(numbers)))[numbers.labels == numbers.by_label(answers)]] = True
    sure = confidence >= _thresholds(numbers, answers) - _SLACK
    found = np.flatnonzero((numbers["right"] != 1) & ~named & ~known_by_a_cell & sure)
    order = np.argsort(-(confidence[found] - own[found]), kind="stable")
    return tuple(found[order].tolist())


def _thresholds(images: ImageNumbers, answers: Numbers) -> npt.NDArray[np.float64]:
    """(images,), that of the class which each is answered as: its own where it labels enough images."""
    probability = images["label_probability"]
    order = np.argsort(images.labels, kind="stable")
    of_label = images.by_label(probability)[order]
    classes, starts, counts = np.unique(images.labels[order], return_index=True, return_counts=True)
    found = np.full(len(answers), float(np.mean(probability)) if len(probability) else 0.0)
    means = np.full(len(classes), np.nan)
    for place, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
        if count >= FEW:
            means[place] = np.mean(of_label[start : start + count])
    at = np.minimum(np.searchsorted(classes, answers), len(classes) - 1)
    own = (classes[at] == answers) & ~np.isnan(means[at])
    found[own] = means[at][own]
    return found
