"""Small text and JSON files that a user or a vendor lays beside a model: bounded, and UTF-8."""

from __future__ import annotations

import json

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.reading import read_bytes

MAX_BYTES = 16 * 2**20
"""Names of a million classes fit in this; what is larger is not read."""


def read_text(path: Source, error: type[InputError]) -> str:
    """The file's text, UTF-8 with or without a byte order mark.

    Args:
        path: the file.
        error: the class to raise, so that the message keeps its subject.

    Raises:
        InputError: of class `error`: missing, a folder, too large, a Git LFS pointer, or no UTF-8 text.
    """
    data = read_bytes(path, error, expected="a small text file", limit=MAX_BYTES)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{path}: not UTF-8 text (byte {cause.start}); save it as UTF-8.") from cause


def parse_json(text: str, where: str, error: type[InputError]) -> object:
    """Parse JSON; duplicate keys, NaN and endless nesting are refused.

    Raises:
        InputError: of class `error`, with the line of the mistake.
    """
    try:
        parsed: object = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as cause:
        raise error(f"{where}: not JSON: {cause.msg} in line {cause.lineno}, column {cause.colno}.") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{where}: not JSON that is accepted: {str(cause)[:80]}.") from cause
    return parsed


def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object's pairs as a dict, for `json.loads`; a key that occurs twice is a ValueError."""
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {key!r} occurs twice")
        result[key] = value
    return result


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
