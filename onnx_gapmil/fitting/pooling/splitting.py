"""Which images a fit sees and which judge it: groups stay together, and each part has its share of every class."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.intp]


def joined(images: int, *keys: Iterable[Hashable]) -> Numbers:
    """Groups of images of which any two that share a key, or a chain of keys, are one.

    Args:
        images: N, how many.
        keys: N each, such as a column of the data and the digest of the file.

    Returns:
        (N,), the group of each image, from 0 in order of appearance.
    """
    parent = array("q", range(images))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for column in keys:
        first: dict[Hashable, int] = {}
        for place, key in enumerate(column):
            parent[root(place)] = root(first.setdefault(key, place))
    _, appeared, roots = np.unique(
        np.fromiter(map(root, range(images)), dtype=np.intp), return_index=True, return_inverse=True
    )
    numbers = np.empty_like(appeared)
    numbers[np.argsort(appeared)] = np.arange(len(appeared))
    return numbers[roots]


def deal(groups: Numbers, strata: Numbers, parts: int, seed: int) -> Numbers:
    """Deal groups into parts, those of one stratum as evenly as they go.

    Args:
        groups: (N,), the group of each image.
        strata: (N,), its class; a group has that of its first image.
        parts: how many.
        seed: of the shuffle.

    Returns:
        (N,), the part of each image, 0 to ``parts`` - 1.
    """
    found, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(found))
    order = order[np.argsort(strata[first][order], kind="stable")]
    part = np.empty(len(found), dtype=np.intp)
    part[order] = np.arange(len(found)) % parts
    return np.asarray(part[inverse], dtype=np.intp)
