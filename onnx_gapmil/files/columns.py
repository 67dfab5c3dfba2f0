"""Numbers of many records, a column each: what the figures of a data set are made of, in one pass over its records.

A record of Python objects takes kilobytes; of a million images only the numbers that a figure needs are held, as wide
as they are: whole numbers and truth values as integers in which -1 stands for what was not measured, other numbers as
float64 in which NaN does (a journal takes no NaN, so that none is a number that was measured).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Kind: TypeAlias = str | tuple[str, ...]
"""``d`` float64, ``i`` int32, ``b`` int8; or the texts that a field may hold, of which the place is kept."""

Numbers = npt.NDArray[Any]


class Columns:
    """Columns of equal length.

    Args:
        arrays: (records,) each, by name.
    """

    def __init__(self, arrays: Mapping[str, Numbers]) -> None:
        self._arrays = dict(arrays)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, name: str) -> Numbers:
        return self._arrays[name]

    def among(self, places: npt.ArrayLike) -> Columns:
        """The same of some records: by their places, or marked with true."""
        chosen = np.asarray(places)
        chosen = chosen if chosen.dtype == np.bool_ else chosen.astype(np.intp, copy=False)
        return Columns({name: values[chosen] for name, values in self._arrays.items()})


class ColumnsBuilder:
    """Columns that grow record by record.

    Args:
        fields: by dotted path, as in ``foreground.cell_share``, the column's kind. Where what stands before a dot is
            None, nothing behind it was measured.
    """

    def __init__(self, fields: Mapping[str, Kind]) -> None:
        self._arrays: dict[str, array[Any]] = {}
        self._groups: list[_Group] = []
        groups: dict[str, dict[str, Kind]] = {}
        for path, kind in fields.items():
            parent, _, name = path.rpartition(".")
            groups.setdefault(parent, {})[name] = kind
            self._arrays[path] = array(kind if isinstance(kind, str) else "b")
        for parent, kinds in groups.items():
            start = f"{parent}." if parent else ""
            self._groups.append(_Group(parent, kinds, [self._arrays[start + name] for name in kinds]))

    def add(self, record: object) -> None:
        """Add a record's numbers."""
        for group in self._groups:
            group.add(record)

    def columns(self) -> Columns:
        """All of them; nothing is to be added any more."""
        return Columns({name: as_numbers(values) for name, values in self._arrays.items()})


class _Group:
    """The fields of one part of a record."""

    def __init__(self, parent: str, kinds: Mapping[str, Kind], arrays: Sequence[array[Any]]) -> None:
        self._parent = attrgetter(parent) if parent else None
        read = attrgetter(*kinds)
        self._read: Callable[[Any], tuple[Any, ...]] = read if len(kinds) > 1 else lambda part: (read(part),)
        self._columns = [(values.append, *_missing(kind)) for kind, values in zip(kinds.values(), arrays, strict=True)]

    def add(self, record: object) -> None:
        part = record if self._parent is None else self._parent(record)
        if part is None:
            for append, missing, _ in self._columns:
                append(missing)
            return
        for value, (append, missing, places) in zip(self._read(part), self._columns, strict=True):
            append(missing if value is None else value if places is None else places[value])


def _missing(kind: Kind) -> tuple[float, dict[str, int] | None]:
    """What stands for nothing, and the places of texts."""
    if isinstance(kind, tuple):
        return -1, {text: place for place, text in enumerate(kind)}
    return (math.nan if kind == "d" else -1), None


def as_numbers(values: array[Any]) -> Numbers:
    """The same memory as a NumPy array."""
    return np.frombuffer(values, dtype=np.dtype(values.typecode)) if values else np.empty(0, np.dtype(values.typecode))


def known(values: Numbers) -> Numbers:
    """float64 numbers of a column that were measured, in order."""
    numbers = values[~np.isnan(values)] if values.dtype.kind == "f" else values[values >= 0]
    return numbers.astype(np.float64, copy=False)


def built(records: Iterable[object], fields: Mapping[str, Kind]) -> Columns:
    """The columns of records."""
    builder = ColumnsBuilder(fields)
    for record in records:
        builder.add(record)
    return builder.columns()
