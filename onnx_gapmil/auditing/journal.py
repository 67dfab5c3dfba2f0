"""What an unfinished audit knows already: one line for each batch of images, safe against being killed.

A batch's line is written and flushed to the disk before the next batch is measured. Whatever kills the run, the file
then holds whole lines, of which the last one may be cut short; that batch is measured again. The batches are cut from
the data set by place alone, so that a resumed run feeds the model the very batches that an unbroken one would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import re
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onnx_gapmil.auditing.records import Record, read_record
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.checked_lines import checked_line, content_of
from onnx_gapmil.files.identity import FileIdentity
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.packed import PackedBatches
from onnx_gapmil.files.serial import from_json, to_json
from onnx_gapmil.files.writing import open_to_append, whole_file, write_whole
from onnx_gapmil.images.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import IO, Self

S = TypeVar("S")
R = TypeVar("R")
#: The form of the records that are written: what is measured on an image.
FORM = 2
_SETTINGS = "settings.json"
_BATCHES = "batches.jsonl"
_SAMPLES = "samples.jsonl"
#: How a line begins, what stands between its two parts, and how each record begins: in a text, quotes are escaped.
_FILES, _BETWEEN = b'{"files":', b',"records":'
_NAMES = re.compile(rb'\{"image":("(?:[^"\\]|\\.)*")')
_ERROR = b',"error":"'


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What has to be the same for an unfinished audit to go on.

    The first nine, the size and whether grids are stitched are as in `Request`, paths as they were given: another
    request is another audit. Where one of the others differs, the same audit begins anew.

    Attributes:
        batch: images at a time, as it was decided.
        version: of onnx-gapmil.
        sha256: of the model's file.
        used: the provider that runs.
        weights: size of the model with its external data, in bytes.
        class_names: fingerprint of the names that were found, wherever they lie.
        class_table: fingerprint of the file of `class_map`.
        preprocessing: fingerprint of what was found beside the model or in it; None if the images decide.
        libraries: versions of those that decode, resize and run.
        thresholds: fingerprint of those above which classes are present.
        class_token: how far heads that read one are lifted; as it was asked for.
        fast_decode: whether large JPEGs are decoded smaller than they are.
        form: of its records; those of another form hold other measures.
        size: (height, width) of the input that was asked for.
        stitch: how many times as fine as the model's own the grids are.
        by_size: whether records hold what sizes are compared by.
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
    weights: int
    class_names: str
    class_table: str | None
    preprocessing: str | None
    libraries: str
    thresholds: str
    class_token: str | None = None
    fast_decode: bool = False
    form: int = 1
    size: tuple[int, int] | None = None
    stitch: int = 1
    by_size: bool = False


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What an audit decided before its first image, so that it is not decided anew when it goes on.

    Attributes:
        preprocess: how photos become inputs.
        source: where that comes from.
        assumed: whether anything of it was guessed, or found on labelled images, rather than stated.
        guessed: which parts of it were.
        offset: class = label + offset; None where labels are no numbers.
        class_map_source: how labels became classes.
        samples: fingerprint of the labelled images.
    """

    preprocess: Preprocess
    source: str
    assumed: bool
    guessed: tuple[str, ...] = ()
    offset: int | None
    class_map_source: str
    samples: str


@dataclass(frozen=True)
class Settings:
    """What an audit began with; the journal's first file.

    Attributes:
        request: what was asked for.
        resolved: what was decided from it.
        shard: which part of the run it is, as ``i/N``; None of a whole run.
    """

    request: Identity
    resolved: Decisions
    shard: str | None = None


@dataclass(frozen=True)
class FoundRun(Generic[S, R]):
    """An unfinished run that was found in a folder.

    Attributes:
        settings: what it began with.
        batches: the records of each batch that was finished, as far as its line can be read; they are read when they
            are asked for.
        images: of each of these, the names of its images.
        files: of each of these, what its images (and then their masks) were; empty where that was not kept.
        samples: what was to be measured, as `Journal.start` was told it; read from the journal each time, and a
            ValueError where it cannot be.
    """

    settings: S
    batches: PackedBatches[R]
    images: Sequence[tuple[str, ...]] = ()
    files: Sequence[tuple[FileIdentity, ...]] = ()
    samples: Iterable[tuple[str, ...]] = ()


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
        self._stream: IO[bytes] | None = None
        self._starts: array[int] | None = None
        self._whole = False

    def find(self) -> FoundRun[S, R] | None:
        """Read what an earlier run left; None if there is nothing.

        Raises:
            InputError: there is something that is no journal of such a run.
        """
        if not (self.folder / _SETTINGS).is_file():
            return None
        try:
            settings = from_json(self._kind, json.loads((self.folder / _SETTINGS).read_text("utf-8")))
            batches, images, files = self._whole_batches()
            return FoundRun(settings, batches, images, files, SampleLines(self.folder / _SAMPLES))
        except (ValueError, InputError, RecursionError) as error:
            raise InputError(
                f"{self.folder} is not the journal of {self._what} ({error}). Choose another folder, or begin anew "
                "with --restart."
            ) from error

    def start(self, settings: S, samples: Iterable[Sequence[str]] | None = None) -> None:
        """Begin a new journal; an older one is lost.

        Args:
            settings: what the run begins with.
            samples: what is to be measured, in order; texts by which a later run tells what has changed.
        """
        self.clear()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be made: {error.strerror or error}.") from error
        if samples is not None:
            with whole_file(self.folder / _SAMPLES) as stream:
                for entry in samples:
                    stream.write(json.dumps(list(entry), separators=(",", ":")).encode() + b"\n")
        text = json_text(to_json(settings), indent=2) + "\n"
        write_whole(self.folder / _SETTINGS, text.encode())

    def keep(self, batches: Iterable[int]) -> None:
        """Keep some of the batches that `find` gave, by their places, and nothing else."""
        if self._starts is None:
            self._whole_batches()
        starts, path = self._starts or array("Q"), self.folder / _BATCHES
        kept = array("Q", (starts[place] for place in batches if place < len(starts)))
        if not path.is_file() or (self._whole and kept == starts):  # nothing of it is to go
            return
        with path.open("rb") as old, whole_file(path) as new:
            for start in kept:
                old.seek(start)
                new.write(old.readline())

    def add(self, records: Sequence[R], files: Sequence[FileIdentity] = ()) -> None:
        """Append the records of the next batch, and wait until they are on the disk.

        Args:
            records: one for each image.
            files: what the images, and then their masks, were when they were read.

        Raises:
            InputError: the disk does not take them.
        """
        entries = to_json(list(records))
        # Of a file its four values alone: an audit of a million images has as many.
        held = {"files": [list(dataclasses.astuple(file)) for file in files], "records": entries} if files else entries
        line = checked_line(json.dumps(held, separators=(",", ":"), allow_nan=False).encode())
        try:
            if self._stream is None:
                self._stream = open_to_append(self.folder / _BATCHES)
            self._stream.write(line + b"\n")
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
        for name in (_BATCHES, _SETTINGS, _SAMPLES):
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

    def _whole_batches(self) -> tuple[PackedBatches[R], PackedBatches[str], PackedBatches[FileIdentity]]:
        """The batches whose lines can be read; others are measured again."""
        path = self.folder / _BATCHES
        batches: PackedBatches[R] = PackedBatches(self._records)
        images, files = PackedBatches[str](), PackedBatches[FileIdentity]()
        starts = array("Q")
        start = lines = 0
        with path.open("rb") if path.is_file() else io.BytesIO() as stream:
            for line in stream:  # one at a time: of a million images they are gigabytes
                with contextlib.suppress(ValueError, TypeError, RecursionError):
                    # What follows the last line break was being written when the run was killed.
                    if not line.endswith(b"\n"):
                        raise ValueError("a line is cut short")
                    names, identities = self._add_batch(line[:-1], batches)
                    images.append(names)
                    files.append(identities)
                    starts.append(start)
                start += len(line)
                lines += 1
        self._starts, self._whole = starts, lines == len(starts)
        return batches, images, files

    def _add_batch(self, line: bytes, batches: PackedBatches[R]) -> tuple[tuple[str, ...], tuple[FileIdentity, ...]]:
        """Add the batch of a line; the names of its images, and their files.

        A run that goes on needs to know which images are measured, and not yet what was measured on them: of a line
        with its right sum, that is all that is read.
        """
        text = content_of(line)
        head, between, tail = text.partition(_BETWEEN)
        names = _NAMES.findall(tail) if between and head.startswith(_FILES) else []
        if names:
            files = tuple(_identity(file) for file in json.loads(head[len(_FILES) :]))
            batches.append_text(text, len(names), (object,) if _ERROR in tail else ())
            return tuple(json.loads(b"[" + b",".join(names) + b"]")), files
        records, files = self._batch(text)
        batches.append(records)
        return tuple(str(getattr(record, "image", "")) for record in records), files

    def _records(self, text: bytes) -> tuple[R, ...]:
        """The records of a line that was found before.

        Raises:
            InputError: they are none, though the line's sum is right.
        """
        try:
            return self._batch(text)[0]
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self.folder / _BATCHES} holds what is no record ({error}). Begin anew with --restart."
            ) from error

    def _batch(self, text: bytes) -> tuple[tuple[R, ...], tuple[FileIdentity, ...]]:
        held = json.loads(text)
        entries, files = (held["records"], held["files"]) if isinstance(held, dict) and len(held) == 2 else (held, [])
        if not isinstance(entries, list) or not isinstance(files, list):
            raise ValueError(f"a line of {_BATCHES} is no list")
        return tuple(self._read(entry) for entry in entries), tuple(_identity(file) for file in files)


@dataclass(frozen=True)
class SampleLines:
    """What was to be measured, a line of the journal each, read whenever it is asked for.

    Attributes:
        path: of the file.
    """

    path: Path

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """The entries, as `BatchJournal.start` was told them.

        Raises:
            ValueError: they cannot be read.
        """
        try:
            with self.path.open("rb") if self.path.is_file() else io.BytesIO() as stream:
                for line in stream:
                    yield tuple(str(text) for text in json.loads(line))
        except (OSError, TypeError, RecursionError) as error:
            raise ValueError(str(error)) from error


def _identity(values: Any) -> FileIdentity:
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f"a file in a line of {_BATCHES} has not its four values")
    return _same_identity(*values)


@functools.lru_cache(maxsize=1024, typed=True)
def _same_identity(*values: Any) -> FileIdentity:
    """Made once for all images of a shard."""
    return from_json(FileIdentity, dict(zip(("size", "modified", "changed", "sha256"), values, strict=True)))


#: What an unfinished audit left.
Found = FoundRun[Settings, Record]


class Journal(BatchJournal[Settings, Record]):
    """The journal of one audit.

    Args:
        folder: made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Settings, read_record, "an audit")
