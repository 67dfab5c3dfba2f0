r"""How much of an answer no place brings: of a head that reads a class token, what is spread evenly over the cells.

Of an image's logits ``z_k`` the part ``u_k`` has no place (the token's start, biases, MLPs that are kept at their
value, other tokens without a place), and ``z_k - u_k`` is what the cells bring. What all classes share tells none from
another, so that of both the mean over the classes is taken off; of a sigmoid head, whose classes do not compete, it is
not::

    share = sum_k |u_k| / (sum_k |u_k| + sum_k |z_k - u_k|)

0: all comes from places. 1: nothing does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def placeless_share(
    logits: npt.NDArray[np.floating], placeless: npt.NDArray[np.floating], *, independent: bool
) -> npt.NDArray[np.float64]:
    """The share of each image.

    Args:
        logits: (N, K).
        placeless: the part of them that no place brings, (N, K).
        independent: whether the classes do not compete: a sigmoid head, or one of a single logit.

    Returns:
        (N,), from 0 to 1; NaN where both parts are 0 or one is not finite.
    """
    whole, apart = logits.astype(np.float64), placeless.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [apart, whole - apart]
        if not independent and logits.shape[1] > 1:
            parts = [part - part.mean(axis=1, keepdims=True) for part in parts]
        sizes = [np.abs(part).sum(axis=1) for part in parts]
        return np.asarray(sizes[0] / (sizes[0] + sizes[1]))
