"""From one photo's grid to classes, cells and boxes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import activate
from onnx_gapmil.aggregate.cells import SURE, quick_certainty
from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.prediction.head_answer import CellBox, CellWinner, ChosenClass, ClassScore, HeadPrediction, class_label
from onnx_gapmil.prediction.output_plan import names_of
from onnx_gapmil.show.drawing.gridmap import regions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.record import HeadRecord
    from onnx_gapmil.running.prediction_grid import PredictionGrid

#: Connected cells of one class smaller than this share of the grid are counted but get no box.
_MIN_BOX_SHARE = 0.02


class Describer:
    """Puts one head's numbers into words.

    Args:
        head: of the session.
        names: of its classes (two, of a head of one logit); None for numbers.
        top: classes listed at image level.
        arrays: what is to be saved of each photo; None for nothing.
        reading: how its logits are read; by its activation if None.
        chosen: the classes that are asked for; None for all.
    """

    def __init__(
        self,
        head: HeadRecord,
        names: Sequence[str] | None,
        top: int,
        arrays: Emit | None = None,
        *,
        reading: Reading | None = None,
        chosen: Sequence[int] | None = None,
    ) -> None:
        self._head = head
        self._names = names
        self._top = top
        self._arrays = arrays
        self._given = reading
        self._chosen = chosen
        self._arranged = head.arranged

    def describe(self, found: PredictionGrid, geometry: Geometry | None) -> HeadPrediction:
        """Describe one photo's answer.

        Args:
            found: whose arrays have one row; it needs the grid, or argmax, certainty, peaks and scores by max.
            geometry: where the input lies in the photo; None of arrays, which have no boxes.
        """
        reading = self._given or Reading.of(self._head.activation, found.logits.shape[1])
        logits = reading.of_classes(found.logits[0])
        view = _Whole(found, reading) if found.grid is not None else _Reduced(found, reading)
        winning = view.winning()
        cells: Geometry | None = None
        boxes: tuple[CellBox, ...] = ()
        if geometry is not None and winning.ndim == 2:
            cells = geometry.of_cells(self._head.places, (winning.shape[0], winning.shape[1]))
        if self._arranged and cells is not None and not self._head.features_of:
            boxes = self._boxes(view, winning, cells)
        top = self._best(logits.astype(np.float64), reading)
        winners = self._winners(view, winning)
        return HeadPrediction(
            output=self._head.output,
            verdict=self._head.verdict,
            activation=self._head.activation,
            reading=reading,
            grid_shape=winning.shape,
            places=self._head.places,
            arranged=self._arranged,
            top=top,
            present=self._present(logits.astype(np.float64), reading),
            winners=winners,
            none_cells=int(np.count_nonzero(winning < 0)),
            boxes=boxes,
            chosen=self._of_chosen(view, winners, logits.astype(np.float64), reading),
            names=self._names,
            geometry=cells,
            logits=logits,
            grid=view.grid,
            position_dependent=self._head.position_dependent,
            arrays={} if self._arrays is None else saved_arrays(found, self._arrays),
            features_of=self._head.features_of,
            pool_weights=self._head.pool_weights,
            class_token=self._head.class_token,
            placeless_share=self._placeless(found),
            pool=self._head.pool,
        )

    def _placeless(self, found: PredictionGrid) -> float | None:
        shares = found.placeless_share(independent=self._head.activation == "sigmoid")
        return None if shares is None or not np.isfinite(shares[0]) else float(shares[0])

    def _label(self, index: int) -> str:
        return class_label(index, self._names, features=self._head.features_of != ())

    def _best(self, logits: npt.NDArray[np.float64], reading: Reading) -> tuple[ClassScore, ...]:
        return self._scored(highest_places(reading.above(logits), self._top), logits, reading)

    def _present(self, logits: npt.NDArray[np.float64], reading: Reading) -> tuple[ClassScore, ...] | None:
        if not reading.multi_label:
            return None
        margins = reading.above(logits)
        order = np.argsort(-margins, kind="stable")
        return self._scored(order[margins[order] > 0], logits, reading)

    def _scored(
        self, order: npt.NDArray[np.intp], logits: npt.NDArray[np.float64], reading: Reading
    ) -> tuple[ClassScore, ...]:
        scores = reading.scores(logits)
        return tuple(ClassScore(k, self._label(k), float(logits[k]), float(scores[k])) for k in order.tolist())

    def _winners(self, view: _Whole | _Reduced, winning: npt.NDArray[np.intp]) -> tuple[CellWinner, ...]:
        classes, counts = np.unique(winning[winning >= 0], return_counts=True)
        if not len(classes):
            return ()
        cells, logits, scores = view.best_cells(classes)
        rows = zip(classes.tolist(), counts.tolist(), cells.tolist(), logits.tolist(), scores.tolist(), strict=True)
        found = [
            CellWinner(
                index=index,
                label=self._label(index),
                cells=count,
                share=count / winning.size,
                best_cell=tuple(int(place) for place in np.unravel_index(cell, winning.shape)),
                best_logit=logit,
                best_score=score,
            )
            for index, count, cell, logit, score in rows
        ]
        return tuple(sorted(found, key=lambda entry: (-entry.cells, -entry.best_logit)))

    def _of_chosen(
        self,
        view: _Whole | _Reduced,
        winners: tuple[CellWinner, ...],
        logits: npt.NDArray[np.float64],
        reading: Reading,
    ) -> tuple[ChosenClass, ...] | None:
        """What is asked for is told, whether it wins anything or not."""
        if self._chosen is None:
            return None
        shape, classes = view.shape, np.asarray(self._chosen, dtype=np.intp)
        cells, best, best_scores = view.best_cells(classes)
        won = {entry.index: entry.cells for entry in winners}
        scores, present = reading.scores(logits), reading.present(logits)
        order = np.argsort(-reading.above(logits), kind="stable").tolist()
        return tuple(
            ChosenClass(
                index=index,
                label=self._label(index),
                logit=float(logits[index]),
                score=float(scores[index]),
                rank=order.index(index) + 1,
                present=bool(present[index]) if reading.multi_label else None,
                cells=won.get(index, 0),
                best_cell=tuple(int(place) for place in np.unravel_index(cells[place], shape)),
                best_logit=float(best[place]),
                best_score=float(best_scores[place]),
            )
            for place, index in enumerate(classes.tolist())
        )

    def _boxes(self, view: _Whole | _Reduced, winning: npt.NDArray[np.intp], geometry: Geometry) -> tuple[CellBox, ...]:
        shape = (winning.shape[0], winning.shape[1])
        found = [(region, layer) for layer in view.sure_layers(winning) for region in regions(layer)]
        boxes = []
        for region, layer in sorted(found, key=lambda entry: -entry[0].cells):
            if region.value < 0 or region.cells < max(1, _MIN_BOX_SHARE * winning.size):
                continue
            if self._chosen is not None and region.value not in self._chosen:
                continue
            x0, y0, _, _ = geometry.cell_rectangle(region.rows[0], region.cols[0], shape)
            _, _, x1, y1 = geometry.cell_rectangle(region.rows[1] - 1, region.cols[1] - 1, shape)
            inside = slice(*region.rows), slice(*region.cols)
            surest = view.certainty(region.value)[inside][layer[inside] == region.value].max()
            label = self._label(region.value)
            boxes.append(CellBox(region.value, label, (x0, y0, x1, y1), region.cells, float(surest)))
        return tuple(boxes)


def highest_places(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """Where the highest values are, best first, of equal ones the first; only what may be among them is sorted."""
    if not 0 < count < len(values) or np.isnan(values).any():
        return np.argsort(-values, kind="stable")[:count]
    among = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return np.asarray(among[np.argsort(-values[among], kind="stable")[:count]])


_Best = tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Of some classes: the best cell, its logit, its score."""


class _Whole:
    """One photo's cells, from the whole grid."""

    def __init__(self, found: PredictionGrid, reading: Reading) -> None:
        self.grid = reading.of_classes(cast("npt.NDArray[Any]", found.grid)[0])
        self._reading = reading
        self._cells = self.grid.astype(np.float32) if self.grid.dtype.itemsize < 4 else self.grid

    @property
    def shape(self) -> tuple[int, ...]:
        return self.grid.shape[1:]

    def winning(self) -> npt.NDArray[np.intp]:
        return self._reading.winners(self._cells)

    def sure_layers(self, winning: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
        """The sure cells by class, -1 for nobody: one layer for all, or one for each class that may lie on others."""
        if not self._reading.multi_label:
            yield np.where(self._certainty >= SURE, winning, -1)
            return
        present = self._reading.present(self._cells)
        for index in np.flatnonzero(present.reshape(len(present), -1).any(axis=1)).tolist():
            yield np.where(present[index], index, -1)

    @cached_property
    def _certainty(self) -> npt.NDArray[np.float64]:
        return quick_certainty(self._cells)

    def certainty(self, index: int) -> npt.NDArray[np.float64]:
        """How sure the cells are that are sure of a class."""
        if self._reading.multi_label:
            return np.asarray(activate(self._cells[index].astype(np.float64), "sigmoid"))
        return self._certainty

    def best_cells(self, classes: npt.NDArray[np.intp]) -> _Best:
        cells = self._cells.reshape(len(self._cells), -1)
        ranked = cells[classes]
        if self._reading.kind == "two-classes":  # *not x* is 0 everywhere, and best where *x* is lowest
            ranked = np.where(classes[:, None] == 0, -cells[1], cells[1])
        best = ranked.argmax(axis=1)
        scores = self._reading.scores(cells[:, best])
        return best, cells[classes, best].astype(np.float64), scores[classes, np.arange(len(classes))]


class _Reduced:
    """One photo's cells, from what the graph made of the grid; of a multi-label head that is too little."""

    grid = None

    def __init__(self, found: PredictionGrid, reading: Reading) -> None:
        fields = (found.argmax, found.certainty, found.peaks, found.scores.get("max"))
        if any(field is None for field in fields) or reading.multi_label:
            raise ValueError("a grid, or argmax, certainty, peaks and scores by max of no multi-label head are needed")
        self._argmax, self._certainty, self._peaks, self._highest = (
            cast("npt.NDArray[Any]", field)[0] for field in fields
        )
        self._reading = reading

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._argmax.shape
        return shape

    def winning(self) -> npt.NDArray[np.intp]:
        """By the graph's ArgMax, from which a tie cannot be told: it goes to the lower class here.

        Of one logit by the certainty, which is its sigmoid.
        """
        if self._reading.kind == "two-classes":
            return np.where(self._certainty == SURE, -1, self._certainty > SURE).astype(np.intp)
        winners: npt.NDArray[np.intp] = self._argmax.astype(np.intp)
        return winners

    def sure_layers(self, winning: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
        sure = self._certainty >= SURE
        yield winning if self._reading.kind == "two-classes" else np.where(sure, winning, -1)

    def certainty(self, index: int) -> npt.NDArray[np.float64]:
        """As `_Whole.certainty`; of one logit, the graph has the sigmoid of *x*."""
        sure = np.asarray(self._certainty, dtype=np.float64)
        return np.asarray(1 - sure) if self._reading.kind == "two-classes" and index == 0 else sure

    def best_cells(self, classes: npt.NDArray[np.intp]) -> _Best:
        """A softmax's score is known where the class wins its best cell; elsewhere it is NaN."""
        if self._reading.kind == "two-classes":
            return self._best_of_two(classes)
        best, logits = self._peaks[classes].astype(np.intp), self._highest[classes].astype(np.float64)
        if self._reading.activation == "softmax":
            own = self._argmax.ravel()[best] == classes
            return best, logits, np.where(own, self._certainty.ravel()[best].astype(np.float64), np.nan)
        return best, logits, self._reading.scores(logits)

    def _best_of_two(self, classes: npt.NDArray[np.intp]) -> _Best:
        """*not x* is 0 everywhere, and best where the sigmoid of *x* is lowest."""
        certainty = self._certainty.ravel().astype(np.float64)
        both = np.array([int(certainty.argmin()), int(self._peaks[0])])
        logits = np.array([0.0, float(self._highest[0])])
        scores = logits if self._reading.activation == "none" else np.array([1.0, 0.0]) + certainty[both] * [-1.0, 1.0]
        return both[classes], logits[classes], scores[classes]


def saved_arrays(found: PredictionGrid, wanted: Emit) -> dict[str, npt.NDArray[Any]]:
    """One photo's arrays as a file has them: the logits and what is wanted, without the axis of the batch."""
    arrays = {"logits": found.logits[0]}
    for name in names_of(wanted):
        if name != "scores":
            arrays[name] = getattr(found, name)[0]
    for aggregator in wanted.scores:
        arrays[f"scores_{aggregator.key}"] = found.scores[aggregator.key][0]
    return arrays
