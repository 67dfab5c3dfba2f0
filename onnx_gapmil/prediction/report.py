"""``predictions.json``, written as the photos are done: memory does not grow with their number."""

from __future__ import annotations

import heapq
import json
import tempfile
import threading
from array import array
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.writing import make_folder, whole_file

if TYPE_CHECKING:
    from pathlib import Path


class Report:
    """The entries of a report, kept on disk until it is whole.

    Entries may be added by several threads and in any order; they are listed by place. Photos that were done when a run
    was interrupted are all in it, whatever happened to their neighbours.

    Args:
        folder: where ``predictions.json`` goes; made with the first photo that is done.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[str, str]] = {}
        self._next = 0
        self._spools: dict[str, IO[str]] = {}
        self._places: dict[str, array[int]] = {}
        self.counts = {"images": 0, "failed": 0}

    def add(self, place: int, part: str, entry: dict[str, Any]) -> str:
        """Add what is said of one photo.

        Args:
            place: the photo's, from 0.
            part: "images" or "failed".
            entry: JSON types; numbers that JSON has no word for become null.

        Returns:
            The entry's JSON text.

        Raises:
            InputError: the disk is full.
        """
        line = json_text(entry)
        with self._lock:
            self.counts[part] += 1
            self._waiting[place] = (part, line)
            while (following := self._waiting.pop(self._next, None)) is not None:
                self._spool(self._next, *following)
                self._next += 1
        return line

    def save(self, summary: dict[str, Any], *, interrupted: bool = False) -> Path | None:
        """Write ``predictions.json``, whole; None, and nothing written, if no photo was done.

        Raises:
            InputError: it cannot be written.
        """
        if not self.counts["images"]:
            return None
        path = self._folder / "predictions.json"
        with whole_file(path) as stream:
            for text in self.chunks(summary, interrupted=interrupted):
                stream.write(text.encode())
        return path

    def chunks(self, summary: dict[str, Any], *, interrupted: bool = False) -> Iterator[str]:
        """The report's text: the summary's keys, then ``images`` and ``failed`` with one line for each photo."""
        self._settle()
        yield json_text(summary, indent=2).removesuffix("\n}")
        for part in ("images", "failed"):
            yield f',\n  "{part}": ['
            yield from self._lines(part)
            yield "\n  ]" if self.counts[part] else "]"
        yield ',\n  "interrupted": true\n}\n' if interrupted else "\n}\n"

    def entries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All entries in the order of the photos, each with its part of the report."""
        self._settle()
        parts = (self._placed(part) for part in list(self._spools))
        for _, part, line in heapq.merge(*parts):
            yield part, json.loads(line)

    def close(self) -> None:
        """Let go of what was kept on disk."""
        for spool in self._spools.values():
            spool.close()

    def _settle(self) -> None:
        """Take in those behind a photo that was not done."""
        with self._lock:
            for place in sorted(self._waiting):
                self._spool(place, *self._waiting.pop(place))

    def _placed(self, part: str) -> Iterator[tuple[int, str, str]]:
        spool = self._spools[part]
        spool.seek(0)
        for place, line in zip(self._places[part], spool, strict=True):
            yield place, part, line
        spool.seek(0, 2)

    def _lines(self, part: str) -> Iterator[str]:
        if part not in self._spools:
            return
        separator = "\n    "
        for _, _, line in self._placed(part):
            yield separator + line.rstrip("\n")
            separator = ",\n    "

    def _spool(self, place: int, part: str, line: str) -> None:
        try:
            if part not in self._spools:
                self._spools[part] = self._new_spool(part)
                self._places[part] = array("q")
            self._spools[part].write(line + "\n")
            self._places[part].append(place)
        except OSError as error:
            raise InputError(f"{self._folder}: results cannot be written: {error.strerror or error}.") from error

    def _new_spool(self, part: str) -> IO[str]:
        """A file without a name, gone with the process; failures alone make no folder."""
        if part == "images":
            make_folder(self._folder)
        folder = self._folder if self._folder.is_dir() else None
        return tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)
