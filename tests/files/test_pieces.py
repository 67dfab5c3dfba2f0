"""Pieces beyond what memory is to hold lie in a file without a name; what the disk refuses is one sentence."""

from __future__ import annotations

import errno
import gc
import os
import tracemalloc
from pathlib import Path

import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.files import pieces as module
from onnx_gapmil.files.pieces import Pieces

MADE = [bytes([place]) * (1 + 37 * place % 90) for place in range(100)]


@pytest.fixture(params=[0, 200, 1 << 20], ids=lambda held: f"held-{held}")
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pieces:
    monkeypatch.setattr(module, "_HELD", request.param)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Pieces()
    for piece in MADE:
        made.append(piece)
    return made


def test_they_are_what_was_added_and_put(pieces: Pieces, tmp_path: Path) -> None:
    assert len(pieces) == 100
    assert [pieces[place] for place in range(99, -1, -1)] == MADE[::-1]
    for place, piece in ((0, b"longer than it was"), (50, b""), (99, b"s")):
        pieces[place] = piece
    expected = [b"longer than it was", *MADE[1:50], b"", *MADE[51:99], b"s"]
    assert [pieces[place] for place in range(100)] == expected
    assert list(tmp_path.iterdir()) == []


def test_memory_has_its_share_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_HELD", 100_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tracemalloc.start()
    made = Pieces()
    for place in range(500):
        made.append(os.urandom(1000))
        if place % 5 == 0:
            made[place] = os.urandom(1000)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(len(piece) for piece in made._pieces if isinstance(piece, bytes)) == 100_000
    assert taken < 180_000  # where 400 others are
    assert len(made) == 500


def test_nothing_is_open_when_they_are_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_HELD", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Pieces()
    made.append(b"piece")
    file = made._file
    assert file is not None
    del made
    gc.collect()
    assert file.closed


def test_a_folder_that_takes_nothing_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_HELD", 8)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    made = Pieces()
    made.append(b"fits")
    with pytest.raises(InputError, match=r"none \(No such file or directory\)\. Make room there, or name .* TMPDIR"):
        made.append(b"does not")
    assert (len(made), made[0]) == (1, b"fits")


def test_a_disk_that_takes_a_part_is_asked_again_and_a_full_one_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_HELD", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    real, room = module._nameless, 25

    class AlmostFull:
        """A file of a disk with some bytes left, of which it takes seven at a time."""

        def __init__(self) -> None:
            self.file = real()
            self.seek, self.read, self.close = self.file.seek, self.file.read, self.file.close

        def write(self, data: memoryview) -> int:
            nonlocal room
            taken = min(7, room, len(data))
            room -= taken
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data[:taken])

    monkeypatch.setattr(module, "_nameless", AlmostFull)
    made = Pieces()
    made.append(b"0123456789")
    made.append(b"abcdefghij")
    with pytest.raises(InputError, match="No space left on device"):
        made.append(b"ABCDEFGHIJ")
    assert [made[0], made[1]] == [b"0123456789", b"abcdefghij"]
    assert len(made) == 2
    room = 100
    made.append(b"ABCDEFGHIJ")
    assert [made[place] for place in range(3)] == [b"0123456789", b"abcdefghij", b"ABCDEFGHIJ"]
