"""Where the keys of a TOML file stand: `tomllib` reads values and tells no lines, and a message without one is no help.

Only what a line begins with is looked at: headers (``[model]``, ``[[require]]``) and keys. Strings and brackets are
followed just far enough to know which lines begin inside a value.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

Path = tuple[str | int, ...]


class KeyLines:
    """The lines of a TOML text's keys, from 1.

    Args:
        text: valid TOML.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        table: Path = ()
        for number, line in _statements(text):
            if line.startswith("["):
                table = path = self._header(line)
            else:
                path = (*table, *_path_of(f"{_key(line)} = 0"))
            for end in range(1, len(path) + 1):  # [[a]] and [a.b] are where a begins, too
                self._lines.setdefault(path[:end], number)

    def line(self, *path: str | int) -> int:
        """The line of a key, or of the nearest table around it; 1 where nothing is known."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1

    def _header(self, line: str) -> Path:
        array = line.startswith("[[")
        end = line.index("]]") + 2 if array else line.rindex("]") + 1
        named = _path_of(line[:end])
        where: Path = ()
        for place, part in enumerate(named):
            where = (*where, part)
            if place == len(named) - 1 and array:
                self._arrays[where] = self._arrays.get(where, -1) + 1
            if where in self._arrays:
                where = (*where, self._arrays[where])
        return where


def _path_of(statement: str) -> Path:
    """The keys of a header or of ``key = 0``."""
    found: list[str] = []
    value: object = tomllib.loads(statement)
    while isinstance(value, dict | list) and value:
        if isinstance(value, list):
            value = value[0]
            continue
        name = next(iter(value))
        found.append(name)
        value = value[name]
    return tuple(found)


def _key(line: str) -> str:
    """What stands before the equals sign, which a quoted key may hold too."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote and line[place - 1] != "\\" else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "=":
            return line[:place]
    return line


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each line that begins with a header or a key."""
    depth, closing = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        begins = depth == 0 and not closing
        stripped = line.strip()
        if begins and stripped and not stripped.startswith("#"):
            yield number, stripped
            if stripped.startswith("["):
                continue
        depth, closing = _follow(line, depth, closing)


def _follow(line: str, depth: int, closing: str) -> tuple[int, str]:
    """Brackets and multi-line strings that are open behind a line."""
    place = 0
    while place < len(line):
        letter = line[place]
        if closing:
            if letter == "\\" and closing[0] == '"':
                place += 2
            elif line.startswith(closing, place):
                place += len(closing)
                closing = ""
            else:
                place += 1
            continue
        if letter == "#":
            break
        if letter in "\"'":
            closing = letter * 3 if line.startswith(letter * 3, place) else letter
            place += len(closing)
            continue
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(letter, 0)
        place += 1
    return max(depth, 0), closing if len(closing) == 3 else ""
