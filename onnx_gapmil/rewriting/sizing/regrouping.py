"""What a Reshape does to dimensions that change with the input's size.

A dimension is a pair: its length at the original size, and at the new one. A Reshape is read at the original size as
groups of axes of equal product, ``(2, 512, 7, 7) -> (2, 512, 49)`` as ``2 -> 2, 512 -> 512, 7 7 -> 49``; the same
groups then hold at the new size. A dimension that was merged of several (49 of 7 and 7) remembers them, so that it can
be split again. One that was not merged is never split: which part of 56 = 8 * 7 would grow is not to be told (windows).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Dim = tuple[int, int]
"""The length of an axis at the original size, and at the new one."""


class Merged:
    """Which dimensions others were merged of."""

    def __init__(self) -> None:
        self._parts: dict[Dim, tuple[Dim, ...] | None] = {}

    def note(self, dim: Dim, parts: tuple[Dim, ...]) -> None:
        """A dimension was made of others; of two ways to make it neither is known any more."""
        known = self._parts.setdefault(dim, parts)
        if known != parts:
            self._parts[dim] = None

    def parts(self, dim: Dim) -> tuple[Dim, ...]:
        """What it was merged of, or itself."""
        return self._parts.get(dim) or (dim,)


def regrouped(before: Sequence[Dim], after: Sequence[int], merged: Merged) -> list[Dim] | None:
    """The dimensions that a Reshape makes.

    Args:
        before: those of its input.
        after: the lengths that it makes at the original size.
        merged: is told what is merged here.

    Returns:
        One pair for each of ``after``; None where it cannot be told.
    """
    if any(old == 1 != new for old, new in before) or 0 in after:
        return None  # an axis of 1 that grows may be any of those that are left out
    made: list[Dim] = []
    for inside, outside in _groups([old for old, _ in before], after):
        found = _split([dim for dim in before[inside] if dim != (1, 1)], after[outside], merged)
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


def _split(dims: Sequence[Dim], lengths: Sequence[int], merged: Merged) -> list[Dim] | None:
    """A group's dimensions dealt out to the lengths that it has afterwards, in order."""
    waiting = [part for dim in dims for part in merged.parts(dim)]
    if all(old == new for old, new in waiting):
        return [(length, length) for length in lengths]
    made: list[Dim] = []
    for length in lengths:
        parts: list[Dim] = []
        while waiting and math.prod(old for old, _ in parts) < length:
            parts.append(waiting.pop(0))
        if math.prod(old for old, _ in parts) != length:
            return None
        dim = length, math.prod(new for _, new in parts)
        if len(parts) > 1:
            merged.note(dim, tuple(parts))
        made.append(dim)
    return made if not waiting else None
