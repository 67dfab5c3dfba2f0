"""Tables: CSV with a header, separated by comma, semicolon, tab or bar."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from onnx_gapmil.data.files import ImageFinder, Text
from onnx_gapmil.data.jsonlines import load_json
from onnx_gapmil.data.records import FIELDS, FILE_NAME, check_fields, has_fields, read_record
from onnx_gapmil.data.types import RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.wording import count

_DELIMITERS = ",;\t|"
_SEVERAL = re.compile(r"[;|]")


def read_table(path: Place, text: Text, finder: ImageFinder) -> list[tuple[RawSample, str]]:
    """Read a table; cells of `label` and `labels` may name several (`3;17`, `cat|dog`, `["cat", "dog"]`).

    Cells of `boxes`, `box_labels` and `objects` are JSON. Header names are read without regard to case.

    Returns:
        The samples, each with its place for messages.

    Raises:
        DataError: names the line.
    """
    found = []
    for row, where in rows(path, text.text):
        record = {name: _cell(name, value, where) if name in FIELDS else value for name, value in row.items() if name}
        found.append((read_record(record, where, finder), where))
    return found


def header(text: str) -> tuple[str, ...]:
    """The names of a table's columns in lower case, by the separator that gives the fields we know."""
    return _columns(_first_line(text), _delimiter(text))


def rows(path: Place, text: str) -> Iterator[tuple[dict[str, str], str]]:
    """The rows of a table by column, each with its place; empty lines are passed over.

    Raises:
        DataError: the header lacks fields or repeats one, or a row has more or fewer cells; names the line.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    columns: tuple[str, ...] | None = None
    line = 1
    try:
        for cells in reader:
            where = f"{path}, line {line}"  # a row may span lines: its first one is named
            line = reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _checked(tuple(_spelled(cell.strip()) for cell in cells), where)
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{where}: {count(len(cells), 'cell')}, and the header has {len(columns)}; "
                    f"put text with separators in quotes."
                )
            yield dict(zip(columns, cells, strict=True)), where
    except csv.Error as error:
        raise DataError(f"{path}, line {max(reader.line_num, 1)}: not a table that can be read ({error}).") from error
    if columns is None:
        raise DataError(f"{path}: the table is empty; a header and one line an image were expected.")


def _spelled(name: str) -> str:
    """A field's name in lower case; another column keeps its own, as in other layouts."""
    return name.lower() if name.lower() in (*FIELDS, FILE_NAME, *LOC_HEADER) else name


def _checked(columns: tuple[str, ...], where: str) -> tuple[str, ...]:
    if columns[:2] != LOC_HEADER:
        check_fields(columns, f"{where} (the header)")
    for name in columns:
        if name and columns.count(name) > 1:
            raise DataError(f"{where}: the header has {name[:40]!r} twice.")
    return columns


LOC_HEADER = ("imageid", "predictionstring")
"""Columns of ImageNet's LOC_val_solution.csv, in lower case."""


def _delimiter(text: str) -> str:
    """The separator under which the header has the fields; the header is unlike all other lines in that its
    words are known, so nothing has to be guessed from the data."""
    line = _first_line(text)
    for delimiter in _DELIMITERS:
        columns = _columns(line, delimiter)
        if has_fields(columns) or columns[:2] == LOC_HEADER:
            return delimiter
    return max(_DELIMITERS, key=line.count)


def _first_line(text: str) -> str:
    return next((line for line in io.StringIO(text[: 2**16]) if line.strip()), "")


def _columns(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return ()
    return tuple(cell.strip().lower() for cell in cells)


def _cell(name: str, value: str, where: str) -> object:
    text = value.strip()
    if name in ("image", "mask"):
        return text
    if not text:
        return [] if name == "labels" else None
    if name in ("boxes", "objects"):
        return load_json(text, f"{where}, {name!r}", line=0)
    if text.startswith("["):
        return load_json(text, f"{where}, {name!r}", line=0)
    parts = [part.strip() for part in _SEVERAL.split(text)]
    if "" in parts:
        raise DataError(f"{where}: {name!r} is {text[:60]!r}, which has an empty label.")
    return parts
