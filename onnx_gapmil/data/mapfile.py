"""A file that says which of the model's classes each label means."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx_gapmil.data.files import read_text
from onnx_gapmil.data.jsonlines import load_json
from onnx_gapmil.data.names import index_names
from onnx_gapmil.data.types import Label
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.wording import count

_NUMBER = re.compile(r"[0-9]{1,9}")


def read_map_file(
    path: Path, *, classes: int, names: Sequence[str] | None, wnids: Sequence[str] | None
) -> dict[str, tuple[int, ...]]:
    """Read a map from label to class.

    Forms: a JSON object `{"cat": 281, "dog": ["beagle", 207], "person": null}`, or a table of two columns
    without a header (`cat,281`). A class is an index or one of the model's names; several mean that any of them is
    right; none leaves the label out.

    Args:
        path: the file.
        classes: the number of the model's classes.
        names: the model's class names, or None.
        wnids: their WordNet ids, or None.

    Returns:
        The classes of each label, sorted; labels as text, also those that are numbers.

    Raises:
        DataError: the file cannot be read, has another form, names a label twice, or a class that is not there.
    """
    text = read_text(path).text
    entries = _from_json(text, path) if text.lstrip()[:1] in ("{", "[") else _from_table(text, path)
    index = index_names(names, wnids)
    table: dict[str, tuple[int, ...]] = {}
    for label, value, where in entries:
        if label in table:
            raise DataError(f"{where}: label {label[:60]!r} occurs twice.")
        wanted = value if isinstance(value, list) else [] if value is None or value == "" else [value]
        found = set()
        for item in wanted:
            if isinstance(item, str) and (match := index.find(item.strip())) is not None:
                found.add(match[0])
            else:
                found.add(_index(item, classes, where, known=names is not None))
        table[label] = tuple(sorted(found))
    if not any(table.values()):
        raise DataError(f"{path}: the map gives no label a class.")
    return table


def look_up(table: Mapping[str, tuple[int, ...]], label: Label) -> tuple[int, ...] | None:
    """The classes of a label in a map; None if the map does not have it."""
    return table.get(str(label))


def _from_json(text: str, path: Path) -> list[tuple[str, object, str]]:
    data = load_json(text, str(path))
    if not isinstance(data, dict):
        raise DataError(f"{path}: a JSON object from label to class was expected.")
    return [(label.strip(), value, f"{path}, label {label[:60]!r}") for label, value in data.items()]


def _from_table(text: str, path: Path) -> list[tuple[str, object, str]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in "\t;," if mark in first), ",")
    entries: list[tuple[str, object, str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != 2:
                raise DataError(f"{where}: {count(len(cells), 'column')}; two were expected, label and class.")
            label, value = (cell.strip() for cell in cells)
            if not entries and (label.lower(), value.lower()) in {
                ("label", "class"),
                ("label", "index"),
                ("from", "to"),
            }:
                continue
            entries.append((label, value, where))
    except csv.Error as error:
        raise DataError(f"{path}, line {max(reader.line_num, 1)}: not a table that can be read ({error}).") from error
    return entries


def _index(item: object, classes: int, where: str, *, known: bool) -> int:
    if isinstance(item, str) and _NUMBER.fullmatch(item.strip()):
        item = int(item)
    if type(item) is not int:
        names = "no class of the model has this name" if known else "the model's class names are not known"
        raise DataError(f"{where}: {repr(item)[:60]} is no class: {names}, and it is no index.")
    if not 0 <= item < classes:
        raise DataError(f"{where}: class {str(item)[:20]} is not there; the model has classes 0 to {classes - 1}.")
    return item
