"""Files of a data set: bounded text, printable names, images found without leaving the data set's folder."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Blob, Source
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.files.remote import Place, RemotePath
from onnx_gapmil.images.sources import IMAGE_SUFFIXES

MAX_BYTES = 512 * 2**20
"""Bytes above which a label file is not read: COCO's largest has 450 MB."""

MAX_PATH = 2_000
"""Letters of a path in a label file."""


@dataclass(frozen=True, slots=True)
class Text:
    """A label file's text.

    Attributes:
        text: without a byte order mark.
        notes: what had to be assumed about its encoding.
    """

    text: str
    notes: tuple[str, ...] = ()


def read_text(path: Source) -> Text:
    """Read a label file: UTF-8, UTF-16 with its mark, else Windows' Latin letters, which is noted.

    Raises:
        DataError: missing, a folder, larger than `MAX_BYTES`, a Git LFS pointer, or bytes that are no text.
    """
    data = read_bytes(path, DataError, expected="a label file", limit=MAX_BYTES)
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return Text(data.decode("utf-16"))
        if b"\0" in data:
            raise DataError(f"{path}: this is not text (byte {data.index(0)} is zero); a label file was expected.")
        return Text(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        if error.encoding != "utf-8":
            raise DataError(f"{path}: starts like UTF-16, but is none (byte {error.start}).") from error
        note = f"{path.name} is not UTF-8 (byte {error.start}); it was read as Latin-1 (Windows-1252)."
        return Text(_latin(data), (note,))


def _latin(data: bytes) -> str:
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:  # five bytes have no meaning there; they have one in Latin-1
        return data.decode("latin-1")


def printable(name: str) -> str:
    """A file's name as text that can be printed and written to JSON.

    On POSIX a name is bytes; Python keeps those that are no UTF-8 as lone surrogates, which no encoder takes.
    Such names are nearly always Latin-1.
    """
    return name if is_unicode(name) else _latin(os.fsencode(name))


def is_unicode(text: str) -> bool:
    """Whether a text can be written anywhere; JSON can spell halves of a letter (`"\\ud800"`), which cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (100k names)


def is_array(name: str) -> bool:
    """Whether a file's name ends as an array of pixels does and is not hidden."""
    return not name.startswith(".") and name.lower().endswith(".npy")


def absolute(path: Path) -> Path:
    """The path from the root, `..` resolved by name alone: links keep their names."""
    return Path(os.path.normpath(path.absolute()))


def inside(place: Place, root: Place) -> str:
    """The path of a file from a folder that holds it, with `/`."""
    if isinstance(place, RemotePath):
        return place.relative_to(root).as_posix() if isinstance(root, RemotePath) else str(place)
    return place.relative_to(str(root)).as_posix()


def shown(path: Place) -> str:
    """The path as a reader wants it: from the current folder where it lies below that, else from the root."""
    if isinstance(path, RemotePath):
        return str(path)
    here = Path.cwd()
    return str(path.relative_to(here)) if here in path.parents else str(path)


def listed(folder: Place) -> list[Place]:
    """What is in a folder, by name."""
    return sorted(folder.iterdir(), key=lambda entry: entry.name)


def walk_files(folder: Place) -> Iterator[Place]:
    """All files in a folder and in those below, hidden ones left out; links to folders are followed."""
    if isinstance(folder, RemotePath):
        for place, _, names in walk(folder):
            yield from (place / name for name in names if not name.startswith("."))
        return
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(here)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # a link back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here, name) for name in names if not name.startswith("."))


def walk(folder: RemotePath) -> Iterator[tuple[RemotePath, list[str], list[str]]]:
    """`os.walk` of a folder behind a URL: each folder, the names of those in it, and of its files."""
    entries = sorted(folder.iterdir())
    folders = [entry.name for entry in entries if entry.is_dir()]
    yield folder, folders, [entry.name for entry in entries if entry.is_file()]
    for name in folders:
        yield from walk(folder / name)


class ImageFinder:
    """Finds the files that a label file names, in the folders that the user gave and nowhere else.

    A label file may come from a stranger, so what it names has to lie in `roots`; a path may be absolute or hold
    `..` as long as it ends there. Links are followed: they are the user's own.

    Args:
        bases: folders that a relative path may be relative to; the first one where the file is wins. Where the first
            lies behind a URL, files are looked for there alone, and roots are no others.
        roots: folders that a file has to lie in, `bases` if None.
        advice: what a user does about a path that leads outside.
    """

    def __init__(self, bases: Sequence[Place], *, roots: Sequence[Place] | None = None, advice: str = "") -> None:
        remote = [base.normal() for base in bases if isinstance(base, RemotePath)]
        self.remote = tuple(dict.fromkeys(remote)) if isinstance(bases[0], RemotePath) else ()
        here = [base for base in bases if isinstance(base, Path)]
        self.bases = tuple(dict.fromkeys(str(absolute(base)) for base in here))
        local = [root for root in roots if isinstance(root, Path)] if roots is not None else here
        self.roots = tuple(dict.fromkeys(str(absolute(root)) for root in local))
        self.advice = advice or "give the folder that holds everything as DATA and the label file with --labels"

    def find(self, written: str, where: str, *, endings: Sequence[str] = ("",)) -> Place:
        """The absolute path of a file; if it is nowhere, the place where it was expected first.

        Args:
            written: the path as the label file has it.
            where: file and line, for the message.
            endings: tried in this order, for label files that leave the ending out.

        Raises:
            DataError: the path is empty, a web address, or leads out of the roots.
        """
        if not written.strip() or "\0" in written or len(written) > MAX_PATH or not is_unicode(written):
            raise DataError(f"{where}: the path of the image is empty, too long, or no path.")
        if "://" in written:
            raise DataError(f"{where}: {written[:80]!r} is a web address; only files are read, so fetch it first.")
        if self.remote:
            return self._find_remote(written, where, endings)
        expected: str | None = None
        for variant in _variants(written):
            for base in self.bases:
                for ending in endings:
                    path = os.path.normpath(
                        f"{base}{os.sep}{variant}{ending}" if not _is_rooted(variant) else variant + ending
                    )
                    if not any(_is_in(path, root) for root in self.roots):
                        continue
                    if exists(path):
                        return Path(path)
                    expected = expected or path
        if expected is None:
            raise DataError(
                f"{where}: {written[:120]!r} leads out of {' or '.join(self.roots)}, and is not read; {self.advice}."
            )
        return Path(expected)

    def _find_remote(self, written: str, where: str, endings: Sequence[str]) -> RemotePath:
        expected: RemotePath | None = None
        for variant in dict.fromkeys((written, written.strip().replace("\\", "/"))):
            for base in self.remote:
                for ending in endings:
                    place = (base / f"{variant}{ending}").normal()
                    if variant.startswith("/") or not any(root.holds(place) for root in self.remote):
                        continue
                    if place.is_file():
                        return place
                    expected = expected or place
        if expected is None:
            raise DataError(
                f"{where}: {written[:120]!r} leads out of {' or '.join(map(str, self.remote))}, and is not read; "
                f"{self.advice}."
            )
        return expected

    def name(self, path: Place) -> str:
        """The printable name of a file: relative to the first root that holds it, with `/`."""
        if isinstance(path, RemotePath):
            above = next((root for root in self.remote if root.holds(path)), None)
            return printable(path.relative_to(above).as_posix() if above is not None else str(path))
        text = str(path)
        for root in self.roots:
            if _is_in(text, root):
                text = text[len(root) :].lstrip(os.sep)
                break
        return printable(text.replace(os.sep, "/"))


# Texts instead of `Path` from here on: a data set has a million of them, and `Path` takes 20 times as long.


def _is_in(path: str, root: str) -> bool:
    return path.startswith(root) and (len(path) == len(root) or root.endswith(os.sep) or path[len(root)] == os.sep)


def _is_rooted(path: str) -> bool:
    return os.path.isabs(path)  # noqa: PTH117


def exists(path: str | Source) -> bool:
    """Whether something is there; no error for a name that the file system cannot have."""
    return path.exists() if isinstance(path, Blob) else os.path.exists(path)  # noqa: PTH110


def _variants(written: str) -> Iterator[str]:
    """The path as written; if that is no file: Windows' slashes, the other Unicode forms, Latin-1 bytes."""
    yield written
    plain = written.strip()
    if "\\" in plain:
        plain = plain.replace("\\", "/")
    if plain != written:
        yield plain
    if plain.isascii():
        return
    for form in ("NFC", "NFD"):
        yield unicodedata.normalize(form, plain)
    try:
        yield os.fsdecode(plain.encode("latin-1"))
    except UnicodeEncodeError:
        return
