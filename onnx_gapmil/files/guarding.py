"""What must not be written over: whatever was read in a run, what lies beside a model, and what is no regular file.

A run is a block of `watched_reads`; runs may lie inside each other and side by side in threads. Readers tell here what
they read, and the one writer (`onnx_gapmil.files.writing`) asks here before it touches anything. Files are told apart
by device and number, so that links, other spellings of a path and other cases of a name make no difference.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.blob import Blob, Source

_lock = threading.Lock()
_runs: list[dict[int, str]] = []
_READ = "was read in this run"

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def watched_reads() -> Iterator[None]:
    """A run: what is read in this block is not written over in it."""
    run: dict[int, str] = {}
    with _lock:
        _runs.append(run)
    try:
        yield
    finally:
        with _lock:
            _runs[:] = [other for other in _runs if other is not run]


def note_read(status: os.stat_result, what: str = _READ) -> None:
    """Tell all runs that go on that a file is read."""
    if _runs:
        key = _key(status)
        with _lock:
            for run in _runs:
                if what is not _READ or key not in run:
                    run[key] = what


def note_read_place(place: str, what: str = _READ) -> None:
    """The same of what is behind a URL, as it is shown."""
    key = _key_of_place(place)
    with _lock:
        for run in _runs:
            if what is not _READ or key not in run:
                run[key] = what


def protect(paths: Iterable[Source | str], what: str = "is read in this run") -> None:
    """Keep files from being written over in all runs that go on, whether they are read or not; what is not there is
    passed over. Of what lies inside a file, that file is kept; of what is behind a URL, what the URL names."""
    if not _runs:
        return
    held: set[Path] = set()
    for path in paths:
        if isinstance(path, Blob):
            if path.holder is None:
                note_read_place(str(path), what)
                continue
            if path.holder in held:
                continue
            held.add(path.holder)
            path = path.holder
        try:
            status = os.stat(path)  # noqa: PTH116  (of a million photos)
        except (OSError, ValueError):
            continue
        note_read(status, what)


def require_replaceable(path: Source) -> None:
    """Make sure that a file may be written under a name: nothing is there, or a regular file that nobody needs.

    Args:
        path: the file; or what a URL names, of which only that is asked whether it is read in this run.

    Raises:
        InputError: there is a link, a folder, a pipe or a device; or a file that is read in this run.
    """
    if isinstance(path, Blob):
        _require_unread(path, _key_of_place(str(path)))
        return
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISLNK(status.st_mode):
        raise InputError(
            f"{path} is a link to {path.readlink()}, and is not written through; name that file itself, or remove the "
            "link."
        )
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is {kind_of(status)} and no file that can be written whole; choose another name.")
    _require_unread(path, _key(status))


def _require_unread(path: Source, key: int) -> None:
    with _lock:
        reason = next((run[key] for run in _runs if key in run), None)
    if reason is not None:
        raise InputError(f"{path} {reason}, and is never overwritten; choose another place for the result.")


def kind_of(status: os.stat_result) -> str:
    """What something is that is no regular file, with its article."""
    return next((name for test, name in _KINDS if test(status.st_mode)), "no regular file")


def _key_of_place(place: str) -> int:
    return -1 - int.from_bytes(hashlib.blake2b(place.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _key(status: os.stat_result) -> int:
    return status.st_dev << 64 | status.st_ino
