"""Results behind URLs: made on this machine, where a run can be resumed, and put there when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import require_replaceable
from onnx_gapmil.files.mirroring import fetch_folder, is_untouched, mirror
from onnx_gapmil.files.remote import RemotePath, open_url
from onnx_gapmil.files.urls import given_place, note_origin
from onnx_gapmil.files.writing import PART, make_folder

_AT_ONCE = 16
#: What a run goes on from, in its result folder: a finished or unfinished shard, and the journals of whole runs.
STATE = frozenset({"shard.json", "shard", ".audit", ".compare", ".predict"})


class Results:
    """The places of a run's results; those behind URLs are put there when the block ends, or `put` is called.

    Where the run fails, is stopped, or its results cannot be put, they are kept on this machine; the exception has a
    note that names the place.

    Args:
        tell: is told where results are made, and how many files were put.
    """

    def __init__(self, tell: Callable[[str], None] = lambda _: None) -> None:
        self._tell = tell
        self._staged: dict[Path, RemotePath] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self.put()
        except BaseException as failure:
            self._note(failure)
            raise
        if error is not None:
            self._note(error)

    def file(self, given: str | Path) -> Path:
        """Where a file is written that was asked for as a path or a URL.

        Raises:
            InputError: nothing can be written there.
        """
        return self._place(given, folder=False)

    def folder(self, given: str | Path) -> Path:
        """The same of a folder; an unfinished run, or a shard, that is there already is fetched, to be gone on with.

        Raises:
            InputError: nothing can be written there, or what is there cannot be fetched.
        """
        return self._place(given, folder=True)

    def put(self) -> None:
        """Put what was made, and let go of it here.

        Raises:
            InputError: it cannot be put; it is kept.
        """
        for path, target in list(self._staged.items()):
            made = list(_made(path))
            pairs = [(file, target / file.relative_to(path).as_posix() if file != path else target) for file in made]
            for _, place in pairs:
                require_replaceable(place)
            try:
                for folder in sorted({place.parent for _, place in pairs if place != target}, key=str):
                    folder.make()
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    for _ in pool.map(lambda pair: pair[1].load_from(pair[0]), pairs):
                        pass
            except (OSError, ValueError) as error:
                raise InputError(f"{target}: results cannot be put there ({_why(error)}).") from error
            del self._staged[path]
            _remove(path, made)
            if pairs:
                self._tell(f"Put {len(pairs):,} file{'s' if len(pairs) != 1 else ''} to {target}.")

    def _place(self, given: str | Path, *, folder: bool) -> Path:
        place = given_place(given)
        target = open_url(str(given)) if not isinstance(place, Path) else place
        if isinstance(target, Path):
            return target
        target = target.normal()
        path = mirror(target)
        note_origin(path, str(target))
        require_replaceable(target)
        _try(target / PART if folder else target.parent / f".{target.name}{PART}", target)
        make_folder(path if folder else path.parent)
        kept = sum(1 for _ in _made(path))
        if folder and not kept and any(entry.name in STATE for entry in target.iterdir()):
            fetch_folder(target)
        self._staged[path] = target
        if kept:
            self._tell(f"In {path} lies what an earlier run made for {target}; this one goes on from there.")
        else:
            self._tell(f"Results are made in {path}, and put to {target} when they are done.")
        return path

    def _note(self, error: BaseException) -> None:
        for path, target in self._staged.items():
            if any(_made(path)):
                error.add_note(f"What was made for {target} is kept in {path}.")


def _made(path: Path) -> Iterator[Path]:
    """The files that were written here, and no copies of what is behind the URL."""
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            yield from _made(entry)
    elif path.is_file() and not path.name.endswith(PART) and not is_untouched(path):
        yield path


def _remove(path: Path, made: list[Path]) -> None:
    """Remove what was put, and folders that are empty then."""
    for file in made:
        file.unlink(missing_ok=True)
    if path.is_dir():
        for folder in sorted((entry for entry in path.rglob("*") if entry.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            path.rmdir()


def _try(probe: RemotePath, target: RemotePath) -> None:
    """Make sure, before any work is done, that something can be written: an empty object is, and is removed again."""
    try:
        probe.write(b"")
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{target}: results cannot be put there ({_why(error)}); name another place.") from error
    with suppress(OSError, ValueError, NotImplementedError):  # some may write and not remove
        probe.remove()


def _why(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or "its store cannot be written"
    return str(reason).rstrip(".")
