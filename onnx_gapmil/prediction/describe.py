"""From one photo's grid to classes, cells and boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation, activate
from onnx_gapmil.aggregate.cells import SURE, sure_cells, winning_classes
from onnx_gapmil.prediction.answers import CellBox, CellWinner, ClassScore, HeadPrediction
from onnx_gapmil.prediction.output_plan import names_of
from onnx_gapmil.show.drawing.gridmap import regions

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        names: of its K classes; None for numbers.
        top: classes listed at image level.
        arrays: what is to be saved of each photo; None for nothing.
    """

    def __init__(self, head: HeadRecord, names: Sequence[str] | None, top: int, arrays: Emit | None = None) -> None:
        self._head = head
        self._names = names
        self._top = top
        self._arrays = arrays
        self._kind = head.activation
        self._arranged = head.arranged

    def describe(self, found: PredictionGrid, geometry: Geometry | None) -> HeadPrediction:
        """Describe one photo's answer.

        Args:
            found: whose arrays have one row; it needs the grid, or argmax, certainty, peaks and scores by max.
            geometry: where the input lies in the photo; None of arrays, which have no boxes.
        """
        view = _Whole(found) if found.grid is not None else _Reduced(found)
        winning = view.winning()
        cells: Geometry | None = None
        boxes: tuple[CellBox, ...] = ()
        if geometry is not None and winning.ndim == 2:
            cells = geometry.of_cells(self._head.places, (winning.shape[0], winning.shape[1]))
        if self._arranged and cells is not None:
            boxes = self._boxes(np.where(view.sure(), winning, -1), cells)
        return HeadPrediction(
            output=self._head.output,
            verdict=self._head.verdict,
            activation=self._kind,
            grid_shape=winning.shape,
            places=self._head.places,
            arranged=self._arranged,
            top=self._best(found.logits[0].astype(np.float64)),
            winners=self._winners(view, winning),
            boxes=boxes,
            names=self._names,
            geometry=cells,
            logits=found.logits[0],
            grid=None if found.grid is None else found.grid[0],
            position_dependent=self._head.position_dependent,
            arrays={} if self._arrays is None else saved_arrays(found, self._arrays),
            class_token=self._head.class_token,
            placeless_share=self._placeless(found),
        )

    def _placeless(self, found: PredictionGrid) -> float | None:
        shares = found.placeless_share(independent=self._kind == "sigmoid")
        return None if shares is None or not np.isfinite(shares[0]) else float(shares[0])

    def _label(self, index: int) -> str:
        return f"class {index}" if self._names is None else self._names[index]

    def _best(self, logits: npt.NDArray[np.float64]) -> tuple[ClassScore, ...]:
        scores = activate(logits, self._kind)
        order = np.argsort(-logits, kind="stable")[: self._top].tolist()
        return tuple(ClassScore(k, self._label(k), float(logits[k]), float(scores[k])) for k in order)

    def _winners(self, view: _Whole | _Reduced, winning: npt.NDArray[np.intp]) -> tuple[CellWinner, ...]:
        classes, counts = np.unique(winning[winning >= 0], return_counts=True)
        if not len(classes):
            return ()
        cells, logits, scores = view.best_cells(classes, self._kind)
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

    def _boxes(self, winning: npt.NDArray[np.intp], geometry: Geometry) -> tuple[CellBox, ...]:
        shape = (winning.shape[0], winning.shape[1])
        boxes = []
        for region in regions(winning):
            if region.value < 0 or region.cells < max(1, _MIN_BOX_SHARE * winning.size):
                continue
            x0, y0, _, _ = geometry.cell_rectangle(region.rows[0], region.cols[0], shape)
            _, _, x1, y1 = geometry.cell_rectangle(region.rows[1] - 1, region.cols[1] - 1, shape)
            boxes.append(CellBox(region.value, self._label(region.value), (x0, y0, x1, y1), region.cells))
        return tuple(boxes)


_Best = tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Of some classes: the best cell, its logit, its score."""


class _Whole:
    """One photo's cells, from the whole grid."""

    def __init__(self, found: PredictionGrid) -> None:
        grid = cast("npt.NDArray[Any]", found.grid)[0]
        self._grid = grid.astype(np.float32) if grid.dtype.itemsize < 4 else grid

    def winning(self) -> npt.NDArray[np.intp]:
        return winning_classes(self._grid)

    def sure(self) -> npt.NDArray[np.bool_]:
        return sure_cells(self._grid)

    def best_cells(self, classes: npt.NDArray[np.intp], kind: Activation) -> _Best:
        cells = self._grid.reshape(len(self._grid), -1)
        best = cells[classes].argmax(axis=1)
        scores = activate(cells[:, best].astype(np.float64), kind)
        return best, cells[classes, best].astype(np.float64), scores[classes, np.arange(len(classes))]


class _Reduced:
    """One photo's cells, from what the graph made of the grid."""

    def __init__(self, found: PredictionGrid) -> None:
        fields = (found.argmax, found.certainty, found.peaks, found.scores.get("max"))
        if any(field is None for field in fields):
            raise ValueError("a grid, or argmax, certainty, peaks and scores by max are needed")
        self._argmax, self._certainty, self._peaks, self._highest = (
            cast("npt.NDArray[Any]", field)[0] for field in fields
        )

    def winning(self) -> npt.NDArray[np.intp]:
        """By the graph's ArgMax, from which a tie cannot be told: it goes to the lower class here."""
        if len(self._peaks) == 1:
            return np.where(self._certainty > SURE, 0, -1).astype(np.intp)
        winners: npt.NDArray[np.intp] = self._argmax.astype(np.intp)
        return winners

    def sure(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._certainty >= SURE)

    def best_cells(self, classes: npt.NDArray[np.intp], kind: Activation) -> _Best:
        """A softmax's score is known where the class wins its best cell; elsewhere it is NaN."""
        best, logits = self._peaks[classes].astype(np.intp), self._highest[classes].astype(np.float64)
        if kind == "softmax":
            own = self._argmax.ravel()[best] == classes
            return best, logits, np.where(own, self._certainty.ravel()[best].astype(np.float64), np.nan)
        return best, logits, activate(logits, kind)


def saved_arrays(found: PredictionGrid, wanted: Emit) -> dict[str, npt.NDArray[Any]]:
    """One photo's arrays as a file has them: the logits and what is wanted, without the axis of the batch."""
    arrays = {"logits": found.logits[0]}
    for name in names_of(wanted):
        if name != "scores":
            arrays[name] = getattr(found, name)[0]
    for aggregator in wanted.scores:
        arrays[f"scores_{aggregator.key}"] = found.scores[aggregator.key][0]
    return arrays
