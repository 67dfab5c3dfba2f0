"""Classes as a user names them: by name, or by number; and a threshold for each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx_gapmil.data.names import index_names, normalized
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.text import parse_json, read_text

#: How a class without a name is shown; with it a number is never taken for a name.
_NUMBERED = re.compile(r"class (\d{1,9})")
#: So many names are listed in an error.
_LISTED = 8


def choose_classes(asked: Sequence[str | int], count: int, names: Sequence[str] | None, of: str) -> tuple[int, ...]:
    """Classes by name or number, each once, in the order that was asked for.

    A text is first taken for one name, then for several with commas between. Names match exactly, else apart from case,
    spaces and hyphens, by WordNet id, or by one of several synonyms; ``class 3`` is always the number.

    Args:
        asked: names and numbers.
        count: the number of classes.
        names: of them; None where nothing names them.
        of: what has them, for a message.

    Raises:
        InputError: one is no class, or is both one class's name and another one's number.
    """
    chosen: list[int] = []
    for text in asked:
        whole = _spelled(str(text), names)
        found = [whole] if whole is not None else [_one(part, count, names, of) for part in _parts(str(text))]
        if not found:
            raise InputError(f"{str(text)!r} names no class; {_there_are(count, names, of)}.")
        chosen += found
    return tuple(dict.fromkeys(chosen))


def _spelled(text: str, names: Sequence[str] | None) -> int | None:
    """The class of a name with commas in it, as it is spelled; a number is none."""
    if names is None or "," not in text:
        return None
    alike = [index for index, name in enumerate(names) if normalized(name) == normalized(text)]
    return alike[0] if len(alike) == 1 else None


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _one(text: str, count: int, names: Sequence[str] | None, of: str) -> int:
    found = _find(text, count, names)
    if found is not None:
        return found
    near = difflib.get_close_matches(text, names or (), n=1)
    hint = f" Is it {near[0]!r}?" if near else ""
    raise InputError(f"{text!r} is no class; {_there_are(count, names, of)}.{hint}")


def _find(text: str, count: int, names: Sequence[str] | None) -> int | None:
    """The class of a name or number; None if there is none.

    Raises:
        InputError: it is both one class's name and another one's number.
    """
    numbered = _NUMBERED.fullmatch(text.strip())
    if numbered is not None and text.strip() not in (names or ()):
        number = int(numbered[1])
        return number if number < count else None
    number = int(text) if text.strip().isdecimal() and len(text.strip()) < 10 else count
    match = index_names(names, None).find(text) if names is not None else None
    if match is None:
        return number if number < count else None
    if number < count and number != match[0]:
        raise InputError(
            f"{text.strip()!r} is the name of class {match[0]} and the number of another: say 'class {match[0]}' or "
            f"'class {number}'."
        )
    return match[0]


def _there_are(count: int, names: Sequence[str] | None, of: str) -> str:
    if names is None:
        return f"{of} has {count:,}, without names, by number from 0 to {count - 1}"
    more = f", and {count - _LISTED:,} more" if count > _LISTED else ""
    return f"{of} has {count:,}: {', '.join(map(repr, names[:_LISTED]))}{more}"


def read_thresholds(given: str | Path | float, count: int, names: Sequence[str] | None, of: str) -> tuple[float, ...]:
    """Probabilities above which classes are present: a number for all, or a file.

    The file is JSON (a list with one for each class, or an object from name or number to threshold) or text (one number
    a line, or ``name,threshold``). Classes that a file of pairs does not have keep 0.5.

    Returns:
        One for each class.

    Raises:
        InputError: it is neither, or does not fit the classes.
    """
    value = _number(str(given))
    if value is not None:
        return _checked(dict.fromkeys(range(count), value), count, str(value))
    path = Path(str(given))
    text = read_text(path, InputError)
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{"):
        return _from_json(parse_json(text, str(path), InputError), count, names, of, path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    alone = [_number(line) for line in lines]
    if all(entry is not None for entry in alone):
        return _listed([entry for entry in alone if entry is not None], count, of, path)
    pairs = {}
    for place, line in enumerate(lines, 1):
        name, comma, level = line.rpartition(",")
        if not comma or (number := _number(level)) is None:
            raise InputError(f"{path}: line {place}, {line[:60]!r}, is neither a number nor 'name,threshold'.")
        pairs[name.strip().strip('"')] = number
    return _paired(pairs, count, names, of, path)


def _from_json(data: object, count: int, names: Sequence[str] | None, of: str, path: Path) -> tuple[float, ...]:
    values = list(data.values()) if isinstance(data, Mapping) else data
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise InputError(f"{path}: a JSON list of numbers, or an object from class to number, was expected.")
    if isinstance(data, Mapping):
        return _paired({str(key): float(value) for key, value in data.items()}, count, names, of, path)
    return _listed([float(value) for value in values], count, of, path)


def _listed(values: Sequence[float], count: int, of: str, path: Path) -> tuple[float, ...]:
    if len(values) != count:
        raise InputError(f"{path}: {len(values):,} thresholds, and {of} has {count:,} classes.")
    return _checked(dict(enumerate(values)), count, str(path))


def _paired(
    pairs: Mapping[str, float], count: int, names: Sequence[str] | None, of: str, path: Path
) -> tuple[float, ...]:
    levels: dict[int, float] = {}
    for name, value in pairs.items():
        try:
            index = _one(name, count, names, of)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if index in levels:
            raise InputError(f"{path}: class {index} ({name!r}) has two thresholds.")
        levels[index] = value
    return _checked(levels, count, str(path))


def _checked(levels: Mapping[int, float], count: int, where: str) -> tuple[float, ...]:
    wrong = [value for value in levels.values() if not 0 < value < 1]
    if wrong:
        raise InputError(f"{where}: a threshold is a probability above 0 and below 1, not {wrong[0]:g}.")
    return tuple(levels.get(index, 0.5) for index in range(count))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
