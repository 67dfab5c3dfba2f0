"""Match names of labels against names of classes, from strict to lenient, never ambiguously."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_WNID = re.compile(r"(n\d{8})(?:[\s,_-]+(\S.*))?", re.DOTALL)
_WNID_BEHIND = re.compile(r"(\S.*?)\s*\((n\d{8})\)", re.DOTALL)
_GAPS = re.compile(r"[\s_-]+")

BACKGROUND = {"background", "bg", "dummy", "void"}
"""Names, once normalized, of a class that means nothing of the others."""


def normalized(name: str) -> str:
    """Without case; runs of space, underscore and hyphen become one space; composed Unicode."""
    return _GAPS.sub(" ", unicodedata.normalize("NFC", name)).strip().casefold()


def wnid_of(name: str) -> str | None:
    """The WordNet id of `n01440764`, `n01440764 tench`, `n01440764-tench` and `crane (n02012849)`."""
    match = _WNID.fullmatch(name.strip())
    if match:
        return match[1]
    behind = _WNID_BEHIND.fullmatch(name.strip())
    return behind[2] if behind else None


def without_wnid(name: str) -> str:
    """The name without a WordNet id before or behind it; empty if it is all there is."""
    text = name.strip()
    match = _WNID.fullmatch(text)
    if match:
        return match[2] or ""
    behind = _WNID_BEHIND.fullmatch(text)
    return behind[1] if behind else text


def is_background(name: str) -> bool:
    """Whether a class of this name stands for none of the others."""
    return normalized(name) in BACKGROUND


@dataclass(frozen=True, slots=True)
class Names:
    """The classes of a model under each way to match a name.

    Attributes:
        keys: for each way, the class of each key; keys that two classes share are left out.
    """

    keys: tuple[dict[str, int], ...]

    def find(self, label: str, aliases: Sequence[str] = ()) -> tuple[int, str] | None:
        """The class of a label, and the way it was found; None if there is none.

        Args:
            label: the data set's name.
            aliases: other names that the data set has for it.
        """
        for text in (label, *aliases):
            for way, table in zip(WAYS, self.keys, strict=True):
                for key in way.of_label(text):
                    if key in table:
                        return table[key], way.said
        return None


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to match: the keys of a class's name, the keys of a label, and how it is told."""

    said: str
    of_class: Callable[[str], Iterable[str]]
    of_label: Callable[[str], Iterable[str]]


def _exact(name: str) -> list[str]:
    return [name.strip()]


def _normal(name: str) -> list[str]:
    return [key for key in (normalized(name), normalized(without_wnid(name))) if key]


def _wnid(name: str) -> list[str]:
    wnid = wnid_of(name)
    return [wnid] if wnid else []


def _first(name: str) -> list[str]:
    key = normalized(without_wnid(name).split(",")[0])
    return [key] if key else []


def _synonyms(name: str) -> list[str]:
    return [key for part in without_wnid(name).split(",") if (key := normalized(part))]


WAYS = (
    _Way("exactly", _exact, _exact),
    _Way("by WordNet id", _wnid, _wnid),
    _Way("apart from case, spaces, underscores and hyphens", _normal, _normal),
    _Way("by their first name", _first, _first),
    _Way("by another of their names", _synonyms, _synonyms),
)


LENIENT = {way.said for way in WAYS[-2:]}
"""Ways by which a different thing of a like name may match."""


def index_names(names: Sequence[str] | None, wnids: Sequence[str] | None) -> Names:
    """Prepare the classes' names for matching.

    Args:
        names: one a class, or None.
        wnids: WordNet ids, one a class, or None.
    """
    tables = []
    for way in WAYS:
        owners: dict[str, set[int]] = {}
        for source in (names or (), wnids or ()):
            for index, name in enumerate(source):
                for key in way.of_class(name):
                    owners.setdefault(key, set()).add(index)
        tables.append({key: next(iter(owner)) for key, owner in owners.items() if len(owner) == 1})
    return Names(tuple(tables))
