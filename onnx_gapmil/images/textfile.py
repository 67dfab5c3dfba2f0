"""Small text and JSON files that a user or a vendor lays beside a model: bounded, and UTF-8."""

from __future__ import annotations

import json
from pathlib import Path

from onnx_gapmil.errors import InputError

MAX_BYTES = 16 * 2**20
"""Names of a million classes fit in this; what is larger is not read."""


def read_text(path: Path, error: type[InputError]) -> str:
    """The file's text, UTF-8 with or without a byte order mark.

    Args:
        path: the file.
        error: the class to raise, so that the message keeps its subject.

    Raises:
        InputError: of class `error`: missing, a folder, too large, a Git LFS pointer, or no UTF-8 text.
    """
    try:
        if path.is_dir():
            raise error(f"{path}: this is a folder, and a file was expected.")
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path}: more than {MAX_BYTES:,} bytes; this is not a small text file.")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as cause:
        raise error(f"{path}: no such file; check the path.") from cause
    except UnicodeDecodeError as cause:
        raise error(f"{path}: not UTF-8 text (byte {cause.start}); save it as UTF-8.") from cause
    except (OSError, ValueError) as cause:
        raise error(f"{path}: cannot be read ({cause}).") from cause
    if text.startswith("version https://git-lfs.github.com/spec/"):
        raise error(f"{path}: this is a Git LFS pointer, not the file itself; run `git lfs pull`.")
    return text


def parse_json(text: str, where: str, error: type[InputError]) -> object:
    """Parse JSON; duplicate keys, NaN and endless nesting are refused.

    Raises:
        InputError: of class `error`, with the line of the mistake.
    """
    try:
        parsed: object = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as cause:
        raise error(f"{where}: not JSON: {cause.msg} in line {cause.lineno}, column {cause.colno}.") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{where}: not JSON that is accepted: {str(cause)[:80]}.") from cause
    return parsed


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {key!r} occurs twice")
        result[key] = value
    return result


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
