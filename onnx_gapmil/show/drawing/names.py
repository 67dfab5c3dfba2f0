"""What a class is called on a picture: short, in its own script, and never a name that is not its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from onnx_gapmil.files.printable import visible
from onnx_gapmil.show.drawing.typesetting import drawable, isolated, spelled_out

#: Longer names are cut on a picture; of its sentences this is no part.
_LONGEST = 120


def picture_names(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """What the classes are called, each in one line and ready to be set.

    Of synonyms (``tench, Tinca tinca``) the first, where no other class has it too. A name with letters that no font of
    this machine has is drawn as the class's number and that name spelled out: ``class 3 (\\u732b)``.

    Args:
        labels: K names; None for numbers.
        classes: K.
    """
    if labels is None:
        return tuple(f"class {index}" for index in range(classes))
    return _names(tuple(labels))


def undrawable(labels: Sequence[str] | None) -> list[int]:
    """The classes whose names have letters that no font of this machine has."""
    return [] if labels is None else [index for index, name in enumerate(_short(tuple(labels))) if not _drawn(name)]


def one_line(text: str) -> str:
    """A stranger's text, such as a file's name, ready to be set: in one line, and of a direction of its own."""
    return isolated(spelled_out(visible(" ".join(text.split()))))


@lru_cache(maxsize=16)
def _names(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_called(name, index) for index, name in enumerate(_short(labels)))


@lru_cache(maxsize=16)
def _short(labels: tuple[str, ...]) -> tuple[str, ...]:
    first = [name.split(", ")[0].strip() for name in labels]
    occurs = Counter(first)
    chosen = (short if occurs[short] == 1 else name for short, name in zip(first, labels, strict=True))
    return tuple(visible(" ".join(name.split())) for name in chosen)


def _called(name: str, index: int) -> str:
    if not name:
        return f"class {index}"
    short = name if len(name) <= _LONGEST else name[: _LONGEST - 1].rstrip() + "…"
    return isolated(short if _drawn(short) else f"class {index} ({spelled_out(short)})")


@lru_cache(maxsize=8192)
def _drawn(name: str) -> bool:
    return drawable(name)
