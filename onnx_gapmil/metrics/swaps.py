"""Classes that are likely swapped: a label whose images are answered as another class, and that one's as it.

Two classes in another order are the commonest mistake of a class map: 0 and 1 exchanged, folders in alphabetical
order for a model that was trained by number. Every figure is then wrong, and none of them says why. A cycle of
classes is announced as likely swapped if of each the greater part of its images is answered as the next one, and if
answers so few of which are right would be chance in at most one of a hundred data sets: of the images that are
answered as their own class or as the next one, those answered as their own are binomial with a half at the least,
were the order right and the model no better than a coin (an exact one-sided test, with Bonferroni's correction for
the number of labels).

A model that always gives the same answer is no such case, since one class is right then. Of two classes of which only
one labels images the two cannot be told apart, and `LikelySwap.both` says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_gapmil.metrics.paired import mcnemar_p

#: One of a hundred data sets.
_LEVEL = 0.01


@dataclass(frozen=True)
class LikelySwap:
    """Classes that are likely swapped with each other.

    Attributes:
        classes: each is answered as the next one, and the last as the first.
        images: that have one of them as their only label.
        right: of those, how many are answered right.
        right_if_swapped: how many would be, were the classes exchanged.
        p_value: of so few right ones among both, by chance; see the module.
        both: False where only one of two classes labels images, so that a model that always answers the other one looks
            alike.
    """

    classes: tuple[int, ...]
    images: int
    right: int
    right_if_swapped: int
    p_value: float
    both: bool = True


def likely_swaps(labels: Sequence[Sequence[int]], answers: Sequence[int], *, classes: int) -> tuple[LikelySwap, ...]:
    """The classes that are likely swapped, the surest first; images with several labels are left out.

    Args:
        labels: of each image.
        answers: the model's class for each.
        classes: of the model.
    """
    table: dict[int, Counter[int]] = {}
    for own, answer in zip(labels, answers, strict=True):
        if len(own) == 1:
            table.setdefault(own[0], Counter())[answer] += 1
    return swaps_of(table, classes=classes)


def swaps_of(table: Mapping[int, Counter[int]], *, classes: int) -> tuple[LikelySwap, ...]:
    """As `likely_swaps`, of images counted by their only label and by their answer."""
    following = {label: found for label, seen in table.items() if (found := _other(label, seen)) is not None}
    swaps = [_tested(cycle, table, following) for cycle in _cycles(following)]
    if classes == 2 and len(table) == 1 and following:
        label = next(iter(following))
        alone = _tested((label,), table, following)
        swaps = [LikelySwap((label, 1 - label), *_numbers(alone), alone.p_value, both=False)]
    return tuple(sorted((swap for swap in swaps if swap.p_value * len(table) <= _LEVEL), key=lambda swap: swap.p_value))


def _numbers(swap: LikelySwap) -> tuple[int, int, int]:
    return swap.images, swap.right, swap.right_if_swapped


def _other(label: int, seen: Counter[int]) -> int | None:
    """The class that the greater part of a label's images is answered as, if that is another one."""
    answer, count = max(seen.items(), key=lambda item: (item[1], -item[0]))
    return answer if answer != label and 2 * count > seen.total() else None


def _cycles(following: Mapping[int, int]) -> list[tuple[int, ...]]:
    """The cycles of a map, each from its lowest number."""
    found = set[tuple[int, ...]]()
    for start in following:
        path = [start]
        while (step := following.get(path[-1])) is not None and step not in path:
            path.append(step)
        if step == start and start == min(path):
            found.add(tuple(path))
    return sorted(found)


def _tested(cycle: Sequence[int], table: Mapping[int, Counter[int]], following: Mapping[int, int]) -> LikelySwap:
    right = sum(table[label][label] for label in cycle)
    swapped = sum(table[label][following[label]] for label in cycle)
    images = sum(table[label].total() for label in cycle)
    return LikelySwap(tuple(cycle), images, right, swapped, mcnemar_p(right, swapped) / 2)
