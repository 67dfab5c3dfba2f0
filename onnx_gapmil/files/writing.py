"""Files that are there whole or not at all, and never in place of what somebody needs."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.blob import was_url
from onnx_gapmil.files.guarding import require_replaceable
from onnx_gapmil.files.locking import BusyError, is_current, lock_file
from onnx_gapmil.files.undisturbed import undisturbed

#: Ends the name under which a file is written until it is whole.
PART = ".gapmil-part"
_LONGEST_NAME = 200

_reserving = threading.Lock()
_reserved: dict[Path, tuple[int, Path]] = {}


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name when the block ends, and not at all if it fails.

    Until then it is ``.NAME.gapmil-part`` beside it, locked: what a killed run left under that name is found to be
    nobody's, and goes; what another run is just writing is left alone.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; another process is writing the file; or
            there is something that must not be written over (`require_replaceable`).
    """
    opened: tuple[IO[bytes], Path] | None = None
    try:
        with undisturbed():
            with _reserving:
                part = _reserved.pop(path, None)
            handle, temporary = part or _locked_part(path)
            opened = os.fdopen(handle, "wb"), temporary
        with opened[0] as stream:
            yield stream
            stream.flush()
            require_replaceable(path)
            if os.name == "posix":  # while it is locked; elsewhere an open file cannot be moved
                temporary.replace(path)
        if os.name != "posix":
            temporary.replace(path)
    except BaseException as error:
        if opened is not None:
            opened[1].unlink(missing_ok=True)
            with suppress(OSError):  # what it still held goes with it
                opened[0].close()
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


@contextmanager
def reserved_file(path: Path) -> Iterator[None]:
    """Hold the place of a file that this block will write by `whole_file`: nobody else writes it meanwhile.

    Raises:
        InputError: as `whole_file` does, before any work is done.
    """
    try:
        with undisturbed():
            part = _locked_part(path)
            with _reserving:
                _reserved[path] = part
        yield
    finally:
        with _reserving:
            left = _reserved.pop(path, None)
        if left is not None:
            left[1].unlink(missing_ok=True)
            os.close(left[0])


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        InputError: see `whole_file`.
    """
    with whole_file(path) as stream:
        stream.write(data)


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file of our own to write behind what it has.

    Raises:
        InputError: it cannot be written, or is a link or no regular file, or one that is read in this run.
    """
    require_replaceable(path)
    try:
        return path.open("ab")
    except OSError as error:
        raise _unwritable(path, error) from error


def require_writable(folder: Path) -> None:
    """Make sure, before any work is done, that a folder of results can be made; nothing is made yet.

    Raises:
        InputError: it cannot, and why.
    """
    if was_url(folder) and not folder.is_dir():
        raise InputError(
            f"{folder} was a URL before it became a path, which keeps one slash of its two; give it as a text, such as "
            "'s3://bucket/out'."
        )
    try:
        status = folder.stat()
    except (OSError, ValueError):
        status = None
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{folder} is a file; name a folder for the results.")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise InputError(f"{folder} cannot be made: {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written to: no permission in {there}.")


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, if it is not there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}.") from error


def _locked_part(path: Path) -> tuple[int, Path]:
    require_replaceable(path)
    try:
        return _open_part(path)
    except BusyError as error:
        raise InputError(f"{path} is being written by another process; wait for it, or choose another name.") from error
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def _open_part(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, locked where the file system has locks.

    Nothing that is there already is ever written into: what a killed run left is removed, and begun anew.

    Raises:
        BusyError: another process is writing the same file.
    """
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 5]}-{zlib.crc32(os.fsencode(name)):08x}"
    temporary = path.with_name(f".{name}{PART}")
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    for _ in range(100):
        try:
            handle = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _remove_left_over(temporary, flags):
                break
            continue
        try:
            locked = lock_file(handle)
        except BusyError:
            os.close(handle)
            continue
        # A neighbour may have taken it for a left-over in between.
        if not locked or is_current(handle, temporary):
            return handle, temporary
        os.close(handle)
    handle, own = tempfile.mkstemp(prefix=f".{name[:40]}.", suffix=PART, dir=path.parent)
    if hasattr(os, "fchmod"):
        os.fchmod(handle, 0o666 & ~_umask())
    return handle, Path(own)


def _remove_left_over(temporary: Path, flags: int) -> bool:
    """Whether what is there was nobody's and is gone; without locks that cannot be told, and it stays.

    Raises:
        BusyError: it is being written.
    """
    try:
        handle = os.open(temporary, flags | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return True
    except OSError:  # another user's, or no file
        return False
    try:
        if not lock_file(handle):
            return False
        if is_current(handle, temporary):
            temporary.unlink(missing_ok=True)
        return True
    finally:
        os.close(handle)


def _unwritable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.")


@cache
def _umask() -> int:
    """Asking for it sets it for a moment, in all threads: ask once."""
    current = os.umask(0)
    os.umask(current)
    return current
