"""Files behind a URL (s3, gs, http, zip, memory, ...), by fsspec: a path as far as data sets need one.

fsspec and the packages of each store are the extra ``[remote]``. Stores say who may read by their own means
(environment, configuration files), of which this program reads nothing.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias, cast
from urllib.parse import unquote, urlsplit

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.blob import Blob, TooLargeError
from onnx_gapmil.files.guarding import note_read_place
from onnx_gapmil.files.parts import ByReference
from onnx_gapmil.files.urls import without_secrets

_TAGS = (
    "ETag",
    "etag",
    "md5Hash",
    "Content-MD5",
    "CRC",
    "LastModified",
    "Last-Modified",
    "updated",
    "mtime",
    "created",
)
"""What stores call that which moves with an object's content; the surest first."""

_MAGIC = re.compile(r"[*?\[{]")
_INSTALL = "pip install 'onnx-gapmil[remote]'"


def require_url(url: str, error: type[InputError]) -> Place:
    """The place of a URL, where something is.

    Raises:
        InputError: of class `error`: it cannot be opened, or nothing is found there; of a pattern that is not asked.
    """
    said = without_secrets(url)
    try:
        place = open_url(url)
        if isinstance(place, RemotePath) and not _MAGIC.search(place.name):
            place.require()
    except FileNotFoundError as cause:
        raise error(f"{said}: nothing is found there; check the URL, and that its store can be reached.") from cause
    except InputError as cause:
        raise error(str(cause)) from cause
    except (OSError, ValueError) as cause:
        raise error(f"{said}: cannot be read ({_reason(cause)}).") from cause
    return place


def open_url(url: str) -> Path | RemotePath:
    """The place of a URL; of ``file://`` the path.

    Raises:
        InputError: it is none, its store cannot be reached, or fsspec, or the store's package, is not installed.
    """
    if url.startswith(("file://", "local://")) and "::" not in url:
        return Path(unquote(urlsplit(url).path))
    said = without_secrets(url)
    try:
        import fsspec
    except ImportError as error:
        raise InputError(f"{said}: URLs are read by fsspec, which is not installed: {_INSTALL}.") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
        system.invalidate_cache()  # of an earlier data set in this process
    except ImportError as error:
        raise InputError(f"{said}: {str(error).rstrip('.')}: {_INSTALL}.") from error
    except Exception as error:
        raise InputError(f"{said}: cannot be opened ({_reason(error)}).") from error
    _, chained, rest = url.partition("::")
    return RemotePath(_Store(system, chained + rest), path.rstrip("/") or path)


class _Store(ByReference):
    """A file system, with the folders that were listed in it.

    Args:
        system: fsspec's.
        behind: what follows the path in a chained URL.
    """

    def __init__(self, system: Any, behind: str) -> None:
        self.system, self.behind = system, behind
        self._folders: dict[str, dict[str, dict[str, Any]] | None] = {}
        self._known: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, bool] = {}

    def url(self, path: str) -> str:
        """The URL of a path in this store, without its secrets."""
        return without_secrets(f"{self.system.unstrip_protocol(path)}{self.behind}")

    def listing(self, folder: str) -> dict[str, dict[str, Any]] | None:
        """What is in a folder, by name: fsspec's information of each; None where the store does not say."""
        if folder not in self._folders:
            try:
                with _told():
                    entries = self.system.ls(folder, detail=True)
            except (OSError, ValueError):
                entries = None
            named = {entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry for entry in entries or ()}
            self._folders[folder] = named or None
        return self._folders[folder]

    def info(self, path: str) -> dict[str, Any]:
        """What is known of a path: by its folder's listing, else asked for alone.

        Raises:
            OSError, ValueError: it is not there, or the store cannot be reached.
        """
        folder, _, name = path.rpartition("/")
        listed = self.listing(folder) if not self.is_web else None
        if listed is not None:
            if name in listed:
                return listed[name]
            raise FileNotFoundError(self.url(path))
        if path not in self._known:
            with _told():
                self._known[path] = self.system.info(path)
        return self._known[path]

    def gives_parts(self, path: str) -> bool:
        """Whether a server on the web gives a part of a file, by asking for one of its bytes."""
        if path not in self.parts:
            try:
                with _told(), self.system.open(path, "rb", cache_type="none") as stream:
                    stream.seek(1)
                    self.parts[path] = len(stream.read(1)) == 1
            except ValueError:  # what fsspec says of a server that answers with the whole
                self.parts[path] = False
        return self.parts[path]

    @property
    def is_web(self) -> bool:
        """Whether a listing is what a page happens to link to."""
        protocols = self.system.protocol
        return bool({"http", "https"} & ({protocols} if isinstance(protocols, str) else set(protocols)))


class RemotePath(Blob):
    """An object, or a folder of objects, behind a URL: what data sets use of a path."""

    __slots__ = ("_path", "_store")

    def __init__(self, store: _Store, path: str) -> None:
        self._store, self._path = store, path

    @property
    def name(self) -> str:
        """The last part."""
        path = self._path.partition("?")[0] if self._store.is_web else self._path
        return path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return posixpath.splitext(self.name)[0]

    @property
    def parts(self) -> tuple[str, ...]:
        """Of its path in the store."""
        return PurePosixPath(self._path).parts

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in."""
        above = posixpath.dirname(self._path)
        return self if "://" not in above and "://" in self._path else RemotePath(self._store, above)

    @property
    def parents(self) -> tuple[RemotePath, ...]:
        """The folders above, the nearest first."""
        found, place = [], self
        while (above := place.parent) != place:
            found.append(above)
            place = above
        return tuple(found)

    @property
    def holder(self) -> Path | None:
        """None: it is not on this machine."""
        return None

    def __truediv__(self, inside: str | PurePosixPath) -> RemotePath:
        text = str(inside)
        joined = self._path if text in ("", ".") else f"{self._path}/{text}" if self._path else text
        return RemotePath(self._store, joined)

    def is_dir(self) -> bool:
        """Whether it is a folder; of the web, whether it is a page that links to what lies below it."""
        if self._store.is_web:
            return not self.suffix and self._store.listing(self._path) is not None
        try:
            return bool(self._store.info(self._path)["type"] == "directory")
        except (OSError, ValueError):
            return self._store.listing(self._path) is not None

    def is_file(self) -> bool:
        """Whether it is an object."""
        try:
            return bool(self._store.info(self._path)["type"] == "file")
        except (OSError, ValueError):
            return False

    def exists(self) -> bool:
        """Whether something is there."""
        return self.is_file() or self.is_dir()

    def require(self) -> None:
        """Make sure that something is there.

        Raises:
            FileNotFoundError, OSError, ValueError: nothing is, or the store cannot be reached or says no.
        """
        if self._store.listing(self._path) is None:
            self._store.info(self._path)

    def iterdir(self) -> Iterator[RemotePath]:
        """What is in the folder."""
        for name in self._store.listing(self._path) or ():
            if name and name != self.name:
                yield self / name

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What is in the folder and fits a pattern of one or more levels, without ``**``."""
        first, _, rest = pattern.partition("/")
        for entry in self.iterdir():
            if fnmatchcase(entry.name, first):
                yield from entry.glob(rest) if rest else (entry,)

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """What is in the folder, and in those below, and fits a pattern of one level."""
        for entry in self.iterdir():
            if fnmatchcase(entry.name, pattern):
                yield entry
            if entry.is_dir():
                yield from entry.rglob(pattern)

    def relative_to(self, root: RemotePath) -> PurePosixPath:
        """Its path from a folder above."""
        return PurePosixPath(self._path).relative_to(PurePosixPath(root._path))

    def normal(self) -> RemotePath:
        """The same with ``..`` resolved."""
        scheme, colon, rest = self._path.partition("://")
        path = f"{scheme}{colon}{posixpath.normpath(rest)}" if colon else posixpath.normpath(self._path)
        return RemotePath(self._store, "" if path == "." else path)

    def holds(self, other: RemotePath) -> bool:
        """Whether another path is this one, or lies below it."""
        return other._path == self._path or other._path.startswith(f"{self._path}/" if self._path else "")

    def read(self, limit: int) -> bytes:
        """See `Blob.read`."""
        size = self._size()
        if size is not None and size > limit:
            raise TooLargeError(size, limit)
        note_read_place(str(self))
        with _told():
            if size is not None:
                return cast("bytes", self._store.system.cat_file(self._path))
            with self._store.system.open(self._path, "rb") as stream:
                data = cast("bytes", stream.read(limit + 1))
        if len(data) > limit:
            raise TooLargeError(len(data), limit)
        return data

    def read_part(self, start: int, size: int) -> bytes:
        """See `Blob.read_part`."""
        note_read_place(str(self))
        with _told():
            return cast("bytes", self._store.system.cat_file(self._path, start=start, end=start + size))

    def gives_parts(self) -> bool:
        """Whether parts of it can be read, which is asked for: a server on the web may give files as a whole alone.

        Raises:
            OSError, ValueError: it is not there, or the store cannot be reached.
        """
        if self._size() is None:
            return False
        return not self._store.is_web or self._store.gives_parts(self._path)

    def open(self, limit: int) -> BinaryIO:
        """A stream that reads what it is asked for; of the web, of all bytes, but where it is known to give parts."""
        if self._size() is None or (self._store.is_web and not self._store.parts.get(self._path)):
            return io.BytesIO(self.read(limit))
        note_read_place(str(self))
        with _told():
            return cast("BinaryIO", self._store.system.open(self._path, "rb"))

    def save_to(self, file: Path) -> None:
        """Copy its bytes into a file of this machine, in parts.

        Raises:
            OSError, ValueError: it cannot be read, or the file not written.
        """
        with _told():
            self._store.system.get_file(self._path, str(file))

    def load_from(self, file: Path) -> None:
        """Put a file's bytes there.

        Raises:
            OSError, ValueError: it cannot be read, or its store says no.
        """
        with _told():
            self._store.system.put_file(str(file), self._path)

    def write(self, data: bytes) -> None:
        """Put some bytes there; see `load_from`."""
        with _told():
            self._store.system.pipe_file(self._path, data)

    def remove(self) -> None:
        """Remove what is there; see `load_from`."""
        with _told():
            self._store.system.rm(self._path)

    def make(self) -> None:
        """Make a folder in one that is there, where the store has folders at all; never a bucket."""
        if self._path.strip("/").count("/"):
            with suppress(OSError, ValueError, NotImplementedError), _told():
                self._store.system.mkdir(self._path, create_parents=False)

    def stamp(self) -> tuple[int, int, int]:
        """Size, a number of 56 bits made of its tag (ETag) or time, and 0."""
        digest = hashlib.blake2b(str(self._tag()).encode(), digest_size=7).digest()
        return int(self._store.info(self._path).get("size") or 0), int.from_bytes(digest, "big"), 0

    def tagged(self) -> bool:
        """Whether its store has a tag or a time of it, so that its `stamp` moves with its content."""
        return self._tag() is not None

    def _tag(self) -> object:
        known = self._store.info(self._path)
        return next((known[name] for name in _TAGS if known.get(name) is not None), None)

    def _size(self) -> int | None:
        size = self._store.info(self._path).get("size")
        return int(size) if size is not None else None

    def __str__(self) -> str:
        return self._store.url(self._path)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._path)

    @property
    def _key(self) -> tuple[str, str]:
        return self._path, self._store.url("")

    def __lt__(self, other: RemotePath) -> bool:
        return self._path < other._path


Place: TypeAlias = Path | RemotePath
"""A file or a folder, on this machine or behind a URL."""


@contextmanager
def _told() -> Iterator[None]:
    """Errors of a store as `OSError` or `ValueError`."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise OSError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return without_secrets((str(error).strip().split("\n")[0][:200] or type(error).__name__).rstrip("."))
