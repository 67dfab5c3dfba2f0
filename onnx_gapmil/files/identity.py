"""Whether a file is still what it was: by size and times, and by its content where those moved."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from onnx_gapmil.files.blob import Blob, Source
from onnx_gapmil.files.reading import open_regular


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What a file was when it was read; all None of one that was not there.

    Of a `Blob` size and times are those of what holds it (a shard; an object, whose tag is the number), and its content
    is not read a second time: when its shard is written anew, it counts as changed.

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


def identify(path: Source) -> FileIdentity:
    """The identity of a file, its content read."""
    if isinstance(path, Blob):
        return stamp(path)
    try:
        with open_regular(path) as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return ABSENT
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest)


def stamp(path: Source) -> FileIdentity:
    """The identity of a file without its content: where its times move, it counts as changed."""
    try:
        if isinstance(path, Blob):
            return FileIdentity(*path.stamp(), None)
        status = path.stat()
    except (OSError, ValueError):
        return ABSENT
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ctime_ns, None)


def is_unchanged(path: Source, known: FileIdentity) -> bool:
    """Whether a file has the content that it had; it is read only where its times moved."""
    if isinstance(path, Blob):
        return stamp(path) == known
    try:
        status = path.stat()
    except (OSError, ValueError):
        return known == ABSENT
    if status.st_size != known.size:
        return False
    if (status.st_mtime_ns, status.st_ctime_ns) == (known.modified, known.changed):
        return True
    return known.sha256 is not None and identify(path).sha256 == known.sha256
