"""The members of tars: listed by their headers, their bytes read by place when they are asked for."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from onnx_gapmil.data.files import printable
from onnx_gapmil.data.kept_out import TORN, KeptOut
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Blob, Source, TooLargeError, file_stamp
from onnx_gapmil.files.reading import LFS_POINTER, open_regular

_BLOCK = 512
_TRAILER = 2**16
UNPACK = "its members cannot be read one by one, so unpack it to a .tar (photos are compressed themselves)"
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


@dataclass(frozen=True, slots=True)
class TarMember(Blob):
    """A file inside a tar that is not compressed.

    Attributes:
        shard: the tar.
        path: in it.
        offset: its first byte in the tar.
        size: in bytes.
    """

    shard: Source
    path: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        """Its own, without folders."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def holder(self) -> Path | None:
        """The tar."""
        return self.shard.holder if isinstance(self.shard, Blob) else self.shard

    def read(self, limit: int) -> bytes:
        """See `Blob.read`."""
        if self.size > limit:
            raise TooLargeError(self.size, limit)
        if isinstance(self.shard, Blob):
            data = self.shard.read_part(self.offset, self.size)
        else:
            with open_regular(self.shard) as stream:
                stream.seek(self.offset)
                data = stream.read(self.size)
        if len(data) != self.size:
            raise ValueError("the tar was cut short since it was listed")
        return data

    def stamp(self) -> tuple[int, int, int]:
        """Of the tar."""
        return self.shard.stamp() if isinstance(self.shard, Blob) else file_stamp(self.shard)

    def __str__(self) -> str:
        return f"{self.shard}#{self.path}"


def members_of(shard: Source, name: str, kept_out: KeptOut) -> Iterator[tuple[TarMember, BinaryIO]]:
    """The regular files of a tar, in order, each with the stream of the tar, from which a small one may be read.

    What is no regular file, or has a name that leads out of the tar, is left out and noted, as is what follows where
    the tar is torn.

    Args:
        shard: the tar.
        name: its key.
        kept_out: is told what is left out.

    Raises:
        DataError: it is compressed.
        OSError: it cannot be opened.
    """
    with shard.open(2**62) if isinstance(shard, Blob) else open_regular(shard) as stream:
        _refuse_compressed(shard, stream)
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        try:
            tar = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 (the stream is closed)
        except tarfile.TarError as error:
            stream.seek(0)
            why = (
                "a Git LFS pointer; run `git lfs pull`" if stream.read(len(LFS_POINTER)) == LFS_POINTER else str(error)
            )
            kept_out.add("shard", "no tar", f"{name} ({why})")
            return
        yield from _listed(tar, shard, size, name, kept_out, stream)


def _listed(
    tar: tarfile.TarFile, shard: Source, size: int, name: str, kept_out: KeptOut, stream: BinaryIO
) -> Iterator[tuple[TarMember, BinaryIO]]:
    path = "its start"
    try:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all headers that it has seen
            path = printable(entry.name)
            if entry.size < 0 or (entry.isreg() and entry.offset_data + entry.size > size):
                kept_out.add(TORN, "cut short", f"{name} in {path}")
                return
            if _is_usable(entry, f"{name}#{path}", kept_out):
                yield TarMember(shard, path, entry.offset_data, entry.size), stream
    except (tarfile.TarError, ValueError, OSError) as error:
        kept_out.add(TORN, "damaged", f"{name} behind {path} ({error})")
        return
    stream.seek(tar.offset)
    rest = stream.read(_TRAILER)
    if len(rest) < _BLOCK or rest[:_BLOCK].strip(b"\0"):
        why = "cut short" if len(rest) < _BLOCK else "damaged"
        kept_out.add(TORN, why, f"{name} behind {path}")
    elif rest.strip(b"\0"):
        kept_out.add(TORN, "behind the mark of the tar's end", f"{name} behind {path}")


def _is_usable(entry: tarfile.TarInfo, key: str, kept_out: KeptOut) -> bool:
    if entry.isdir():
        return False
    if not entry.isreg() or entry.issparse():
        kept_out.add("member", "a link, a device or a sparse file", key)
        return False
    if entry.name.startswith(("/", "\\")) or ".." in entry.name.replace("\\", "/").split("/"):
        kept_out.add("member", "a name that leads out of the tar", key)
        return False
    return not entry.name.rsplit("/", 1)[-1].startswith(".")


def _refuse_compressed(shard: Source, stream: BinaryIO) -> None:
    head = stream.read(6)
    for magic, tool in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(
                f"{shard}: the tar is compressed, and its members cannot be read one by one; {tool} it (photos are "
                "compressed themselves)."
            )
