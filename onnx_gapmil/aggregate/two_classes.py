"""A model of one logit answers yes or no: two classes, the first of which has the logit 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def with_two_classes(values: npt.NDArray[Any], axis: int = 0) -> npt.NDArray[np.float64]:
    """Put class 0 (without) before class 1 (with), where there is one class.

    The softmax of (0, z) is the sigmoid of z, and the mean over cells of (0, z) is (0, mean of z): every measure of a
    grid of several classes then says of a model of one logit what it should.

    Args:
        values: logits or a grid; K classes on ``axis``.
        axis: of the classes.

    Returns:
        float64; the values themselves where there are several classes.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape[axis] != 1:
        return numbers
    return np.concatenate([np.zeros_like(numbers), numbers], axis=axis)
