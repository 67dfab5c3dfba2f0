"""The sum, class by class: how far the mean over cells is from the logits, as a share of the class's own cells.

Relative to the largest logit of all classes, one huge logit (a class masked by -1e9) hides whatever the others do. A
class's own cells are what it is made of, and what its rounding is of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.rewriting.proof.tolerances import QUANTIZED_TOLERANCE

if TYPE_CHECKING:
    from onnx_gapmil.rewriting.record import HeadRecord

Array = npt.NDArray[np.float64]
#: Cells smaller than this count as this large, so that a class of zeros can be measured. It is in units of logits,
#: whose differences are what a softmax sees: 2e-5 of it moves a probability by 2e-8, which float32 cannot hold.
FLOOR = 1e-3


def class_errors(head: HeadRecord, logits: Array, grid: Array) -> Array:
    """How far each class's mean over cells is from its logit.

    Args:
        head: the head, whose rounding to integers is known.
        logits: (N, K).
        grid: (N, K, H, W), or with more axes of cells.

    Returns:
        (K,), of each class the largest over the images of |mean over cells - logit| / max |its cells|. Infinity where
        shapes do not fit, or where a cell is not finite and the logit is. NaN where a class has no image whose logit
        is finite or is the infinity that its cells are: nothing is known of it.
    """
    if grid.ndim < 4 or grid.shape[:2] != logits.shape or not len(logits):
        return np.full(logits.shape[-1] if logits.ndim else 1, np.inf)
    with np.errstate(invalid="ignore"):  # a class switched off has cells of -inf
        errors = relative(head, grid.reshape(*grid.shape[:2], -1).mean(axis=2), logits, grid)
    return np.asarray(np.fmax.reduce(errors, axis=0))


def relative(head: HeadRecord, found: Array, expected: Array, grid: Array) -> Array:
    """|found - expected| of each image and class as a share of the class's own cells, (N, K).

    Args:
        head: the head.
        found: (N, K).
        expected: (N, K).
        grid: (N, K, H, W), the cells.

    Returns:
        NaN where ``expected`` is no number, or an infinity that was not found; 0 where the infinity was found.
    """
    with np.errstate(invalid="ignore"):
        errors = np.abs(found - expected) / _scale(head, grid)
    errors = np.where(np.isfinite(expected) & ~np.isfinite(errors), np.inf, errors)
    return np.where(np.isfinite(expected), errors, np.where(found == expected, 0.0, np.nan))


def _scale(head: HeadRecord, grid: Array) -> Array:
    """What an error is a share of, (N, K).

    Rounding to integers moves a logit by steps of the whole layer, whatever the class: there the bound that follows
    from the scales counts as much as `QUANTIZED_TOLERANCE` of the cells. Where none is known, the scale is found at run
    time, from the whole batch: there its largest cell counts.
    """
    size = np.abs(grid)
    own = size.reshape(*size.shape[:2], -1).max(axis=2)
    if not head.quantized:
        return np.asarray(np.maximum(own, FLOOR))
    if head.rounding_bound is not None:
        return np.asarray(np.maximum(own, max(head.rounding_bound / QUANTIZED_TOLERANCE, FLOOR)))
    return np.asarray(np.maximum(own, size[np.isfinite(size)].max(initial=FLOOR)))
