"""Which class of the new model is which of the old one.

By names where both have them; else by what each makes of the data's labels (class map, or offset: 1001 classes against
1000 have a background first); else by number where there are equally many. What is not known is not guessed: a class
that the other model lacks has no partner, and models whose classes cannot be told are refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.data.mapfile import read_map_file
from onnx_gapmil.data.names import index_names, is_background
from onnx_gapmil.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from onnx_gapmil.data.class_names import ClassNames
    from onnx_gapmil.data.types import ClassMap

#: Of the model with fewer classes, the share whose names must be found for names to decide.
_ENOUGH = 0.5
#: Of the classes between the first and the last that are paired by name, the share that must be, for the others to be
#: known by their places among them.
_SURE = 0.9
#: Classes of ImageNet with a background class before them, as TensorFlow's models have, and without.
_WITH_BACKGROUND, _IMAGENET = 1001, 1000
_ADVICE = (
    "Say with --class-map-new which class of the new model each label (or, without labels, each class of the old "
    'model) means: {"label": class index or name, ...}'
)


@dataclass(frozen=True)
class ModelClasses:
    """The classes of one model.

    Attributes:
        count: how many.
        names: of them.
        labels: what the data's labels mean; None without labels.
        given: whether the user said so, by a map or an offset.
    """

    count: int
    names: ClassNames
    labels: ClassMap | None = None
    given: bool = False


@dataclass(frozen=True)
class Alignment:
    """Pairs of classes that are one.

    Attributes:
        pairs: (class of the old model, class of the new), by the old one's; a class is in one pair at most.
        source: one sentence: how they were found.
        old_count: classes of the old model.
        new_count: classes of the new one.
    """

    pairs: tuple[tuple[int, int], ...]
    source: str
    old_count: int
    new_count: int

    @cached_property
    def old(self) -> npt.NDArray[np.intp]:
        """(A,): the aligned classes of the old model."""
        return np.array([pair[0] for pair in self.pairs], dtype=np.intp)

    @cached_property
    def new(self) -> npt.NDArray[np.intp]:
        """(A,): their partners."""
        return np.array([pair[1] for pair in self.pairs], dtype=np.intp)

    @property
    def unaligned(self) -> tuple[int, int]:
        """How many classes of the old and of the new model have no partner."""
        return self.old_count - len(self.pairs), self.new_count - len(self.pairs)

    def of_new(self) -> npt.NDArray[np.intp]:
        """(new classes,): the old model's number of each, or its own behind all of the old model's."""
        return self._joint

    @cached_property
    def _joint(self) -> npt.NDArray[np.intp]:
        joint = np.arange(self.new_count, dtype=np.intp) + self.old_count
        joint[self.new] = self.old
        return joint


def align(old: ModelClasses, new: ModelClasses, *, map_new: Path | None = None) -> Alignment:
    """Find the pairs.

    Args:
        old: the old model's classes.
        new: the new model's.
        map_new: with images that have no labels, a file from the old model's classes to the new one's.

    Raises:
        DataError: it cannot be told which class is which.
    """
    if map_new is not None and new.labels is None:
        return _mapped(old, new, map_new)
    named = _by_names(old, new)
    if named is not None and len(named.pairs) >= _ENOUGH * min(old.count, new.count):
        return named
    labelled = _by_labels(old, new)
    if labelled is not None:
        return labelled if named is None else _doubted(labelled, named)
    background = _by_background(old, new)
    if background is not None:
        return background
    if named is not None:
        raise DataError(
            f"The models' classes cannot be told: {len(named.pairs)} of their names are the same "
            f"({_some(old.names.names)} in the old model, {_some(new.names.names)} in the new one). {_ADVICE}."
        )
    if old.count != new.count:
        raise DataError(
            f"The models' classes cannot be told: the old model has {old.count:,}, the new one {new.count:,}, and "
            f"their names are not both known. {_ADVICE}."
        )
    pairs = tuple((index, index) for index in range(old.count))
    return Alignment(pairs, f"Classes are taken for the same by number, {old.count:,} in both.", old.count, new.count)


def _doubted(labelled: Alignment, named: Alignment) -> Alignment:
    """Labels decide where few names are the same, and that is said: either may be of another model or order."""
    same = len(set(labelled.pairs) & set(named.pairs))
    doubt = f"Only {same:,} of these {len(labelled.pairs):,} pairs have the same name in both models"
    return replace(labelled, source=f"{labelled.source} {doubt}: see that names and labels are theirs.")


def _by_names(old: ModelClasses, new: ModelClasses) -> Alignment | None:
    """Pairs of the same name; None where not both have names."""
    if old.names.names is None or new.names.names is None:
        return None
    # Both ways, so that the sides may be exchanged; what two classes claim, neither has.
    found = {*_found(old.names, new.names), *((one, other) for other, one in _found(new.names, old.names))}
    if old.names.names == new.names.names:  # also where two classes have one name
        found = {(place, place) for place in range(old.count)}
    olds, news = Counter(one for one, _ in found), Counter(other for _, other in found)
    pairs = tuple(sorted(pair for pair in found if olds[pair[0]] == news[pair[1]] == 1))
    filled = _between(pairs, old.count, new.count)
    more = f", and {len(filled) - len(pairs):,} more by their places among these" if len(filled) > len(pairs) else ""
    lacking = _lacking(old.count - len(filled), new.count - len(filled))
    return Alignment(filled, f"Classes are the same by name, {len(pairs):,}{more}{lacking}.", old.count, new.count)


def _found(asked: ClassNames, known: ClassNames) -> list[tuple[int, int]]:
    """(class of one model, class of the other) for each name of the one that the other has."""
    index = index_names(known.names, known.wnids)
    found = []
    for place, name in enumerate(asked.names or ()):
        alias = (asked.wnids[place],) if asked.wnids is not None and asked.wnids[place] else ()
        match = index.find(name, alias)
        if match is not None:
            found.append((place, match[0]))
    return found


def _between(pairs: tuple[tuple[int, int], ...], old: int, new: int) -> tuple[tuple[int, int], ...]:
    """Where all pairs found are a fixed number apart, also the classes between them: two cranes have one name."""
    shifts = {two - one for one, two in pairs}
    if len(shifts) != 1:
        return pairs
    (shift,) = shifts
    low, high = pairs[0][0], pairs[-1][0]
    if len(pairs) < _SURE * (high - low + 1):
        return pairs
    return tuple((index, index + shift) for index in range(low, high + 1) if index < old and 0 <= index + shift < new)


def _by_labels(old: ModelClasses, new: ModelClasses) -> Alignment | None:
    """Pairs of the classes that a label means in both models."""
    if old.labels is None or new.labels is None:
        return None
    first, second = old.labels, new.labels
    if first.offset is not None and second.offset is not None:
        shift = second.offset - first.offset
        if abs(old.count - new.count) > 1 and not (old.given or new.given):
            return None  # numbers that fit both say nothing of models that are not of the same classes
        pairs = tuple((index, index + shift) for index in range(old.count) if 0 <= index + shift < new.count)
        how = "Classes are the same by the labels' numbers"
        how += "" if shift == 0 else f": the new model's are {abs(shift)} {'higher' if shift > 0 else 'lower'}"
        lacking = _lacking(old.count - len(pairs), new.count - len(pairs))
        return Alignment(pairs, f"{how}{lacking}.", old.count, new.count)
    found = _pairs_of_tables(first.table, second.table)
    if not found:
        return None
    lacking = _lacking(old.count - len(found), new.count - len(found))
    return Alignment(found, f"Classes are the same by the labels, {len(found):,}{lacking}.", old.count, new.count)


def _pairs_of_tables(
    first: Mapping[int | str, Sequence[int]], second: Mapping[int | str, Sequence[int]]
) -> tuple[tuple[int, int], ...]:
    """Labels that mean one class in each model, and no class that two labels mean."""
    both = [
        (first[label][0], second[label][0])
        for label in first
        if label in second and len(first[label]) == len(second[label]) == 1
    ]
    distinct = set(both)
    olds, news = Counter(pair[0] for pair in distinct), Counter(pair[1] for pair in distinct)
    return tuple(sorted(pair for pair in distinct if olds[pair[0]] == news[pair[1]] == 1))


def _by_background(old: ModelClasses, new: ModelClasses) -> Alignment | None:
    """1001 classes against 1000, or one of which class 0 is called background against one fewer."""
    more, fewer = max(old, new, key=lambda side: side.count), min(old, new, key=lambda side: side.count)
    if more.count != fewer.count + 1:
        return None
    named = more.names.names is not None and is_background(more.names.names[0])
    if not named and (more.count, fewer.count) != (_WITH_BACKGROUND, _IMAGENET):
        return None
    shift = 1 if more is new else -1
    pairs = tuple((index, index + shift) for index in range(old.count) if 0 <= index + shift < new.count)
    which = "new" if more is new else "old"
    how = "is" if named else "is taken for"
    return Alignment(
        pairs, f"Classes are the same by number; class 0 of the {which} model {how} a background.", old.count, new.count
    )


def _mapped(old: ModelClasses, new: ModelClasses, file: Path) -> Alignment:
    """Of images without labels, a map from the old model's names or numbers to the new one's."""
    given = read_map_file(file, classes=new.count, names=new.names.names, wnids=new.names.wnids)
    index = index_names(old.names.names or tuple(str(place) for place in range(old.count)), old.names.wnids)
    partners: dict[int, int] = {}
    for label, classes in given.items():
        text = str(label)
        found = int(text) if text.isdecimal() and int(text) < old.count else None
        if old.names.names is not None and (match := index.find(text)) is not None:
            found = match[0]
        if found is None:
            raise DataError(f"{file}: {text[:60]!r} is no class of the old model, of which it has {old.count:,}.")
        if len(classes) > 1:
            raise DataError(f"{file}: {text[:60]!r} has {len(classes)} classes; one of the new model is needed.")
        if classes:
            partners[found] = classes[0]
    double = next((one for one, times in Counter(partners.values()).items() if times > 1), None)
    if double is not None:
        raise DataError(f"{file}: two classes of the old model are class {double} of the new one.")
    pairs = tuple(sorted(partners.items()))
    if not pairs:
        raise DataError(f"{file}: it pairs no class of the old model with one of the new.")
    lacking = _lacking(old.count - len(pairs), new.count - len(pairs))
    return Alignment(pairs, f"Classes are the same by {file}, {len(pairs):,}{lacking}.", old.count, new.count)


def _lacking(old: int, new: int) -> str:
    parts = [f"{old:,} of the old model's" if old else "", f"{new:,} of the new model's" if new else ""]
    said = " and ".join(part for part in parts if part)
    return f"; {said} have no partner" if said else ""


def _some(names: Sequence[str] | None) -> str:
    return ", ".join(repr(name[:30]) for name in (names or ())[:3])
