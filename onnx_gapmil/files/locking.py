"""Locks that die with their process: whatever ends a run, nothing is left locked."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnx_gapmil.errors import InputError

#: A run that was killed a moment ago may still be going: so long is waited for it, in seconds.
_PATIENCE = 2.0


class BusyError(Exception):
    """Somebody else holds the lock."""


def lock_file(handle: int) -> bool:
    """Lock an open file or folder until it is closed; False where the system or the file system has no such locks.

    Raises:
        BusyError: somebody else holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows, which lets nobody replace a file that is open
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise BusyError from error
        return False
    return True


def is_current(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        there = path.lstat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(handle), there)


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder of results while the block runs: nobody else writes into it. No file is left in it.

    Args:
        folder: made with its parents if it is not there, and gone again if nothing was written into it.
        what: writes into it, for the message: "an audit".

    Raises:
        InputError: another process, or another run of this one, holds it.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}.") from error
    try:
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:  # Windows opens no folders: there is no lock
        yield
        return
    try:
        _wait_for(handle, folder, what)
        yield
    finally:
        if new:
            with suppress(OSError):  # it holds results
                folder.rmdir()
        os.close(handle)


def _wait_for(handle: int, folder: Path, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            lock_file(handle)
        except BusyError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"{folder}: {what} is writing into this folder; wait until it ends, or choose another folder."
                ) from error
            time.sleep(0.05)
        else:
            return
