"""What an interrupted `predict` has done already: a line for each photo, safe against being killed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.checked_lines import checked_line, content_of
from onnx_gapmil.files.identity import FileIdentity, is_unchanged, stamp
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.writing import open_to_append, write_whole

#: The journal's folder inside the result folder.
JOURNAL = ".predict"
_SETTINGS = "settings.json"
_IMAGES = "images.jsonl"


class PredictJournal:
    """The journal of one run over photos.

    Args:
        folder: the result folder; nothing is made in it before the first photo is done.
        settings: what has to be the same for a run to go on, by the words that a user is told where it is not.
        name: of the journal's own folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], name: str = JOURNAL) -> None:
        self._folder = folder / name
        self._settings = dict(settings)
        self._stream: IO[bytes] | None = None
        self._going_on = False

    def settings(self) -> dict[str, Any]:
        """Those of the run that left a journal; empty where there is none that can be read."""
        try:
            known = json.loads((self._folder / _SETTINGS).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}

    def find(self, paths: Sequence[Source]) -> tuple[dict[int, tuple[str, dict[str, Any]]], str]:
        """What was done and still holds: by place, the part of the report and the entry in it.

        A photo is done if it is what it was, and what was written of it is still there.

        Args:
            paths: where the photos lie.

        Returns:
            The entries, and why an earlier run is not gone on with; "" if it is, or there was none.
        """
        known = self.settings()
        if not known:
            return {}, ""
        if known != self._settings:
            other = [key for key in {**self._settings, **known} if self._settings.get(key) != known.get(key)]
            return {}, f"An unfinished run here is not gone on with: there is another {' and '.join(other)}."
        self._going_on = True
        found: dict[int, tuple[str, dict[str, Any]]] = {}
        for place, part, entry, identity in lines_in(self._folder):
            with suppress(ValueError, TypeError, LookupError):
                if is_unchanged(paths[place], FileIdentity(*identity)) and _is_there(entry):
                    found[place] = (part, entry)
        return found, ""

    def add(self, place: int, part: str, entry: str, path: Source) -> None:
        """Note that a photo is done, after all that is written of it.

        Args:
            place: of the photo.
            part: of the report.
            entry: in it, as JSON text.
            path: where the photo lies.

        Raises:
            InputError: the disk does not take it.
        """
        if self._stream is None:
            self._begin()
        assert self._stream is not None  # noqa: S101  (begun above)
        known = stamp(path)
        identity = [known.size, known.modified, known.changed, known.sha256]
        line = f"[{place},{json_text(part)},{entry},{json_text(identity)}]"
        self._stream.write(checked_line(line.encode()) + b"\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the journal: its run is finished."""
        self.close()
        for name in (_IMAGES, _SETTINGS):
            (self._folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # it was never made, or somebody keeps something in it
            self._folder.rmdir()

    def close(self) -> None:
        """Close the file; what was added stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._going_on:
            (self._folder / _IMAGES).unlink(missing_ok=True)
            write_whole(self._folder / _SETTINGS, json_text(self._settings, indent=2).encode())
        path = self._folder / _IMAGES
        # A line that was cut short ends here.
        cut = path.is_file() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
        self._stream = open_to_append(path)
        if cut:
            self._stream.write(b"\n")


def lines_in(folder: Path) -> Iterator[tuple[int, str, dict[str, Any], Sequence[Any]]]:
    """What a journal holds: of each photo its place, the part of the report, the entry in it, and what the file was.

    Lines that cannot be read are passed over.

    Args:
        folder: the journal's own.
    """
    try:
        stream = (folder / _IMAGES).open("rb")
    except OSError:
        return
    with stream:
        for line in stream:
            with suppress(ValueError, TypeError, RecursionError):
                place, part, entry, identity = json.loads(content_of(line.removesuffix(b"\n")))
                yield place, part, entry, identity


class DoneLines:
    """The entries of a journal, one at a time and by place; of a photo that was done twice the last.

    Args:
        folder: the journal's own.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._stream = (folder / _IMAGES).open("rb")
        self._starts: dict[int, int] = {}
        start = 0
        for line in self._stream:
            with suppress(ValueError, TypeError, RecursionError):
                place, _, _, _ = json.loads(content_of(line.removesuffix(b"\n")))
                self._starts[int(place)] = start
            start += len(line)

    @property
    def places(self) -> list[int]:
        """Of the photos, in order."""
        return sorted(self._starts)

    def __iter__(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for place in self.places:
            self._stream.seek(self._starts[place])
            _, part, entry, _ = json.loads(content_of(self._stream.readline().removesuffix(b"\n")))
            yield place, part, entry

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def settings_of(parts: Mapping[str, object]) -> dict[str, str]:
    """Fingerprints of what has to be the same."""
    return {
        key: value if isinstance(value, str) else hashlib.sha256(json_text(value).encode()).hexdigest()
        for key, value in parts.items()
    }


def _is_there(entry: Mapping[str, Any]) -> bool:
    """Whether the files that an entry names are still there."""
    named = [entry.get(key) for key in ("picture", "npz")]
    return all(Path(name).is_file() for name in named if isinstance(name, str))
