"""Pieces of bytes: the first megabytes lie in memory, those that follow in a file without a name.

So memory does not grow by what is packed of each image. The file lies in the folder for temporary files (which TMPDIR
names); nothing is left of it however the process ends.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import IO, cast

from onnx_gapmil.errors import InputError

#: Bytes that lie in memory: the records of some 40,000 images.
_HELD = 8 << 20


class Pieces:
    """Pieces in the order in which they were added."""

    def __init__(self) -> None:
        self._pieces: list[bytes | tuple[int, int]] = []  # or where it begins in the file, and its length
        self._room = _HELD
        self._file: FileIO | None = None
        self._end = 0
        self._lock = threading.Lock()  # a file has one place where it is read

    def __len__(self) -> int:
        return len(self._pieces)

    def append(self, piece: bytes) -> None:
        """Add the next.

        Raises:
            InputError: it would lie in the file, and that cannot be written.
        """
        self._pieces.append(self._put(piece))

    def __setitem__(self, place: int, piece: bytes) -> None:
        """Put another in a place; what lay in the file stays there, unused."""
        old = self._pieces[place]
        if isinstance(old, bytes):
            self._room += len(old)
        self._pieces[place] = self._put(piece)

    def __getitem__(self, place: int) -> bytes:
        found = self._pieces[place]
        if isinstance(found, bytes):
            return found
        start, length = found
        with self._lock, _said():
            file = cast("FileIO", self._file)
            file.seek(start)
            piece = file.read(length)
        if len(piece) != length:
            raise InputError(f"a file for temporary data was cut short in {_folder()}; run the same command again.")
        return piece

    def _put(self, piece: bytes) -> bytes | tuple[int, int]:
        if len(piece) <= self._room:
            self._room -= len(piece)
            return piece
        with self._lock, _said():
            if self._file is None:
                self._file = _nameless()
                weakref.finalize(self, self._file.close)
            start = self._file.seek(self._end)
            left = memoryview(piece)
            while left:  # a disk that is almost full takes a part
                left = left[self._file.write(left) :]
            self._end += len(piece)
        return start, len(piece)


def _nameless() -> FileIO:
    file: IO[bytes] = tempfile.TemporaryFile(prefix="gapmil-", buffering=0)  # noqa: SIM115  # as long as its pieces
    return cast("FileIO", file)


@contextmanager
def _said() -> Iterator[None]:
    """What the disk does not do, as one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"what is known of the images takes more than {_HELD >> 20} MB of memory, and the rest cannot be kept in "
            f"{_folder()} ({error.strerror or error}). Make room there, or name another folder by TMPDIR, and run the "
            "same command again."
        ) from error


def _folder() -> str:
    return tempfile.tempdir or "a folder for temporary files"
