"""The bytes of single rows of Parquet files, read as a stream where rows are asked for in about their order."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from onnx_gapmil.files.blob import Blob, Source, TooLargeError, file_stamp
from onnx_gapmil.files.parts import ByReference
from onnx_gapmil.files.reading import LFS_POINTER, open_regular

_KEPT_BYTES = 2**27
"""Bytes of rows that were passed and are kept: the two streams of a comparison are some batches apart."""

_OPEN = 4
"""Files that are read on at the same time."""

_PART = 2**22
"""Bytes of a column that are decoded at a time, about."""

_BUFFER = 2**20


BROKEN = (OSError, ValueError, pa.ArrowException)
"""What PyArrow raises for damaged files."""


def in_short(error: BaseException) -> str:
    """The first line of what PyArrow says, for a message."""
    return (str(error).strip().split("\n")[0][:200] or type(error).__name__).rstrip(".")


def open_parquet(shard: Source) -> pq.ParquetFile:
    """Open a Parquet file so that columns are read a page at a time, and never a whole row group.

    A page is as large as its writer made it; with a buffer PyArrow holds one, without it the column of a row group.

    Raises:
        OSError, ValueError: it cannot be read, or is none (`pyarrow.ArrowInvalid`).
    """
    try:
        if isinstance(shard, Blob):
            return pq.ParquetFile(shard.open(2**62), pre_buffer=False, buffer_size=_BUFFER)
        with open_regular(shard):  # a pipe, a folder; and that it is read is noted
            pass
        return pq.ParquetFile(shard, pre_buffer=False, buffer_size=_BUFFER)
    except pa.ArrowInvalid as error:
        with shard.open(2**62) if isinstance(shard, Blob) else open_regular(shard) as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                raise ValueError("a Git LFS pointer, not the file itself; run `git lfs pull`") from error
        raise


def group_starts(file: pq.ParquetFile) -> list[int]:
    """The first row of each row group, and the number of rows."""
    starts = [0]
    for group in range(file.metadata.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    return starts


class _Cursor:
    """One column of one file, read from a row on."""

    def __init__(self, shard: Source, column: str, row: int) -> None:
        self._file = open_parquet(shard)
        self._starts = group_starts(self._file)
        if not 0 <= row < self._starts[-1]:
            self._file.close()
            raise ValueError(f"it has {self._starts[-1]:,} rows, and row {row:,} was asked for")
        self.group = self._group_of(row)
        self.next = self._starts[self.group]
        groups = list(range(self.group, self._file.metadata.num_row_groups))
        self._batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            self._rows_at_a_time(column), row_groups=groups, columns=[column], use_threads=False
        )

    def _rows_at_a_time(self, column: str) -> int:
        group = self._file.metadata.row_group(self.group)
        sizes = (group.column(place) for place in range(group.num_columns))
        size = sum(chunk.total_uncompressed_size for chunk in sizes if chunk.path_in_schema == column)
        return int(min(64, max(1, _PART * group.num_rows // max(1, size))))

    def _group_of(self, row: int) -> int:
        return next(group for group, end in enumerate(self._starts[1:]) if row < end)

    def leads_to(self, row: int) -> bool:
        """Whether going on is the shortest way to a row: it is not behind, nor beyond a row group that is passed."""
        return self.next <= row and self._group_of(row) <= self._group_of(min(self.next, self._starts[-1] - 1)) + 1

    def advance(self) -> list[tuple[int, bytes | None]]:
        """The next rows.

        Raises:
            OSError, ValueError: they cannot be read.
        """
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError("the file ends before this row")
        values = batch.column(0)
        if pa.types.is_struct(values.type):
            values = values.field("bytes")
        first = self.next
        self.next += len(batch)
        return [(first + place, values[place].as_py()) for place in range(len(values))]

    def close(self) -> None:
        self._batches = iter(())
        self._file.close()


class RowReader(ByReference):
    """Reads rows of the files of one data set; threads share it.

    Rows that lie between those that are asked for are kept for a while, to a limit of bytes, so that threads may ask
    out of order. A row that lies far off is read from the start of its row group.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursors: OrderedDict[tuple[Source, str], _Cursor] = OrderedDict()
        self._kept: OrderedDict[tuple[Source, str, int], bytes | None] = OrderedDict()
        self._size = 0

    def read(self, shard: Source, column: str, row: int) -> bytes | None:
        """The bytes in a row of a column; None of an empty row.

        Raises:
            OSError, ValueError: the file cannot be read.
        """
        key = (shard, column, row)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            try:
                cursor = self._cursor(shard, column, row)
                found: bytes | None = None
                while cursor.next <= row:
                    for place, value in cursor.advance():
                        found = value if place == row else found
                        self._keep((shard, column, place), value)
            except BROKEN as error:
                self._close(shard, column)
                raise ValueError(in_short(error)) from error
            return found

    def _cursor(self, shard: Source, column: str, row: int) -> _Cursor:
        found = self._cursors.get((shard, column))
        if found is not None and not found.leads_to(row):
            self._close(shard, column)
            found = None
        if found is None:
            while len(self._cursors) >= _OPEN:
                self._close(*next(iter(self._cursors)))
            found = self._cursors[shard, column] = _Cursor(shard, column, row)
        self._cursors.move_to_end((shard, column))
        return found

    def _close(self, shard: Source, column: str) -> None:
        cursor = self._cursors.pop((shard, column), None)
        if cursor is not None:
            cursor.close()

    def _keep(self, key: tuple[Source, str, int], value: bytes | None) -> None:
        if key in self._kept:
            return
        self._kept[key] = value
        self._size += len(value or b"")
        while self._size > _KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped or b"")


@dataclass(frozen=True, slots=True)
class ParquetRow(Blob):
    """The image, or the mask, in a row of a Parquet file.

    Attributes:
        shard: the file.
        column: which holds the bytes, as Parquet spells it: ``image.bytes``.
        row: from 0.
        reader: of the data set.
    """

    shard: Source
    column: str
    row: int
    reader: RowReader = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The file and the row."""
        return f"{self.shard.name}#{self.row}"

    @property
    def suffix(self) -> str:
        """None: a row has no name of its own."""
        return ""

    @property
    def holder(self) -> Path | None:
        """The file."""
        return self.shard.holder if isinstance(self.shard, Blob) else self.shard

    def read(self, limit: int) -> bytes:
        """See `Blob.read`."""
        data = self.reader.read(self.shard, self.column, self.row)
        if data is None:
            raise ValueError("the row holds no bytes")
        if len(data) > limit:
            raise TooLargeError(len(data), limit)
        return data

    def stamp(self) -> tuple[int, int, int]:
        """Of the file."""
        return self.shard.stamp() if isinstance(self.shard, Blob) else file_stamp(self.shard)

    def __str__(self) -> str:
        return f"{self.shard}#{self.row}"


def values_of(file: pq.ParquetFile, columns: list[str], *, at_a_time: int = 4096) -> Iterator[dict[str, Any]]:
    """The rows of some columns, one dictionary each; a few thousand rows are decoded at a time.

    Raises:
        OSError, ValueError: the file is damaged.
    """
    for batch in file.iter_batches(at_a_time, columns=columns, use_threads=False):
        yield from batch.to_pylist()
