"""JSON-lines and JSON lists: one object an image."""

from __future__ import annotations

import json

from onnx_gapmil.data.files import ImageFinder, Text
from onnx_gapmil.data.records import NEEDED, check_fields, read_record
from onnx_gapmil.data.types import RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.text import no_duplicates

_SNIFFED = 2**16


def read_json_lines(path: Place, text: Text, finder: ImageFinder) -> list[tuple[RawSample, str]]:
    """Read one JSON object a line; empty lines are passed over.

    Returns:
        The samples, each with its place for messages.

    Raises:
        DataError: names the line.
    """
    found = []
    for number, line in enumerate(text.text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            found.append((read_record(_object(load_json(line, where, line=number), where), where, finder), where))
    return found


def read_json_list(path: Place, data: list[object], finder: ImageFinder) -> list[tuple[RawSample, str]]:
    """Read the objects of a JSON list; see `read_json_lines`.

    Raises:
        DataError: names the record, counted from 1.
    """
    found = []
    for number, item in enumerate(data, 1):
        where = f"{path}, record {number}"
        found.append((read_record(_object(item, where), where, finder), where))
    return found


def load_json(text: str, where: str, *, line: int | None = None, large: bool = False) -> object:
    """Parse JSON; a key that occurs twice is refused, and NaN is let through for boxes to be checked.

    Args:
        text: the JSON.
        where: file and line, for the message.
        line: the number of the line if `text` is one line of a file.
        large: whether it is COCO's: keys are not checked, which takes as long as parsing, and outlines of objects are
            dropped as they come, which are nine tenths of the memory.

    Raises:
        DataError: with line and column of the mistake.
    """
    try:
        if large:
            parsed: object = json.loads(text, object_hook=_without_outline)
        else:
            parsed = json.loads(text, object_pairs_hook=no_duplicates)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if line is not None else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{where}: not JSON: {error.msg} ({place}).") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that is accepted: {str(error)[:80]}.") from error
    return parsed


def first_object(text: str) -> dict[str, object] | None:
    """The first record of a JSON-lines file or of a JSON list; None if there is none."""
    head = text.lstrip()[:_SNIFFED]
    if head.startswith("["):
        head = head[1:].lstrip()
    if not head.startswith("{"):
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_json_lines(text: str) -> bool:
    """Whether the text has one JSON object a line, so that the first line is one by itself."""
    first = text.lstrip().split("\n", 1)
    return len(first) == 2 and bool(first[1].strip()) and _is_object(first[0])


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: {repr(value)[:40]} is no JSON object; {NEEDED}.")
    check_fields(value, where)
    return value


def _without_outline(item: dict[str, object]) -> dict[str, object]:
    item.pop("segmentation", None)
    return item
