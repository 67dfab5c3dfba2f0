"""A model with its preprocessing and class names, ready for photos."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from onnx_gapmil.errors import ImageError
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.labels import find_labels, read_labels
from onnx_gapmil.images.resolve import ResolvedPreprocess, resolve_preprocess
from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.predict.answers import CellBox, CellWinner, ClassScore, HeadPrediction, ImagePrediction
from onnx_gapmil.report.gridmap import regions
from onnx_gapmil.report.pictures import render_prediction
from onnx_gapmil.report.scores import SURE, Activation, activate, certainty
from onnx_gapmil.rewriting import SCHEMA_VERSION, Rewrite, rewrite_model
from onnx_gapmil.runtime.grid_session import GridSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.runtime.heads import Head
    from onnx_gapmil.runtime.prediction_grid import PredictionGrid

#: Connected cells of one class smaller than this share of the grid are counted but get no box.
_MIN_BOX_SHARE = 0.02


class Predictor:
    """A model with its preprocessing and class names, ready for photos.

    A model that was not rewritten is rewritten in memory.

    Args:
        model: path of an ``.onnx`` file.
        preprocess: a preset's name or a JSON file; see `resolve_preprocess`.
        labels: a file of class names; looked for beside the model if None.
        provider: where to run.
        threads: CPU threads.
        top: classes listed at image level, and shown in a picture.

    Raises:
        InputError: model, preprocessing, labels or provider will not do; see their errors.
        UnsupportedHeadError: no output has a head that can be lifted.
    """

    def __init__(
        self,
        model: Path,
        *,
        preprocess: str | None = None,
        labels: Path | None = None,
        provider: str = "auto",
        threads: int | None = None,
        top: int = 5,
    ) -> None:
        self.model = model
        self.rewrite: Rewrite = rewrite_model(model)
        self.session = GridSession(_loadable(self.rewrite, model), provider=provider, threads=threads)
        metadata = {entry.key: entry.value for entry in self.rewrite.model.metadata_props}
        self.preprocess: ResolvedPreprocess = resolve_preprocess(
            self.session.input, request=preprocess, model_path=model, metadata=metadata
        )
        self.top = max(1, top)
        self.labels, self.labels_source = self._find_labels(labels)

    def _find_labels(self, path: Path | None) -> tuple[tuple[str, ...] | None, str]:
        """Class names; those found beside the model must fit, those of a model with several heads fit the first."""
        count = self._classes(self.session.heads[0])
        if path is not None:
            return read_labels(path, count), f"Class names from {path}, as asked for."
        found = find_labels(self.model, count)
        if found is None:
            return (
                None,
                "No class names were given or found beside the model: classes are shown by number (--labels).",
            )
        return found.names, found.source

    def _classes(self, head: Head) -> int:
        return int(cast("int", head.grid_shape[1]))

    def predict(self, images: Sequence[Path], *, batch: int = 8) -> Iterator[ImagePrediction | ImageError]:
        """Run photos in batches, in order; a photo that cannot be read gives its error in its place.

        Args:
            images: paths.
            batch: photos at a time, where the model takes more than one.

        Raises:
            ModelError: the model cannot be run on them.
        """
        size = self.session.fixed_batch or max(1, batch)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="gapmil-decode") as pool:
            parts = [images[start : start + size] for start in range(0, len(images), size)]
            ahead = pool.submit(self._prepare, parts[0]) if parts else None
            for place in range(len(parts)):
                assert ahead is not None  # noqa: S101 - one is submitted for every part
                prepared = ahead.result()
                ahead = pool.submit(self._prepare, parts[place + 1]) if place + 1 < len(parts) else None
                yield from self._run(prepared)

    def _prepare(self, paths: Sequence[Path]) -> list[tuple[Path, np.ndarray, np.ndarray, Geometry] | ImageError]:
        prepared: list[tuple[Path, np.ndarray, np.ndarray, Geometry] | ImageError] = []
        for path in paths:
            try:
                photo = read_image(path)
                array, geometry = self.preprocess.preprocess.apply(photo)
            except ImageError as error:
                prepared.append(error)
            else:
                prepared.append((path, photo, array, geometry))
        return prepared

    def _run(
        self, prepared: Sequence[tuple[Path, np.ndarray, np.ndarray, Geometry] | ImageError]
    ) -> Iterator[ImagePrediction | ImageError]:
        readable = [entry for entry in prepared if not isinstance(entry, ImageError)]
        grids = self.session.run(np.stack([entry[2] for entry in readable])) if readable else []
        place = 0
        for entry in prepared:
            if isinstance(entry, ImageError):
                yield entry
                continue
            path, photo, _, geometry = entry
            heads = tuple(
                self._describe(head, found, place, geometry)
                for head, found in zip(self.session.heads, grids, strict=True)
            )
            place += 1
            yield ImagePrediction(path, photo, geometry, heads)

    def _describe(self, head: Head, found: PredictionGrid, place: int, geometry: Geometry) -> HeadPrediction:
        """Names and numbers for one photo's grid."""
        logits, grid = found.logits[place], found.grid[place]
        kind = cast("Activation", head.activation or "none")
        scores = activate(logits.astype(np.float64), kind)
        cell_scores = activate(grid.astype(np.float64), kind)
        order = np.argsort(-logits.astype(np.float64), kind="stable")[: self.top]
        winning = winning_classes(grid)
        return HeadPrediction(
            output=head.output,
            verdict=head.verdict,
            activation=kind,
            grid_shape=(grid.shape[1], grid.shape[2]),
            arranged=UNARRANGED not in head.note,
            top=tuple(ClassScore(int(k), self.label(int(k)), float(logits[k]), float(scores[k])) for k in order),
            winners=self._winners(winning, grid, cell_scores),
            boxes=()
            if UNARRANGED in head.note
            else self._boxes(np.where(certainty(grid.astype(np.float64)) >= SURE, winning, -1), geometry),
            logits=logits,
            grid=grid,
        )

    def _winners(self, winning: np.ndarray, grid: np.ndarray, scores: np.ndarray) -> tuple[CellWinner, ...]:
        found = []
        for index, count in zip(*np.unique(winning[winning >= 0], return_counts=True), strict=True):
            best = int(np.argmax(grid[index]))
            row, column = divmod(best, grid.shape[2])
            found.append(
                CellWinner(
                    index=int(index),
                    label=self.label(int(index)),
                    cells=int(count),
                    share=float(count) / winning.size,
                    best_cell=(row, column),
                    best_logit=float(grid[index, row, column]),
                    best_score=float(scores[index, row, column]),
                )
            )
        return tuple(sorted(found, key=lambda entry: (-entry.cells, -entry.best_logit)))

    def _boxes(self, winning: np.ndarray, geometry: Geometry) -> tuple[CellBox, ...]:
        shape = (winning.shape[0], winning.shape[1])
        boxes = []
        for region in regions(winning):
            if region.value < 0 or region.cells < max(1, _MIN_BOX_SHARE * winning.size):
                continue
            x0, y0, _, _ = geometry.cell_rectangle(region.rows[0], region.cols[0], shape)
            _, _, x1, y1 = geometry.cell_rectangle(region.rows[1] - 1, region.cols[1] - 1, shape)
            boxes.append(CellBox(region.value, self.label(region.value), (x0, y0, x1, y1), region.cells))
        return tuple(boxes)

    def label(self, index: int) -> str:
        """A class's name, or its number."""
        if self.labels is None or index >= len(self.labels):
            return f"class {index}"
        return self.labels[index]

    def render(self, found: ImagePrediction, head: HeadPrediction) -> np.ndarray:
        """The picture of one head's answer to one photo: (height, width, 3) RGB uint8."""
        several = f", output {head.output}" if len(found.heads) > 1 else ""
        subtitle = f"{self.model.name}{several} · {head.verdict} head · {self.preprocess.preprocess.describe()}"
        picture: np.ndarray = render_prediction(
            found.photo,
            found.geometry,
            head.grid,
            head.logits,
            labels=[self.label(index) for index in range(len(head.logits))],
            activation=head.activation,
            title=found.image.name,
            subtitle=subtitle,
        )
        return picture

    def summary(self) -> dict[str, Any]:
        """What every prediction of this model has in common, as JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": str(self.model),
            "verdict": self.rewrite.verdict,
            "rewritten_in_memory": not self.rewrite.unchanged,
            "provider": self.session.provider,
            "preprocess": self.preprocess.preprocess.to_json(),
            "preprocess_source": self.preprocess.source,
            "preprocess_assumed": self.preprocess.assumed,
            "labels_source": self.labels_source,
        }


def winning_classes(grid: np.ndarray) -> np.ndarray:
    """The class with the highest logit in each cell.

    Args:
        grid: (K, rows, columns).

    Returns:
        (rows, columns) of class indices. A model with one logit has its class where that is positive, and -1 (no
        class) elsewhere.
    """
    if grid.shape[0] == 1:
        return np.where(grid[0] > 0, 0, -1).astype(np.intp)
    winners: np.ndarray = np.argmax(grid, axis=0).astype(np.intp)
    return winners


def _loadable(rewrite: Rewrite, model: Path) -> Any:
    """What `GridSession` is given: a file that is a rewritten model is loaded by its path."""
    return model if rewrite.unchanged else rewrite
