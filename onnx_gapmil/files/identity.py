"""Whether a file is still what it was: by size and times, and by its content where those moved."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from onnx_gapmil.files.reading import open_regular


@dataclass(frozen=True)
class FileIdentity:
    """What a file was when it was read; all None of one that was not there.

    Attributes:
        size: bytes.
        modified: time of its content, in nanoseconds.
        changed: time of its entry, in nanoseconds, which nobody sets back by hand.
        sha256: of its content.
    """

    size: int | None
    modified: int | None
    changed: int | None
    sha256: str | None


ABSENT = FileIdentity(None, None, None, None)
"""A file that was not there, or could not be read."""


def identify(path: Path) -> FileIdentity:
    """The identity of a file, its content read."""
    try:
        with open_regular(path) as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return ABSENT
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest)


def stamp(path: Path) -> FileIdentity:
    """The identity of a file without its content: where its times move, it counts as changed."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ABSENT
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ctime_ns, None)


def is_unchanged(path: Path, known: FileIdentity) -> bool:
    """Whether a file has the content that it had; it is read only where its times moved."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return known == ABSENT
    if status.st_size != known.size:
        return False
    if (status.st_mtime_ns, status.st_ctime_ns) == (known.modified, known.changed):
        return True
    return known.sha256 is not None and identify(path).sha256 == known.sha256
