"""Is the image answered right: ranks of its labels, top-1, top-5, and the mean over classes.

One number for each label carries everything: its *rank*, the number of classes that are no label of the image and
score higher. A label is right at top-k if its rank is below k, the image is if one of its labels is. With one label
this is the usual top-k accuracy. With several, another true label that scores higher is no mistake: in a photo of a dog
and a cat the answer "dog, cat" puts both at rank 0.

Equal scores count in the order of the class indices, as in `numpy.argsort(-scores, kind="stable")`: of two classes
that tie, the lower index comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def label_ranks(scores: npt.ArrayLike, labels: Sequence[int]) -> npt.NDArray[np.intp]:
    """How many wrong classes come before each label.

    Args:
        scores: (..., K), of any real type.
        labels: the L true classes of the image.

    Returns:
        (..., L) ranks from 0.
    """
    values = np.asarray(scores)
    index = np.asarray(labels, dtype=np.intp)
    ranks = _raw_ranks(values, index)
    if index.size > 1:
        # A label before another one is no mistake. Labels are ordered among themselves as all classes are.
        own = values[..., index]
        theirs, mine = own[..., None, :], own[..., :, None]
        ranks -= ((theirs > mine) | ((theirs == mine) & (index < index[:, None]))).sum(axis=-1)
    return ranks


def _raw_ranks(scores: npt.NDArray[Any], classes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """How many classes come before each of some classes, all others counted; (..., K) and (L,) -> (..., L)."""
    ranks = np.empty((*scores.shape[:-1], classes.size), dtype=np.intp)
    for place, index in enumerate(classes):
        own = scores[..., index, None]
        before = np.count_nonzero(scores > own, axis=-1) + np.count_nonzero(scores[..., :index] == own, axis=-1)
        ranks[..., place] = before
    return ranks


def first_classes(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """The classes of the highest scores, best first and of equal ones the lower class first; all are not sorted.

    Args:
        scores: (K,).
        count: how many, K at the most.
    """
    if len(scores) > 4 * count:
        lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
        among = np.flatnonzero(scores >= lowest)
        return among[np.argsort(-scores[among], kind="stable")[:count]]
    return np.argsort(-scores, kind="stable")[:count]


def accuracy(ranks: Iterable[Sequence[int]], k: int) -> float:
    """The share of images of which a label is among the first k; each item is one image's ranks.

    Raises:
        ValueError: there are no images.
    """
    return share_of_right(np.array([min(each) < k for each in ranks], dtype=np.bool_))


def share_of_right(right: npt.NDArray[np.bool_]) -> float:
    """The share of (images,) that is true.

    Raises:
        ValueError: there are no images.
    """
    if not right.size:
        raise ValueError("no images")
    return float(right.mean())


def macro_accuracy(labels: Iterable[Sequence[int]], ranks: Iterable[Sequence[int]], k: int) -> float:
    """The mean over classes of the share of a class's images in which it is among the first k.

    Every class that labels an image weighs the same, be its images many or few (balanced accuracy). An image with
    several labels counts once for each, with the rank of that label.

    Args:
        labels: of each image.
        ranks: of each image's labels, in the same order, from `label_ranks`.
        k: 1 for top-1.

    Raises:
        ValueError: there are no images.
    """
    classes: list[int] = []
    right: list[bool] = []
    for own, places in zip(labels, ranks, strict=True):
        classes.extend(own)
        right.extend(place < k for place in places)
    return macro_share(np.asarray(classes, dtype=np.intp), np.asarray(right, dtype=np.bool_))


def macro_share(classes: npt.NDArray[Any], right: npt.NDArray[np.bool_]) -> float:
    """The mean over classes of the share that is true: of (labels,) classes and of whether each label is right.

    Raises:
        ValueError: there are none.
    """
    if not classes.size:
        raise ValueError("no images")
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return float(np.mean(np.bincount(inverse, weights=np.asarray(right, dtype=np.float64)) / counts))
