"""One record of a label file (a line of a table, an object of JSON) to one sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from onnx_gapmil.data.files import ImageFinder, exists, is_unicode
from onnx_gapmil.data.types import Corners, Label, RawBox, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.wording import count

FIELDS = ("image", "label", "labels", "boxes", "box_labels", "objects", "mask")
"""The fields that have a meaning; what is short in others makes slices."""

FILE_NAME = "file_name"
"""How `metadata.csv` and `metadata.jsonl` of Hugging Face's ImageFolder call `image`."""

NEEDED = "needed are 'image', and 'label' or 'labels' (or boxes that have labels); read too: 'boxes', 'objects', 'mask'"

MAX_BOXES = 10_000
MAX_LABEL = 2**31 - 1
MAX_NAME = 1_000
MAX_COLUMN = 100


def has_fields(fields: Mapping[str, object] | tuple[str, ...]) -> bool:
    """Whether a record with these fields says what its image is and shows."""
    return ("image" in fields or FILE_NAME in fields) and any(
        name in fields for name in ("label", "labels", "boxes", "objects")
    )


def check_fields(fields: Mapping[str, object] | tuple[str, ...], where: str) -> None:
    """Refuse a record that lacks the fields.

    Raises:
        DataError: names the fields found and those needed.
    """
    if not has_fields(fields):
        found = ", ".join(repr(str(name)[:40]) for name in list(fields)[:12]) or "none"
        raise DataError(f"{where}: its fields are {found}; {NEEDED}.")


def read_record(record: Mapping[str, object], where: str, finder: ImageFinder) -> RawSample:
    """Read one record; the numbers of boxes are taken as they are, to be checked against the image.

    An empty list (or cell) of ``labels`` says that the image has none; without that field, a label is missing.

    Raises:
        DataError: a field is missing or has another form, or the image lies outside the data set.
    """
    check_fields(record, where)
    record = _own_names(record)
    written = record["image"]
    if not isinstance(written, str):
        raise DataError(f"{where}: 'image' is {_short(written)}, and a path was expected.")
    image = finder.find(written, where)
    labels, boxes, columns = read_labels(record, where, repr(written))
    mask = _mask(record.get("mask"), where, finder, image)
    return RawSample(image, finder.name(image), labels, boxes, mask, columns)


def _own_names(record: Mapping[str, object]) -> Mapping[str, object]:
    """The record with `image` for ImageFolder's `file_name`."""
    if "image" in record:
        return record
    return {"image" if name == FILE_NAME else name: value for name, value in record.items()}


def read_labels(
    record: Mapping[str, object], where: str, what: str
) -> tuple[tuple[Label, ...], tuple[RawBox, ...], tuple[tuple[str, str], ...]]:
    """What a record says of its image: labels, boxes, and columns that make slices; see `read_record`.

    Args:
        record: its fields; the image's own, if there is one, is not read.
        where: file and line, for messages.
        what: the image, for messages.

    Raises:
        DataError: a field has another form, or a label is missing.
    """
    boxes = _boxes(record, where)
    labels = tuple(dict.fromkeys(_labels(record.get("label"), where) + _labels(record.get("labels"), where)))
    labels = labels or tuple(dict.fromkeys(label for box in boxes for label in box.label))
    if not labels and record.get("labels") not in ([], ""):
        raise DataError(f"{where}: {what} has no label; {NEEDED}.")
    return labels, boxes, _shared(_columns(record))


@lru_cache(maxsize=65536)
def _shared(columns: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The same, one object for all rows that say the same."""
    return columns


def _columns(record: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Other fields that are a short text, a number or a truth value; empty ones are left out."""
    found = []
    for name, value in record.items():
        if name in FIELDS or not name.strip() or not isinstance(value, str | int | float):
            continue
        text = _column(value)
        if text and len(text) <= MAX_COLUMN and len(name) <= MAX_COLUMN and is_unicode(text) and is_unicode(name):
            found.append((name, text))
    return tuple(found)


def _column(value: str | float) -> str:
    """A value as text, the same from whatever layout: truth values as JSON spells them, not a number as nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isnan(value):
        return ""
    text = str(value).strip()
    return text.lower() if text in ("True", "False") else text


def _labels(value: object, where: str) -> tuple[Label, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, list):
        return tuple(_label(item, where) for item in value)
    return (_label(value, where),)


def _label(value: object, where: str) -> Label:
    if isinstance(value, float) and value.is_integer():  # a table with a gap turns all of a column into floats
        value = int(value)
    if type(value) is int:
        if not 0 <= value <= MAX_LABEL:
            raise DataError(f"{where}: label {_short(value)}; a number has to be 0 or more, and below 2^31.")
        return value
    if not isinstance(value, str):
        raise DataError(f"{where}: label {_short(value)} is neither a number nor a name.")
    if not value.strip() or len(value) > MAX_NAME or not is_unicode(value):
        raise DataError(f"{where}: label {_short(value)}; a name has 1 to {MAX_NAME:,} letters, all of them Unicode.")
    return value.strip()


def _boxes(record: Mapping[str, object], where: str) -> tuple[RawBox, ...]:
    entries = _box_list(record.get("boxes"), "boxes", where)
    beside = record.get("box_labels")
    if beside is not None:
        if not isinstance(beside, list) or len(beside) != len(entries):
            raise DataError(f"{where}: 'box_labels' needs one label for each of the {count(len(entries), 'box')}.")
        labels = [_labels(item, where) for item in beside]
        boxes = [RawBox(corners(entry, where), label) for entry, label in zip(entries, labels, strict=True)]
    else:
        boxes = [_box(entry, where) for entry in entries]
    boxes += [_box(entry, where) for entry in _box_list(record.get("objects"), "objects", where)]
    return tuple(boxes)


def _box_list(value: object, field: str, where: str) -> list[object]:
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise DataError(f"{where}: {field!r} is {_short(value)}, and a list of boxes was expected.")
    if len(value) > MAX_BOXES:
        raise DataError(f"{where}: {field!r} has {len(value):,} boxes; at most {MAX_BOXES:,} are read.")
    if len(value) == 4 and all(_is_number(item) for item in value):  # a single box, its list left out
        return [value]
    return value


def _box(entry: object, where: str) -> RawBox:
    if isinstance(entry, Mapping):
        if "box" not in entry:
            found = ", ".join(repr(str(name)[:40]) for name in list(entry)[:12])
            raise DataError(f"{where}: an object has the fields {found}; needed is 'box', and 'label' or 'class'.")
        named = [_labels(entry.get(field), where) for field in ("label", "labels", "class")]
        return RawBox(corners(entry["box"], where), tuple(dict.fromkeys(sum(named, ()))))
    if isinstance(entry, list) and len(entry) == 5:
        return RawBox(corners(entry[:4], where), _labels(entry[4], where))
    return RawBox(corners(entry, where))


def corners(value: object, where: str) -> Corners:
    """Four numbers of a parsed JSON list, NaN and infinity included.

    Raises:
        DataError: something else.
    """
    if not isinstance(value, list) or len(value) != 4:
        raise DataError(f"{where}: box {_short(value)}; a list of four numbers was expected.")
    numbers = []
    for item in value:
        if not _is_number(item):
            raise DataError(f"{where}: box {_short(value)} has {_short(item)} where a number was expected.")
        numbers.append(_float(item))
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer beyond all floats: outside every image, like infinity
        return float("inf")


def _mask(value: object, where: str, finder: ImageFinder, image: Place) -> Place | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DataError(f"{where}: 'mask' is {_short(value)}, and a path was expected.")
    path = finder.find(value, where)
    return path / f"{image.stem}.png" if exists(path) and path.is_dir() else path


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
