"""Shards of a prediction put together: the whole folder of results, as one run would have written it."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path, PurePath
from typing import Any

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.reading import open_regular
from onnx_gapmil.files.urls import said
from onnx_gapmil.files.writing import make_folder, whole_file
from onnx_gapmil.prediction.naming import REPORT, results_in
from onnx_gapmil.prediction.page.page import PAGE
from onnx_gapmil.prediction.report import Report
from onnx_gapmil.prediction.results import picture_name
from onnx_gapmil.prediction.resuming import DoneLines
from onnx_gapmil.prediction.tables import TABLES, write_tables
from onnx_gapmil.running.shards import MARK, FinishedShard, require_division, unreadable

#: The keys of an entry that name files, and what they are called.
_FILES = {"picture": "pictures", "npz": "arrays"}


@dataclass(frozen=True)
class MergedPredictions:
    """Predictions that were put together.

    Attributes:
        report: ``predictions.json``.
        images: of the whole run.
        done: photos that were answered.
        failed: photos that could not be read.
        written: the kinds of results, and the names of files.
        left_out: what of shards of photos could not be used.
    """

    report: Path
    images: int
    done: int
    failed: int
    written: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def text(self) -> Iterator[str]:
        """``predictions.json``, in parts."""
        with self.report.open(encoding="utf-8") as stream:
            while part := stream.read(1 << 20):
                yield part


def merge_predictions(shards: Sequence[FinishedShard], output: Path) -> MergedPredictions:
    """Write the whole: ``predictions.json``, tables, and copies of the shards' pictures and arrays.

    Args:
        shards: all of them, by number; see `find_shards`.
        output: the result folder; made if need be.

    Raises:
        InputError: a photo's entry or a result of it is not there, or the folder will not do.
    """
    protect(each.folder / MARK for each in shards)
    details = shards[0].result.details
    tables = [kind for kind in details.get("tables", ()) if kind in TABLES]
    require_division(output, (REPORT, *(TABLES[kind] for kind in tables)))
    with locked_folder(output, "another run"), ExitStack() as held:
        filled = [each for each in shards if each.result.done]  # one without a batch has no records
        lines = [_opened(each, held) for each in filled]
        report = held.enter_context(closing(Report(output)))
        copied = _Copied(output)
        for place, part, entry, shard in heapq.merge(*map(_placed, filled, lines), key=itemgetter(0)):
            report.add(place, part, copied.entry(entry, shard))
        older = sorted(copied.before - copied.names - {TABLES[kind] for kind in tables})
        summary = {**details.get("summary", {}), "older_results": older}
        path = report.save(summary)
        if path is None:
            raise InputError("Not one of the photos could be read, so that nothing is written.")
        written = write_tables(output, tables, report, summary)
        done, failed = report.counts["images"], report.counts["failed"]
    left_out = tuple(summary.get("left_out", ()))
    return MergedPredictions(path, done + failed, done, failed, (*copied.kinds, path.name, *written), left_out)


def _opened(shard: FinishedShard, held: ExitStack) -> DoneLines:
    """A shard's entries, all of them.

    Raises:
        InputError: some are not there.
    """
    try:
        lines = held.enter_context(closing(DoneLines(shard.journal)))
    except OSError as error:
        raise unreadable(shard) from error
    if len(lines.places) != shard.result.done:
        raise unreadable(shard)
    return lines


def _placed(shard: FinishedShard, lines: DoneLines) -> Iterator[tuple[int, str, dict[str, Any], FinishedShard]]:
    for place, part, entry in lines:
        yield place, part, entry, shard


class _Copied:
    """Pictures and arrays, copied from the shards' folders.

    Args:
        output: the result folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self.before = frozenset(results_in(output)) | {
            name for name in (*TABLES.values(), PAGE) if (output / name).is_file()
        }
        self.names: set[str] = set()
        self._kinds: set[str] = set()

    @property
    def kinds(self) -> list[str]:
        """Of what was copied, for people."""
        return [word for key, word in _FILES.items() if key in self._kinds]

    def entry(self, entry: dict[str, Any], shard: FinishedShard) -> dict[str, Any]:
        """An entry whose files were copied, with where they are now.

        Raises:
            InputError: a file is not there, or cannot be written.
        """
        moved = dict(entry)
        for key in _FILES:
            if isinstance(named := entry.get(key), str):
                inside = self._inside(named, shard)
                self._copy(inside, shard)
                moved[key] = said(self._output / inside)
                self._kinds.add(key)
                if key == "picture":
                    self._copy_others(inside, entry, shard)
        return moved

    def _inside(self, named: str, shard: FinishedShard) -> PurePath:
        try:
            inside = PurePath(named).relative_to(shard.result.folder)
        except ValueError:
            raise unreadable(shard) from None
        if ".." in inside.parts:
            raise unreadable(shard)
        return inside

    def _copy_others(self, first: PurePath, entry: Mapping[str, Any], shard: FinishedShard) -> None:
        """The pictures of the other heads."""
        stem = first.with_suffix("").as_posix()
        for head in entry["heads"]:
            inside = PurePath(picture_name(stem, head["output"], 1))
            if (shard.folder / inside).is_file():
                self._copy(inside, shard)

    def _copy(self, inside: PurePath, shard: FinishedShard) -> None:
        target = self._output / inside
        make_folder(target.parent)
        try:
            with open_regular(shard.folder / inside) as source, whole_file(target) as stream:
                shutil.copyfileobj(source, stream)
        except FileNotFoundError as error:
            raise unreadable(shard) from error
        self.names.add(inside.as_posix())
