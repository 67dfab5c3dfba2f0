"""Copies on this machine of what lies behind URLs: models, what stands beside them, result folders.

A copy lies in the cache folder, at the path that it has in its store: what is beside it there is beside it here, so
that whatever looks for a neighbour (weights, class names, the folder above) finds it. The time of a copy is no time but
a number made of its object's tag (ETag, CRC, time of change): a copy whose size and number are still those of the
object is taken as it is, and what somebody wrote here, whose time is one, is never mistaken for a copy.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.cache import cache_folder
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.remote import RemotePath, require_url
from onnx_gapmil.files.urls import given_place, note_origin
from onnx_gapmil.files.writing import PART, make_folder

_AT_ONCE = 16
_LONGEST = 120
#: Tags have 56 bits; as nanoseconds that is the spring of 1972, before which nothing is written.
_LAST_TAG = 1 << 56

_places: dict[Path, RemotePath] = {}


def local_path(given: str | Path) -> Path:
    """What was given, on this machine: a path as it is; of a URL the copy, a folder with all that is in it.

    Raises:
        InputError: nothing is there, it cannot be fetched, or the extra is not installed.
    """
    place = given_place(given)
    if isinstance(place, Path):
        return place
    found = require_url(place, InputError)
    if isinstance(found, Path):
        return found
    if found.is_dir():
        return fetch_folder(found)
    path = _fetch(found)
    protect([found], "was read in this run")
    return path


def is_copy(path: Path) -> bool:
    """Whether a path is a copy that this run made of what is behind a URL."""
    return path in _places


def fetch_beside(path: Path, names: Iterable[str]) -> None:
    """Fetch files that lie beside what a copy was made of, where they are there; of other paths nothing is done.

    Args:
        path: a file.
        names: of the others, as paths from its folder, which may lead to the folder above and not out of the store.

    Raises:
        InputError: one is there and cannot be fetched.
    """
    place = _places.get(path)
    if place is None:
        return
    found = [(place.parent / name).normal() for name in names]
    _at_once([other for other in found if other.is_file()])


def protect_beside(path: Path, others: Iterable[Path]) -> None:
    """Keep what lies beside the origin of a copy from being written over, whether it was fetched or not.

    Args:
        path: a file; of one that is no copy nothing is done.
        others: where copies would lie of what is kept.
    """
    place = _places.get(path)
    if place is not None:
        beside = ((place.parent / os.path.relpath(other, path.parent)).normal() for other in others)
        protect(beside, "belongs to the model beside it")


def mirror(place: RemotePath) -> Path:
    """Where the copy of a place lies, or will lie.

    Raises:
        InputError: there is no cache folder.
    """
    head, *chain = str(place.normal()).split("::")
    scheme, _, path = head.partition("://")
    kind = "-".join([scheme, *(quote(part, safe="")[-_LONGEST:] for part in chain)])
    try:
        root = cache_folder() / "remote" / kind
    except RuntimeError as error:
        raise InputError(f"{place}: there is no folder for copies; set XDG_CACHE_HOME to one.") from error
    parts = [quote(part, safe=" +,=@()[]~!")[:_LONGEST] for part in path.split("/") if part]
    return root.joinpath(*parts)


def is_untouched(path: Path) -> bool:
    """Whether a file is a copy as it was fetched, and nothing that was written here."""
    return path.stat().st_mtime_ns < _LAST_TAG


def fetch_folder(place: RemotePath) -> Path:
    """Copy a folder with all that is in it.

    Raises:
        InputError: it cannot be fetched.
    """
    folder = mirror(place)
    make_folder(folder)
    note_origin(folder, str(place))
    _at_once([entry for entry in place.rglob("*") if entry.is_file()], told=False)
    return folder


def _at_once(places: list[RemotePath], *, told: bool = True) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda place: _fetch(place, told=told), places):
            pass


def _fetch(place: RemotePath, *, told: bool = True) -> Path:
    """Copy a file, unless its copy is there."""
    path = mirror(place)
    if told:
        _places[path] = place
        note_origin(path, str(place))
    try:
        size, tag, _ = place.stamp()
        status = path.stat() if path.is_file() else None
        if status is None or not place.tagged() or (status.st_size, status.st_mtime_ns) != (size, tag):
            make_folder(path.parent)
            _download(place, path, tag)
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: cannot be fetched ({getattr(error, 'strerror', None) or error}).") from error
    return path


def _download(place: RemotePath, path: Path, tag: int) -> None:
    """Copy the bytes under a name of this process's, and then give the whole its own."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=PART, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        place.save_to(part)
        os.utime(part, ns=(tag, tag))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
