"""Reading a file that somebody else made: bounded, and with one sentence for each everyday mishap."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from onnx_gapmil.files.blob import Blob, Source, TooLargeError, was_url
from onnx_gapmil.files.guarding import kind_of, note_read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_gapmil.errors import InputError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, to read from it; a pipe is not waited for.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    stream: io.BufferedReader = io.BufferedReader(io.FileIO(handle, "rb"))
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        stream.close()
        raise OSError(errno.EINVAL, f"this is {kind_of(status)}, and no regular file", str(path))
    note_read(status)
    return stream


def open_source(source: Source, limit: int) -> BinaryIO:
    """Open a regular file, or what lies inside one or behind a URL, to read from it.

    Args:
        source: a path; or a blob, which is read at once.
        limit: bytes above which a blob is not read.

    Raises:
        OSError, ValueError: it cannot be opened.
    """
    return source.open(limit) if isinstance(source, Blob) else open_regular(source)


def read_bytes(
    path: Source,
    error: type[InputError],
    *,
    expected: str,
    limit: int,
    inspect: Callable[[int], None] | None = None,
) -> bytes:
    """The file's bytes. Links are followed; what they lead to has to be a regular file.

    Args:
        path: the file, or what lies inside one or behind a URL.
        error: the class to raise, so that the message keeps its subject.
        expected: what the file should be, with its article: "an image".
        limit: bytes above which it is not read.
        inspect: called with the file's size in bytes before it is read, to refuse it in words of its own.

    Raises:
        InputError: of class `error`: missing, a folder, a pipe or a device, larger than `limit`, a Git LFS pointer, or
            it cannot be read.
    """
    if isinstance(path, Blob):
        return _read_blob(path, error, expected, limit, inspect)
    try:
        # A pipe would wait for its writer; with O_NONBLOCK it opens at once, and is seen for what it is.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb", buffering=0) as stream:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise error(_no_file(path, kind_of(status), expected))
            note_read(status)
            if inspect is not None:
                inspect(status.st_size)
            if status.st_size > limit:
                raise error(_too_large(path, status.st_size, expected, limit))
            data = _read(stream.read, status.st_size)
            # Files of /proc say that they are empty; a file may also grow while it is read.
            if rest := _read(stream.read, limit - len(data) + 1):
                data += rest
                if len(data) > limit:
                    raise error(_too_large(path, len(data), expected, limit))
    except FileNotFoundError as cause:
        if was_url(path):
            raise error(f"{path} is a URL, and {expected} is read from a file of this machine; fetch it.") from cause
        raise error(f"{path}: no such file, and {expected} was expected; check the path.") from cause
    except IsADirectoryError as cause:  # what Windows says, and Linux to those that want to write
        raise error(_no_file(path, "a folder", expected)) from cause
    except (OSError, ValueError, MemoryError) as cause:
        if path.is_dir():  # Windows denies the permission
            raise error(_no_file(path, "a folder", expected)) from cause
        reason = "not enough memory" if isinstance(cause, MemoryError) else getattr(cause, "strerror", None) or cause
        raise error(f"{path}: cannot be read: {reason}.") from cause
    return _no_pointer(data, path, error)


def _read_blob(
    blob: Blob, error: type[InputError], expected: str, limit: int, inspect: Callable[[int], None] | None
) -> bytes:
    try:
        data = blob.read(limit)
    except FileNotFoundError as cause:
        raise error(f"{blob}: nothing is there, and {expected} was expected; check the place.") from cause
    except TooLargeError as cause:
        raise error(f"{blob}: {str(cause).rstrip('.')}, and {expected} was expected.") from cause
    except (OSError, ValueError, MemoryError) as cause:
        reason = "not enough memory" if isinstance(cause, MemoryError) else str(cause).rstrip(".")
        raise error(f"{blob}: cannot be read: {reason or type(cause).__name__}.") from cause
    if inspect is not None:
        inspect(len(data))
    return _no_pointer(data, blob, error)


def _no_pointer(data: bytes, where: Source, error: type[InputError]) -> bytes:
    if data.startswith(LFS_POINTER):
        raise error(f"{where}: this is a Git LFS pointer, not the file itself; run `git lfs pull`.")
    return data


def _read(read: Callable[[int], bytes | None], size: int) -> bytes:
    """So many bytes, or as many as there are."""
    parts = []
    while size > 0 and (part := read(min(size, 1 << 28))):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _no_file(path: Path, kind: str, expected: str) -> str:
    if kind == "a folder":
        return f"{path}: this is a folder, and {expected} was expected; name the file in it."
    return f"{path}: this is {kind}, and {expected} was expected; only regular files are read."


def _too_large(path: Path, size: int, expected: str, limit: int) -> str:
    return f"{path}: {size:,} bytes are more than {expected} should have ({limit:,})."
