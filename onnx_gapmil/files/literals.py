"""Values that exporters write into a model's metadata as text: JSON, Python's own notation, or plain lists."""

from __future__ import annotations

import ast
import json
import math
import re
import threading
from collections.abc import Mapping

#: Longer values are not looked into: a million names fit.
MAX_LENGTH = 1 << 24
#: Longer values are not parsed as Python: its syntax tree takes a hundred times as much memory.
_MAX_PYTHON = 1 << 20
#: Brackets within brackets, at the most: Python's parser has a stack of its own.
_DEEPEST = 64
#: Held while Python parses a literal: threads of Python 3.11 share the depth of the tree that is being made, so that
#: two of them at once may end in a SystemError (python/cpython#106905).
PARSING = threading.Lock()
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def parse_literal(text: str) -> object | None:
    """The value that a text writes as JSON or as a Python literal; None where it writes neither.

    Ultralytics writes dictionaries as Python prints them (``{0: 'cat'}``), others JSON; nothing is ever executed.
    """
    if len(text) > MAX_LENGTH or not text.strip() or _depth(text) > _DEEPEST:
        return None
    try:
        found: object = json.loads(text)
        return found
    except (ValueError, RecursionError):
        pass
    if len(text) > _MAX_PYTHON:
        return None
    try:
        with PARSING:
            written: object = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return written


def parse_numbers(text: str) -> tuple[float, ...] | None:
    """Finite numbers with spaces, commas or brackets around them, as OpenVINO and others write lists; else None."""
    parts = re.sub(r"[\[\](),;]", " ", text).split()
    if not parts or len(parts) > 64 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = tuple(float(part) for part in parts)
    return numbers if all(map(math.isfinite, numbers)) else None


def parse_flag(text: str) -> bool | None:
    """True or False as people and programs write them; None where it is neither."""
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.strip().casefold())


def parse_names(value: object) -> list[str] | None:
    """Names in order, of a list, of a dictionary from index or to index, or of a list of dictionaries; else None.

    >>> parse_names({"1": "dog", "0": "cat"})
    ['cat', 'dog']
    """
    if isinstance(value, list | tuple):
        if len(value) == 1 and isinstance(value[0], Mapping):  # QGIS Deepness: one dictionary for each output
            return parse_names(value[0])
        named = [entry if isinstance(entry, str) else None for entry in value]
        return [name.strip() for name in named if name is not None] if named and None not in named else None
    if not isinstance(value, Mapping) or not value:
        return None
    if all(type(entry) is int for entry in value.values()):
        by_index = {int(index): str(name) for name, index in value.items()}
    elif all(re.fullmatch(r"\d{1,9}", str(key)) for key in value):
        if not all(isinstance(entry, str) for entry in value.values()):
            return None
        by_index = {int(str(index)): str(name).strip() for index, name in value.items()}
    else:
        return None
    if len(by_index) != len(value) or sorted(by_index) != list(range(len(by_index))):
        return None
    return [by_index[index] for index in range(len(by_index))]


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in re.findall(r"[\[\](){}]", text):
        depth += 1 if character in "[({" else -1
        deepest = max(deepest, depth)
    return deepest
