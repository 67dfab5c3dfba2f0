"""``predictions.json``, written as the photos are done: memory does not grow with their number."""

from __future__ import annotations

import tempfile
import threading
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
        self.counts = {"images": 0, "failed": 0}

    def add(self, place: int, part: str, entry: dict[str, Any]) -> None:
        """Add what is said of one photo.

        Args:
            place: the photo's, from 0.
            part: "images" or "failed".
            entry: JSON types; numbers that JSON has no word for become null.

        Raises:
            InputError: the disk is full.
        """
        line = json_text(entry)
        with self._lock:
            self.counts[part] += 1
            self._waiting[place] = (part, line)
            while (following := self._waiting.pop(self._next, None)) is not None:
                self._spool(*following)
                self._next += 1

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
        with self._lock:
            for place in sorted(self._waiting):  # those behind a photo that was not done
                self._spool(*self._waiting.pop(place))
        yield json_text(summary, indent=2).removesuffix("\n}")
        for part in ("images", "failed"):
            yield f',\n  "{part}": ['
            yield from self._lines(part)
            yield "\n  ]" if self.counts[part] else "]"
        yield ',\n  "interrupted": true\n}\n' if interrupted else "\n}\n"

    def close(self) -> None:
        """Let go of what was kept on disk."""
        for spool in self._spools.values():
            spool.close()

    def _lines(self, part: str) -> Iterator[str]:
        spool = self._spools.get(part)
        if spool is None:
            return
        spool.seek(0)
        separator = "\n    "
        for line in spool:
            yield separator + line.rstrip("\n")
            separator = ",\n    "
        spool.seek(0, 2)

    def _spool(self, part: str, line: str) -> None:
        try:
            if part not in self._spools:
                self._spools[part] = self._new_spool(part)
            self._spools[part].write(line + "\n")
        except OSError as error:
            raise InputError(f"{self._folder}: results cannot be written: {error.strerror or error}.") from error

    def _new_spool(self, part: str) -> IO[str]:
        """A file without a name, gone with the process; failures alone make no folder."""
        if part == "images":
            make_folder(self._folder)
        folder = self._folder if self._folder.is_dir() else None
        return tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)
