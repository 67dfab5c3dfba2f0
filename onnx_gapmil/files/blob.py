"""Where bytes lie that are no file of their own: in a row of a Parquet file, in a member of a tar, behind a URL.

Whatever takes a photo, a mask or a label file takes a `Source`: its path, or a `Blob`. A path stays a path all the way,
so that a folder of photos costs what it always did.
"""

from __future__ import annotations

import io
import posixpath
import re
from pathlib import Path
from typing import BinaryIO, TypeAlias

_ONCE_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/+[^/]")


def was_url(path: Path) -> bool:
    """Whether a path was made of a URL: ``s3://bucket/out``, of whose two slashes `Path` leaves one."""
    return _ONCE_A_URL.match(path.as_posix()) is not None


class Blob:
    """Bytes inside something else, read when they are asked for; equal to another of the same place.

    ``str`` gives the place as a user knows it, such as ``/data/train.parquet#17``: for messages, journals and results.
    """

    # No ABC: a million times somebody asks of a path whether it is a blob, and an ABC takes its time over the answer.
    __slots__ = ()

    @property
    def name(self) -> str:
        """The last part of its place: the title of a picture."""
        raise NotImplementedError

    @property
    def suffix(self) -> str:
        """The ending of its own name, as of a path; "" where it has none."""
        return posixpath.splitext(self.name)[1]

    @property
    def holder(self) -> Path | None:
        """The local file that holds it; None of what is not on this machine."""
        raise NotImplementedError

    def read(self, limit: int) -> bytes:
        """All of its bytes.

        Args:
            limit: bytes above which it is not read.

        Raises:
            OSError, ValueError: it cannot be read, or is too large; says why, without its place.
        """
        raise NotImplementedError

    def read_part(self, start: int, size: int) -> bytes:
        """Some of its bytes; fewer where it ends before.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        with self.open(start + size) as stream:
            stream.seek(start)
            return stream.read(size)

    def stamp(self) -> tuple[int, int, int]:
        """Size, and two numbers that move when it changes: of what holds it, so that nothing has to be read.

        Raises:
            OSError, ValueError: it is not there any more.
        """
        raise NotImplementedError

    def exists(self) -> bool:
        """Whether it is there; what was listed in something that was read is."""
        return True

    def open(self, limit: int) -> BinaryIO:
        """A stream of its bytes; see `read`."""
        return io.BytesIO(self.read(limit))


Source: TypeAlias = Path | Blob
"""Where bytes lie."""


class TooLargeError(ValueError):
    """A blob has more bytes than are read."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size:,} bytes are more than are read ({limit:,})")


def file_stamp(path: Path) -> tuple[int, int, int]:
    """The `Blob.stamp` of what a local file holds.

    Raises:
        OSError: it is not there.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
