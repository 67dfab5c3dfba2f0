"""JSON-lines and JSON lists: one object an image."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from onnx_gapmil.data.files import ImageFinder, Text
from onnx_gapmil.data.records import NEEDED, check_fields, read_record
from onnx_gapmil.data.types import RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.text import no_duplicates

_SNIFFED = 2**16
_CATEGORIES = ("categories", "category")


@dataclass(slots=True)
class JsonRecords:
    """Samples, each with its place for messages.

    Attributes:
        placed: they.
        as_bbox: the place of the first record with objects as Hugging Face's ImageFolder has them, whose boxes may be
            sizes or corners; "" where there is none.
        as_ours: the place of the first record with boxes as a label file has them.
    """

    placed: list[tuple[RawSample, str]] = field(default_factory=list)
    as_bbox: str = ""
    as_ours: str = ""

    def add(self, item: object, where: str, finder: ImageFinder) -> None:
        """Read one record.

        Raises:
            DataError: it has another form; or its boxes are spelled in another way than those of the others.
        """
        record = _object(item, where)
        objects = _of_image_folder(record.get("objects"), where)
        if objects is not None:
            nothing: dict[str, object] = {} if objects or "label" in record else {"labels": []}
            record = {**nothing, **record, "objects": objects}
            self.as_bbox = self.as_bbox or where
        elif record.get("boxes") or record.get("objects"):
            self.as_ours = self.as_ours or where
        if self.as_bbox and self.as_ours:
            raise DataError(
                f"{where}: boxes are spelled in two ways, as 'bbox' in {self.as_bbox}, and as 'box' or 'boxes' in "
                f"{self.as_ours}; use one."
            )
        self.placed.append((read_record(record, where, finder), where))


def read_json_lines(path: Place, text: Text, finder: ImageFinder) -> JsonRecords:
    """Read one JSON object a line; empty lines are passed over.

    Raises:
        DataError: names the line.
    """
    found = JsonRecords()
    for number, line in enumerate(text.text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            found.add(load_json(line, where, line=number), where, finder)
    return found


def read_json_list(path: Place, data: list[object], finder: ImageFinder) -> JsonRecords:
    """Read the objects of a JSON list; see `read_json_lines`.

    Raises:
        DataError: names the record, counted from 1.
    """
    found = JsonRecords()
    for number, item in enumerate(data, 1):
        found.add(item, f"{path}, record {number}", finder)
    return found


def _of_image_folder(objects: object, where: str) -> list[dict[str, object]] | None:
    """Objects as `read_record` takes them, of ImageFolder's two lists, `bbox` and `categories`; None of another form.

    Raises:
        DataError: the lists are not equally long.
    """
    if not isinstance(objects, dict) or not isinstance(objects.get("bbox"), list):
        return None
    kinds = next((objects[name] for name in _CATEGORIES if isinstance(objects.get(name), list)), None)
    if kinds is None or len(kinds) != len(objects["bbox"]):
        raise DataError(f"{where}: 'objects' has to have one of 'categories' for each 'bbox'.")
    return [{"box": box, "label": kind} for box, kind in zip(objects["bbox"], kinds, strict=True)]


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
