"""Rows of Parquet files by place: in any order, by several threads, without whole row groups in memory."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnx_gapmil.data.shards import rows
from onnx_gapmil.data.shards.rows import ParquetRow, RowReader

ROWS = 500


def content(row: int) -> bytes:
    return random.Random(row).randbytes(1000 + row)  # noqa: S311


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    values = pa.array([{"bytes": content(row), "path": None} for row in range(ROWS)])
    pq.write_table(pa.table({"image": values}), tmp_path / "a.parquet", row_group_size=70)
    return tmp_path / "a.parquet"


@pytest.mark.parametrize("kept", [0, 20_000, 2**27])
@pytest.mark.parametrize("seed", [None, 1])
def test_rows_in_any_order(shard: Path, kept: int, seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_KEPT_BYTES", kept)
    order = list(range(ROWS))
    if seed is not None:
        random.Random(seed).shuffle(order)  # noqa: S311
        order = order[:60]
    reader = RowReader()
    for row in order:
        assert reader.read(shard, "image.bytes", row) == content(row)


def test_threads_share_a_reader(shard: Path) -> None:
    reader = RowReader()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda row: reader.read(shard, "image.bytes", row), range(ROWS)))
    assert found == [content(row) for row in range(ROWS)]


def test_a_stream_is_decoded_once(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams some batches apart, as of a comparison."""
    begun = []
    whole = rows._Cursor.__init__

    def counted(self: rows._Cursor, *args: object) -> None:
        begun.append(args)
        whole(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(rows._Cursor, "__init__", counted)
    reader = RowReader()
    for row in range(ROWS):
        reader.read(shard, "image.bytes", row)
        reader.read(shard, "image.bytes", max(0, row - 40))
    assert len(begun) == 1


def test_memory_is_that_of_a_few_rows_and_not_of_a_row_group(tmp_path: Path) -> None:
    """One row group of 96 MB, in pages of two."""
    values = pa.array([random.Random(row).randbytes(2**20) for row in range(96)])  # noqa: S311
    pq.write_table(pa.table({"image": values}), tmp_path / "a.parquet", compression="none", write_batch_size=2)
    del values
    before = pa.total_allocated_bytes()
    reader = RowReader()
    most = 0
    for row in range(96):
        reader.read(tmp_path / "a.parquet", "image", row)
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 2**25


def test_what_cannot_be_read_says_why(shard: Path) -> None:
    reader = RowReader()
    with pytest.raises(ValueError, match="it has 500 rows, and row 500 was asked for"):
        reader.read(shard, "image.bytes", 500)
    row = ParquetRow(shard, "image.bytes", 3, reader)
    assert (str(row), row.name, row.suffix, row.holder) == (f"{shard}#3", "a.parquet#3", "", shard)
    assert row == ParquetRow(shard, "image.bytes", 3, RowReader())
    with pytest.raises(ValueError, match="1,003 bytes are more than are read"):
        row.read(10)
    shard.unlink()
    with pytest.raises((OSError, ValueError)):
        ParquetRow(shard, "image.bytes", 3, RowReader()).read(2**20)
