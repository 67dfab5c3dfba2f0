"""What an unfinished audit knows already: one line for each batch of images, safe against being killed.

A batch's line is written and flushed to the disk before the next batch is measured. Whatever kills the run, the file
then holds whole lines, of which the last one may be cut short; that batch is measured again. The batches are cut from
the data set by place alone, so that a resumed run feeds the model the very batches that an unbroken one would.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from onnx_gapmil.auditing.records import Record, read_record
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.serial import from_json, to_json
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.images.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

S = TypeVar("S")
R = TypeVar("R")
_SETTINGS = "settings.json"
_BATCHES = "batches.jsonl"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What has to be the same for an unfinished audit to go on.

    The first nine are as in `Request`, paths as they were given.

    Attributes:
        batch: images at a time, as it was decided.
        version: of onnx-gapmil.
        sha256: of the model's file.
        used: the provider that runs.
    """

    model: str
    data: str
    labels: str | None
    names: str | None
    class_map: str | None
    offset: int | None
    preprocess: str | None
    provider: str
    head: str | None
    batch: int
    version: str
    sha256: str
    used: str


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What an audit decided before its first image, so that it is not decided anew when it goes on.

    Attributes:
        preprocess: how photos become inputs.
        source: where that comes from.
        assumed: whether it was guessed.
        offset: class = label + offset; None where labels are no numbers.
        class_map_source: how labels became classes.
        samples: fingerprint of the labelled images.
    """

    preprocess: Preprocess
    source: str
    assumed: bool
    offset: int | None
    class_map_source: str
    samples: str


@dataclass(frozen=True)
class Settings:
    """What an audit began with; the journal's first file.

    Attributes:
        request: what was asked for.
        resolved: what was decided from it.
    """

    request: Identity
    resolved: Decisions


@dataclass(frozen=True)
class FoundRun(Generic[S, R]):
    """An unfinished run that was found in a folder.

    Attributes:
        settings: what it began with.
        batches: the records of each batch that was finished.
    """

    settings: S
    batches: tuple[tuple[R, ...], ...]


class BatchJournal(Generic[S, R]):
    """The journal of one run, in a folder of its own inside the result folder.

    Args:
        folder: made when the first line is written.
        settings: the type of what a run begins with.
        read: makes a record of its JSON form; a ValueError if it is none.
        what: the run is, with its article, for messages.
    """

    def __init__(self, folder: Path, settings: type[S], read: Callable[[object], R], what: str) -> None:
        self.folder = folder
        self._kind, self._read, self._what = settings, read, what
        self._stream: BinaryIO | None = None

    def find(self) -> FoundRun[S, R] | None:
        """Read what an earlier run left; None if there is nothing.

        Raises:
            InputError: there is something that is no journal of such a run.
        """
        if not (self.folder / _SETTINGS).is_file():
            return None
        try:
            settings = from_json(self._kind, json.loads((self.folder / _SETTINGS).read_text("utf-8")))
            return FoundRun(settings, tuple(self._whole_batches()))
        except (ValueError, InputError) as error:
            raise InputError(
                f"{self.folder} is not the journal of {self._what} ({error}). Choose another folder, or begin anew "
                "with --restart."
            ) from error

    def start(self, settings: S) -> None:
        """Begin a new journal; an older one is lost."""
        self.clear()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be made: {error.strerror or error}.") from error
        text = json_text(to_json(settings), indent=2) + "\n"
        write_whole(self.folder / _SETTINGS, text.encode())

    def resume(self, batches: int) -> None:
        """Cut off what follows the first `batches` lines: a line that was not written to its end."""
        path = self.folder / _BATCHES
        if path.is_file():
            lines = path.read_bytes().split(b"\n")[:batches]
            write_whole(path, b"".join(line + b"\n" for line in lines))

    def add(self, records: Sequence[R]) -> None:
        """Append the records of the next batch, and wait until they are on the disk.

        Raises:
            InputError: the disk does not take them.
        """
        line = json.dumps(to_json(list(records)), separators=(",", ":"), allow_nan=False)
        try:
            if self._stream is None:
                self._stream = (self.folder / _BATCHES).open("ab")
            self._stream.write(line.encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise InputError(
                f"{self.folder / _BATCHES} cannot be written: {error.strerror or error}. Make room and run the same "
                "command again: it goes on where it stopped."
            ) from error

    def clear(self) -> None:
        """Remove the journal: its audit is finished, or is begun anew."""
        self.close()
        for name in (_BATCHES, _SETTINGS):
            (self.folder / name).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def close(self) -> None:
        """Close the file; what was added stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _whole_batches(self) -> list[tuple[R, ...]]:
        path = self.folder / _BATCHES
        if not path.is_file():
            return []
        lines = path.read_bytes().split(b"\n")
        # What follows the last line break was being written when the run was killed.
        return [self._batch(line) for line in lines[:-1]]

    def _batch(self, line: bytes) -> tuple[R, ...]:
        entries = json.loads(line)
        if not isinstance(entries, list):
            raise ValueError(f"a line of {_BATCHES} is no list")
        return tuple(self._read(entry) for entry in entries)


#: What an unfinished audit left.
Found = FoundRun[Settings, Record]


class Journal(BatchJournal[Settings, Record]):
    """The journal of one audit.

    Args:
        folder: made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Settings, read_record, "an audit")
