"""Numbers of many records, a column each: what the figures of a data set are made of, in one pass over its records.

A record of Python objects takes kilobytes; of a million images only the numbers that a figure needs are held: whole
numbers and truth values as integers in which -1 stands for what was not measured, other numbers as float64 in which NaN
does (a journal takes no NaN, so that none is a number that was measured). They lie in the narrowest type that keeps
each of them, and are as wide as they were where they are asked for: a column of what was never measured takes a byte or
two a record.
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


#: Records whose numbers are as wide as they came.
_PART = 1 << 14
#: Narrower types, by the kind of a column's own.
_NARROWER = {"i": (np.int8, np.int16), "f": (np.float16, np.float32)}
_WIDE = {"i": np.int32, "f": np.float64}


class Columns:
    """Columns of equal length.

    Args:
        arrays: (records,) each, by name.
        places: of the records that are meant; None for all.
    """

    def __init__(self, arrays: Mapping[str, Numbers], places: npt.NDArray[np.intp] | None = None) -> None:
        self._arrays, self._places = arrays, places

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())) if self._places is None else self._places)

    def __getitem__(self, name: str) -> Numbers:
        """A column: float64, or int32."""
        values = self._arrays[name]
        own = values if self._places is None else values[self._places]
        return own.astype(_WIDE[own.dtype.kind], copy=False)

    def among(self, places: npt.ArrayLike) -> Columns:
        """The same of some records: by their places, or marked with true. A column is cut when it is asked for."""
        chosen = np.asarray(places)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.intp, copy=False)
        return Columns(self._arrays, chosen if self._places is None else self._places[chosen])


class Growing:
    """Numbers that are added to, in the narrowest type that keeps each.

    Args:
        kind: ``d``, ``i`` or ``b``, as they come.
    """

    def __init__(self, kind: str) -> None:
        self.open = array(kind)
        # One block that grows where it lies: parts of it would leave holes behind when they are put together.
        self._block = bytearray()
        self._type: np.dtype[Any] = narrowed(np.array(self.open)).dtype

    def extend(self, values: Iterable[Any]) -> None:
        """Add the next ones."""
        self.open.extend(values)
        if len(self.open) >= _PART:
            self.close()

    def close(self) -> None:
        """Make what was added narrow."""
        values = narrowed(np.array(self.open))
        wide = np.result_type(values, self._type)
        if wide != self._type:
            self._block, self._type = bytearray(self._numbers().astype(wide).tobytes()), wide
        self._block += values.astype(wide, copy=False).tobytes()
        del self.open[:]

    def built(self) -> Numbers:
        """All of them; nothing is to be added any more."""
        self.close()
        return self._numbers()

    def _numbers(self) -> Numbers:
        return np.frombuffer(self._block, self._type) if self._block else np.empty(0, self._type)


def narrowed(values: Numbers) -> Numbers:
    """The same numbers in the narrowest type that keeps each of them."""
    with np.errstate(over="ignore"):
        for kind in _NARROWER[values.dtype.kind]:
            if np.array_equal(narrow := values.astype(kind), values, equal_nan=True):
                return narrow
    return values


class ColumnsBuilder:
    """Columns that grow record by record.

    Args:
        fields: by dotted path, as in ``foreground.cell_share``, the column's kind. Where what stands before a dot is
            None, nothing behind it was measured.
    """

    def __init__(self, fields: Mapping[str, Kind]) -> None:
        self._columns: dict[str, Growing] = {}
        self._groups: list[_Group] = []
        self._added = 0
        groups: dict[str, dict[str, Kind]] = {}
        for path, kind in fields.items():
            parent, _, name = path.rpartition(".")
            groups.setdefault(parent, {})[name] = kind
            self._columns[path] = Growing(kind if isinstance(kind, str) else "b")
        for parent, kinds in groups.items():
            start = f"{parent}." if parent else ""
            self._groups.append(_Group(parent, kinds, [self._columns[start + name].open for name in kinds]))

    def add(self, record: object) -> None:
        """Add a record's numbers."""
        for group in self._groups:
            group.add(record)
        self._added += 1
        if self._added % _PART == 0:
            for column in self._columns.values():
                column.close()

    def columns(self) -> Columns:
        """All of them; nothing is to be added any more."""
        return Columns({name: column.built() for name, column in self._columns.items()})


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
