"""Tell from a label file's first bytes what it is."""

from __future__ import annotations

import re

from onnx_gapmil.data.jsonlines import first_object
from onnx_gapmil.data.records import has_fields
from onnx_gapmil.data.tables import LOC_HEADER, header
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.reading import open_source
from onnx_gapmil.files.remote import Place

TABLES = {".csv", ".tsv"}
JSONS = {".json", ".jsonl", ".ndjson"}

_HEAD = 2**16
_COCO = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_LISTS = re.compile(r'"(images|annotations)"\s*:\s*\[')


def recognise(file: Place) -> str | None:
    """What a label file is, or None if it is none that is known.

    Returns:
        `csv`, `loc` (ImageNet's LOC_*_solution.csv), `json` (lines or a list), `coco`, or `list` (probably).

    Raises:
        DataError: the file cannot be read.
    """
    ending = file.suffix.lower()
    if ending not in TABLES | JSONS | {".txt"}:
        return None
    head = _head(file)
    if ending in TABLES:
        columns = header(head)
        return "loc" if columns[:2] == LOC_HEADER else "csv" if has_fields(columns) else None
    if ending == ".txt":
        return "list" if _is_list(head) else None
    first = first_object(head)
    if first is not None and has_fields(first):
        return "json"
    # Categories alone say something of a data set only where more may follow: Label Studio lays a `notes.json` of them
    # beside YOLO's text files.
    lists = _COCO if len(head.encode("utf-8", "replace")) >= _HEAD // 2 else _LISTS
    return "coco" if head.lstrip().startswith("{") and lists.search(head) else None


def fields_of(file: Place) -> str:
    """The field names of a file that was not recognised, for a message."""
    head = _head(file)
    names = list(header(head)) if file.suffix.lower() in TABLES else list(first_object(head) or ())
    return ", ".join(repr(name[:40]) for name in names[:10]) or "none"


def _head(file: Place) -> str:
    try:
        with open_source(file, 2**62) as stream:
            data = stream.read(_HEAD)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def _is_list(head: str) -> bool:
    """Whether the first line has an image's name and one more word."""
    line = next((line for line in head.splitlines() if line.strip()), "")
    parts = line.strip().split("\t") if "\t" in line else line.strip().rsplit(None, 1)
    return len(parts) == 2 and bool(re.search(r"\.\w{3,4}$|_\d+$", parts[0].strip()))
