"""What one head says of a photo: classes, cells and boxes, as plain values that serialize themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation
from onnx_gapmil.aggregate.reading import ONE_OF_MANY, Reading
from onnx_gapmil.files.wording import percent
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.images.places import Places
from onnx_gapmil.lift.verdict import Verdict, said_verdict
from onnx_gapmil.lift.weighted_pools import WeightedPool

if TYPE_CHECKING:
    import pyarrow as pa


def class_label(index: int, names: Sequence[str] | None, *, features: bool = False) -> str:
    """A class's name; its number where it has none, or where it is no class but a feature."""
    if names is not None:
        return names[index]
    return f"feature {index}" if features else f"class {index}"


@dataclass(frozen=True)
class ClassScore:
    """One class at image level.

    Attributes:
        index: of the class.
        label: its name, or ``class 7``.
        logit: image-level logit; of a head of one logit, 0 for *not x* and that logit for *x*.
        score: probability by the model's own activation; the logit where it has none.
    """

    index: int
    label: str
    logit: float
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class CellWinner:
    """A class that wins cells.

    Attributes:
        index: of the class.
        label: its name.
        cells: how many cells have it as their highest logit, and above its threshold where classes have one.
        share: of all cells.
        best_cell: (row, column) of its highest cell logit, of a volume (slice, row, column), of a clip (frame, row,
            column).
        best_logit: that logit.
        best_score: that cell's score, as `ClassScore.score`; NaN where the graph gives too little to know it.
    """

    index: int
    label: str
    cells: int
    share: float
    best_cell: tuple[int, ...]
    best_logit: float
    best_score: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**self.__dict__, "best_cell": list(self.best_cell)}


@dataclass(frozen=True)
class ChosenClass:
    """A class that was asked for, whether it wins anything or not.

    Attributes:
        index: of the class.
        label: its name.
        logit: image-level logit.
        score: as `ClassScore.score`.
        rank: of its logit among all classes of the image, from 1.
        present: of a multi-label head, whether it is above its threshold; None of others.
        cells: how many cells it wins.
        best_cell: as `CellWinner.best_cell`.
        best_logit: that cell's logit.
        best_score: that cell's score, NaN where the graph gives too little to know it.
    """

    index: int
    label: str
    logit: float
    score: float
    rank: int
    present: bool | None
    cells: int
    best_cell: tuple[int, ...]
    best_logit: float
    best_score: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**self.__dict__, "best_cell": list(self.best_cell)}


@dataclass(frozen=True)
class CellBox:
    """Connected cells (sharing edges) of which one class is sure.

    It has at least half of the cell's softmax, or of one logit's sigmoid; of a multi-label head it is above its
    threshold there, so that boxes of several classes may lie on each other.

    Attributes:
        index: of the class.
        label: its name.
        box: (x0, y0, x1, y1) in pixels of the photo as it is stored, upright.
        cells: how many cells.
        score: in 0..1, of the surest of the class's sure cells in the box: its share of the cell's softmax, of a
            multi-label head its sigmoid, whatever the head's own activation is.
    """

    index: int
    label: str
    box: tuple[float, float, float, float]
    cells: int
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**self.__dict__, "box": [round(side, 2) for side in self.box], "score": round(self.score, 6)}


@dataclass(frozen=True)
class HeadPrediction:
    """What one head says of one photo.

    Attributes:
        output: the vendor's output.
        verdict: ``exact`` or ``conditional``.
        activation: what the vendor's graph makes of its logits: ``softmax``, ``sigmoid`` or ``none``.
        reading: how they are read as classes: one of many, two by one logit, or several at once (multi-label).
        grid_shape: (rows, columns); of a volume (slices, rows, columns), of a clip (frames, rows, columns).
        arranged: whether rows and columns of an image are known; without them there are no boxes and no picture.
        top: the highest classes at image level; of a multi-label head whether they are present or not.
        present: of a multi-label head, the classes above their threshold at image level, the surest first; may be none.
            None of other heads.
        winners: classes by the number of cells they win.
        none_cells: cells that nobody wins: two classes are equally high, or none is above its threshold.
        boxes: of connected cells that are sure, the largest first; of the chosen classes alone, where some are.
        chosen: the classes that were asked for, in that order; None where all are of interest.
        names: of the K classes; None where nothing names them.
        geometry: where the window that the cells divide lies in the photo; that of the whole input if None.
        logits: (K,); of a head of one logit those of its two classes, (0, logit).
        grid: (K, rows, columns), logits of the cells; likewise. None where it was not fetched.
        arrays: what is to be saved, by name, as the graph gives it: ``logits``, ``grid``, ``argmax``, ...
        position_dependent: whether the head has weights of its own for each position.
        places: where its cells look in the model's input.
        features_of: the outputs that are made of this one's numbers, which are features then and no classes: they have
            neither names nor boxes. Empty for a head of classes.
        class_token: how far the class token that the head reads is lifted; None where it reads none.
        pool_weights: of its pools those that do not weigh all positions alike.
        placeless_share: of such a head, how much of this answer no place brings (`onnx_gapmil.aggregate.placeless`).
        pool: what makes the logits of the cells: ``mean``, or the aggregator that the model was repooled with.
    """

    output: str
    verdict: Verdict
    activation: Activation
    grid_shape: tuple[int, ...]
    arranged: bool
    top: tuple[ClassScore, ...]
    winners: tuple[CellWinner, ...]
    boxes: tuple[CellBox, ...]
    logits: npt.NDArray[np.floating] = field(repr=False)
    grid: npt.NDArray[np.floating] | None = field(default=None, repr=False)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict, repr=False)
    names: Sequence[str] | None = field(default=None, repr=False)
    geometry: Geometry | None = field(default=None, repr=False)
    position_dependent: bool = False
    places: Places | None = None
    reading: Reading = ONE_OF_MANY
    present: tuple[ClassScore, ...] | None = None
    none_cells: int = 0
    chosen: tuple[ChosenClass, ...] | None = None
    features_of: tuple[str, ...] = ()
    pool_weights: tuple[WeightedPool, ...] = field(default=(), repr=False)
    class_token: str | None = None
    placeless_share: float | None = None
    pool: str = "mean"

    @property
    def multi_label(self) -> bool:
        """Whether several classes may be present at once, or none."""
        return self.reading.multi_label

    @property
    def one_logit(self) -> bool:
        """Whether the head has one logit, which is two classes: *not x*, 0, and *x*."""
        return self.reading.kind == "two-classes"

    def scores(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Scores of logits with the K classes on the first axis, of the image or of cells; see `ClassScore.score`."""
        return self.reading.scores(logits)

    @property
    def said_placeless(self) -> str:
        """How much of the answer no place brings, as a clause; "" of a head that reads no class token."""
        return "" if self.placeless_share is None else f", {percent(self.placeless_share, 0)} without a place"

    @property
    def plane(self) -> tuple[int, int]:
        """(rows, columns) of an arranged grid."""
        return self.grid_shape[0], self.grid_shape[1]

    @property
    def size_text(self) -> str:
        """How many cells along each axis, for people: ``8×8``."""
        return "×".join(map(str, self.grid_shape))

    @property
    def said_verdict(self) -> str:
        """The verdict as it is said, position-dependence included."""
        return said_verdict(self.verdict, position_dependent=self.position_dependent, class_token=self.class_token)

    def name(self, index: int) -> str:
        """A class's name, or its number."""
        return class_label(index, self.names, features=self.features_of != ())

    def table(self) -> pa.Table:
        """A row for each of the K classes, the highest logit first.

        Returns:
            An Arrow table of ``index``, ``name``, ``logit``, ``score`` (probability by the model's own activation, or
            the logit), of a multi-label head ``present``, and, null where the grid was not fetched, ``cells`` that it
            wins, and ``best_row``, ``best_column`` and ``best_logit`` of its highest cell; of a volume or a clip its
            slice or frame, ``best_first``, as well.
        """
        import pyarrow as pa

        logits = np.asarray(self.logits, dtype=np.float64)
        order = np.argsort(-logits, kind="stable")
        columns: dict[str, Any] = {
            "index": order,
            "name": [self.name(int(index)) for index in order],
            "logit": logits[order],
            "score": self.scores(logits)[order],
        }
        if self.multi_label:
            columns["present"] = self.reading.present(logits)[order]
        if self.grid is not None:
            cells = np.asarray(self.grid, dtype=np.float64).reshape(len(logits), -1)
            winners = self.reading.winners(np.asarray(self.grid))
            best = cells.argmax(axis=1)[order]
            place = np.unravel_index(best, self.grid_shape)
            columns |= {
                "cells": np.bincount(winners[winners >= 0].ravel(), minlength=len(logits))[order],
                "best_row": place[-2],
                "best_column": place[-1],
                "best_logit": cells[order, best],
            }
            if len(place) > 2:
                columns["best_first"] = place[-3]
        else:
            columns |= dict.fromkeys(("cells", "best_row", "best_column", "best_logit"), [None] * len(order))
        return pa.table(columns)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without the arrays."""
        return {
            "output": self.output,
            "verdict": self.verdict,
            "position_dependent": self.position_dependent,
            "class_token": True if self.class_token is not None else None,
            "placeless_share": self.placeless_share,
            "pool": self.pool,
            "activation": self.activation,
            "reading": self.reading.kind,
            "thresholds": self.reading.said_thresholds,
            "grid_shape": list(self.grid_shape),
            "arranged": self.arranged,
            "top": [entry.to_json() for entry in self.top],
            "present": None if self.present is None else [entry.to_json() for entry in self.present],
            "winners": [entry.to_json() for entry in self.winners],
            "none_cells": self.none_cells,
            "boxes": [entry.to_json() for entry in self.boxes],
            "features_of": list(self.features_of),
            "chosen": None if self.chosen is None else [entry.to_json() for entry in self.chosen],
        }
