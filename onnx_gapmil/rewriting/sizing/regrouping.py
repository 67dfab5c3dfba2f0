"""What a Reshape does to dimensions that change with the input's size.

A dimension is a pair: its length at the original size, and at the new one. A Reshape is read at the original size as
groups of axes of equal product, ``(2, 512, 7, 7) -> (2, 512, 49)`` as ``2 -> 2, 512 -> 512, 7 7 -> 49``; the same
groups then hold at the new size. An axis that was merged of several dimensions (49 of 7 and 7) keeps them as its parts,
so that it can be split again, and a part that does not grow (channels in groups) may be split. One that grows is never
split: which part of 56 = 8 * 7 would grow is not to be told (windows).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Dim = tuple[int, int]
"""The length of an axis at the original size, and at the new one."""
Parts = tuple[Dim, ...]
"""What an axis was merged of, in order; itself alone where it was not."""


def whole(parts: Parts) -> Dim:
    """The dimension that parts are merged to."""
    return math.prod(old for old, _ in parts), math.prod(new for _, new in parts)


def regrouped(before: Sequence[Parts], after: Sequence[int]) -> list[Parts] | None:
    """The axes that a Reshape makes.

    Args:
        before: those of its input.
        after: the lengths that it makes at the original size.

    Returns:
        One for each of ``after``; None where it cannot be told.
    """
    dims = [whole(parts) for parts in before]
    if any(old == 1 != new for old, new in dims) or 0 in after:
        return None  # an axis of 1 that grows may be any of those that are left out
    made: list[Parts] = []
    for inside, outside in _groups([old for old, _ in dims], after):
        found = _dealt([part for parts in before[inside] for part in parts if part != (1, 1)], after[outside])
        if found is None:
            return None
        made += found
    return made


def _groups(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """The smallest runs of axes on both sides whose products are equal; ones at the end join the last."""
    first, second = 0, 0
    while first < len(before) or second < len(after):
        start = first, second
        left = right = 1
        while True:
            if left <= right and first < len(before):
                left, first = left * before[first], first + 1
            elif second < len(after):
                right, second = right * after[second], second + 1
            else:
                break
            if left == right and second > start[1] and first > start[0]:
                break
        if math.prod(before[first:]) == 1 and math.prod(after[second:]) == 1:
            first, second = len(before), len(after)
        yield slice(start[0], first), slice(start[1], second)


def _dealt(parts: Sequence[Dim], lengths: Sequence[int]) -> list[Parts] | None:
    """A group's parts dealt out to the lengths that it has afterwards, in order."""
    waiting = list(parts)
    if all(old == new for old, new in waiting):
        return [((length, length),) for length in lengths]
    made: list[Parts] = []
    for length in lengths:
        own: list[Dim] = []
        while waiting and (held := math.prod(old for old, _ in own)) < length:
            part, share = waiting.pop(0), length // held
            if part[0] == part[1] and part[0] > share and length % held == 0 and part[0] % share == 0:
                waiting.insert(0, (part[0] // share, part[0] // share))  # channels in groups: a GroupNorm spelled out
                part = share, share
            own.append(part)
        if math.prod(old for old, _ in own) != length:
            return None
        made.append(tuple(own) or ((1, 1),))
    return made if not waiting else None
