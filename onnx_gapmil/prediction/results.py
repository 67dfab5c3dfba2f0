"""A folder of results, each file of it whole or not there at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.guarding import require_replaceable
from onnx_gapmil.files.writing import make_folder, require_writable, whole_file
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.prediction.answers import FailedImage, ImagePrediction, cell_rectangles
from onnx_gapmil.prediction.naming import older_results, require_places, result_stems, results_in
from onnx_gapmil.prediction.report import Report
from onnx_gapmil.prediction.tables import TABLES
from onnx_gapmil.running.pipeline.ordered import ordered_map
from onnx_gapmil.show.drawing.png import save_png

if TYPE_CHECKING:
    from onnx_gapmil.files.blob import Source
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.prediction.resuming import PredictJournal


@dataclass(frozen=True, eq=False)
class _Staged:
    """What is to be written of one photo, and under which name."""

    place: int
    path: Source
    stem: str
    found: ImagePrediction | ImageError


class Results:
    """A folder of results: pictures, arrays and ``predictions.json``, each written whole or not at all.

    The folder is made when the first result is written.

    Args:
        folder: where to.
        pictures: write a PNG for each photo and head.
        arrays: write an NPZ for each photo: what was asked for, by default ``logits`` (K,) and
            ``grid`` (K, rows, columns), and ``cells`` (rows, columns, 4), the cells' rectangles [x0, y0, x1, y1] in
            pixels of the photo; with several heads each name ends in ``_`` and the output's name.
        tables: of `TABLES`, those that are written when the run ends.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, *, pictures: bool, arrays: bool, tables: Collection[str] = ()) -> None:
        require_writable(folder)
        self.tables = frozenset(tables)
        self.folder = folder
        self.report = Report(folder)
        self._pictures = pictures
        self._arrays = arrays
        self._endings = [*([".png"] if pictures else []), *([".npz"] if arrays else [])]
        self._stems: list[str] = []
        self._names: list[str] = []
        self._done: set[int] = set()
        self._had_results = False
        self._noting = threading.Lock()
        self.journal: PredictJournal | None = None

    def plan(self, inside: Sequence[PurePath]) -> None:
        """Name the results of each photo, by its own name, in the subfolder in which it lay.

        Args:
            inside: the photos' paths within what was named.

        Raises:
            InputError: one of them would be written over what must not be (`require_places`).
        """
        self._stems = result_stems(inside)
        self._names = [path.as_posix() for path in inside]
        require_places(self.folder, self._stems, self._endings)
        for kind in self.tables:
            require_replaceable(self.folder / TABLES[kind])
        self._had_results = self.folder.is_dir() and (
            next(results_in(self.folder), None) is not None
            or any((self.folder / name).is_file() for name in TABLES.values())
        )

    @property
    def names(self) -> Sequence[str]:
        """Of the photos, by place: their paths within what was named, with ``/``."""
        return self._names

    @property
    def stems(self) -> Sequence[str]:
        """Of each photo's results, by place: their paths in the folder without ending."""
        return self._stems

    def taken_over(self, place: int) -> None:
        """The results of a photo are there, from an earlier run that this one goes on with."""
        self._done.add(place)

    def older(self, paths: Sequence[Source]) -> list[str]:
        """Pictures and arrays in the folder that are not of this run.

        Args:
            paths: of all photos.
        """
        if not self._had_results:
            return []
        done = (self._stems[place] for place in self._done)
        others = [name for kind, name in TABLES.items() if kind not in self.tables and (self.folder / name).is_file()]
        return older_results(self.folder, done, self._endings, paths) + others

    def write(
        self,
        classifier: Classifier,
        paths: Sequence[Source],
        answers: Generator[ImagePrediction | ImageError, None, None],
        places: Sequence[int] | None = None,
        show: Callable[[int, ImagePrediction], None] | None = None,
    ) -> Generator[ImagePrediction | ImageError, None, None]:
        """Write what was asked for of each photo, in threads, while the next ones are computed.

        When it is left early (Ctrl-C), what was taken from `answers` is written to its end and is in the report.

        Args:
            classifier: that gives the answers.
            paths: of all photos, as in `plan`.
            answers: to the photos at `places`, in the same order; closed at the end.
            places: of those that are answered; by default all.
            show: is called with each answer, while it has its photo, by the threads.

        Yields:
            The answers, in order, with the paths of what was written.

        Raises:
            InputError: the folder cannot be written to, or the disk is full.
        """
        if not self._stems:
            self.plan([PurePath(path.name) for path in paths])
        threads = thread_count() if self._pictures or show is not None else 1
        written = ordered_map(
            partial(self._write, classifier, show),
            self._staged(paths, range(len(paths)) if places is None else places, answers),
            workers=threads,
            ahead=max(4, 2 * threads),
            finish=True,
            name="write",
        )
        with closing(written):
            yield from written

    def _staged(
        self,
        paths: Sequence[Source],
        places: Sequence[int],
        answers: Generator[ImagePrediction | ImageError, None, None],
    ) -> Iterator[_Staged]:
        with closing(answers):
            for place, found in zip(places, answers, strict=True):
                yield _Staged(place, paths[place], self._stems[place], found)

    def _write(
        self, classifier: Classifier, show: Callable[[int, ImagePrediction], None] | None, staged: _Staged
    ) -> ImagePrediction | ImageError:
        found = staged.found
        if isinstance(found, ImageError):
            failed = FailedImage(staged.path, found, self._names[staged.place])
            self._note(staged, "failed", failed.to_json())
            return found
        make_folder(self.folder)
        picture = self._draw(classifier, found, staged.stem) if self._pictures else None
        npz = self._save_arrays(found, staged.stem) if self._arrays else None
        if show is not None:
            show(staged.place, found)
        done = replace(found, picture=picture, npz=npz, name=self._names[staged.place])
        self._note(staged, "images", done.to_json())
        return done

    def _note(self, staged: _Staged, part: str, entry: dict[str, Any]) -> None:
        """A photo is done: after its files, and before it is told."""
        text = self.report.add(staged.place, part, entry)
        if part == "images":
            self._done.add(staged.place)
        if self.journal is not None and (part == "images" or self.folder.is_dir()):
            with self._noting:
                self.journal.add(staged.place, part, text, staged.path)

    def _draw(self, classifier: Classifier, found: ImagePrediction, stem: str) -> Path | None:
        """A picture of each head; returns the first one's path. Features are drawn only where they were asked for."""
        first = None
        if found.geometry is None:  # an array: there is nothing to draw on
            return None
        drawn = [head for head in found.heads if head.arranged and (not head.features_of or len(found.heads) == 1)]
        for place, head in enumerate(drawn):
            path = self.folder / picture_name(stem, head.output, place)
            make_folder(path.parent)
            save_png(classifier.render(found, head), path)
            first = first or path
        return first

    def _save_arrays(self, found: ImagePrediction, stem: str) -> Path:
        path = self.folder / f"{stem}.npz"
        make_folder(path.parent)
        with whole_file(path) as stream:
            np.savez(stream, **cast("dict[str, Any]", _arrays(found)))
        return path


def _arrays(found: ImagePrediction) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for head in found.heads:
        suffix = f"_{head.output}" if len(found.heads) > 1 else ""
        arrays |= {f"{name}{suffix}": array for name, array in head.arrays.items()}
        if found.geometry is not None and len(head.grid_shape) == 2:
            arrays[f"cells{suffix}"] = cell_rectangles(found.geometry_of(head), head.plane)
    return arrays


def picture_name(stem: str, output: str, place: int) -> str:
    """The name of a head's picture in the folder.

    Args:
        stem: of the photo's results.
        output: of the head.
        place: of the head among those that are drawn.
    """
    return f"{stem}.png" if place == 0 else f"{stem}.{_safe(output)}.png"


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
