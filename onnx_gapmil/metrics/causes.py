"""Why the mean failed: one cause for every image that is wrong at top-1 and whose object is known.

The logit of a class is the mean of its cells, so the predicted class p beat the true class y by the mean over cells of
G[p] - G[y]. The causes sort the ways in which that happens by who wins cells, which a reader can see on the picture:

`absent`
    The true class has the highest logit in no foreground cell. Nothing on the object knows it.
`distraction`
    It has in some, and more than half of the cells that the predicted class wins are background cells, at least one:
    something elsewhere in the photo outvotes the object.
`dilution`
    The rest. The object's own cells know the true class, but they are too few, or share the object with p.

The causes exclude one another and leave no error out. All but `absent` are called *recoverable*: a true class wins a
cell on the object. Classes that cannot know win cells too, though, so that what the mean really lost is what stands
beyond their control (`onnx_gapmil.metrics.control`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Cause = Literal["dilution", "distraction", "absent"]
CAUSES: tuple[Cause, ...] = get_args(Cause)


@dataclass(frozen=True, slots=True)
class Margin:
    """By how much the true class lost, and where.

    ``foreground + background`` is the mean over all cells of G[true] - G[predicted], which is the difference of the two
    logits. Negative parts speak for the predicted class.

    Attributes:
        foreground: the sum over foreground cells, divided by the number of all cells.
        background: the same for the other cells.
    """

    foreground: float
    background: float


def error_cause(
    winners: npt.NDArray[np.intp],
    prediction: int,
    right: npt.NDArray[np.bool_],
    foreground: npt.NDArray[np.bool_],
) -> Cause:
    """The cause of one error; the definitions stand at the top of this module.

    Args:
        winners: (cells,), the class that wins each cell, -1 for nobody.
        prediction: the image's wrong top-1 class.
        right: (cells,), whether a true class wins the cell, from `right_cells`.
        foreground: (cells,).
    """
    if not (right & foreground).any():
        return "absent"
    won = winners == prediction
    outside = np.count_nonzero(won & ~foreground)
    return "distraction" if 2 * outside > np.count_nonzero(won) else "dilution"


def lost_margin(
    label: npt.NDArray[np.float64], prediction: npt.NDArray[np.float64], foreground: npt.NDArray[np.bool_]
) -> Margin:
    """Where the true class lost against the predicted one.

    Args:
        label: (cells,), the logits of the true class; of several, of the one that scored highest.
        prediction: (cells,), those of the image's top-1 class.
        foreground: (cells,).
    """
    difference = (label - prediction) / len(label)
    return Margin(float(difference[foreground].sum()), float(difference[~foreground].sum()))
