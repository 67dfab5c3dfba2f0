"""What a model says of a photo, and where: plain values that serialize themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation
from onnx_gapmil.aggregate.reading import ONE_OF_MANY, Reading
from onnx_gapmil.data.choosing import choose_classes
from onnx_gapmil.errors import ImageError, InputError
from onnx_gapmil.files.wording import count, percent
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.images.places import Places
from onnx_gapmil.lift.verdict import Verdict, said_verdict
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.show.drawing.overlay import overlay

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
    """

    index: int
    label: str
    box: tuple[float, float, float, float]
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**self.__dict__, "box": [round(side, 2) for side in self.box]}


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

    class_token: str | None = None
    placeless_share: float | None = None
    pool: str = "mean"

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


@dataclass(frozen=True, repr=False)
class ImagePrediction:
    """What the model says of one photo, and where.

    ``logits``, ``grid``, ``names``, ``places``, `table` and `overlay` are those of the first head.

    Attributes:
        image: its path; None where pixels were given.
        photo: (H, W, 3) RGB uint8; None where nobody draws it.
        geometry: where the input lies in the photo; None where arrays were given.
        heads: one for each lifted output.
        picture: where the picture was written.
        npz: where the arrays were written.
        inputs: of arrays, the shape of each as it went in, with the batch's axis, by input; empty for photos.
        note: what is to be said of the photo's samples; "" where there is nothing.
    """

    image: Path | None
    photo: npt.NDArray[np.uint8] | None
    geometry: Geometry | None
    heads: tuple[HeadPrediction, ...] = ()
    picture: Path | None = None
    npz: Path | None = None
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    note: str = ""

    @property
    def logits(self) -> npt.NDArray[np.floating]:
        """(K,), the answer to the whole photo: the mean of `grid` over its cells, or by `HeadPrediction.pool`."""
        return self.heads[0].logits

    @property
    def grid(self) -> npt.NDArray[np.floating] | None:
        """(K, rows, columns), logits of the cells; None where it was not fetched."""
        return self.heads[0].grid

    @property
    def names(self) -> Sequence[str] | None:
        """Of the K classes; None where nothing names them."""
        return self.heads[0].names

    @property
    def places(self) -> npt.NDArray[np.float32] | None:
        """(rows, columns, 4): each cell's rectangle (x0, y0, x1, y1) in pixels of the photo; None if not known."""
        head = self.heads[0]
        if not head.arranged or self.geometry is None:
            return None
        return cell_rectangles(self.geometry_of(head), head.plane)

    def geometry_of(self, head: HeadPrediction) -> Geometry:
        """Where the window that a head's cells divide lies in the photo.

        Raises:
            InputError: arrays were given, so there is no photo.
        """
        found = head.geometry if head.geometry is not None else self.geometry
        if found is None:
            raise InputError("an array was given, so there is no photo in which its cells lie.")
        return found

    def table(self) -> pa.Table:
        """A row for each class; see `HeadPrediction.table`."""
        return self.heads[0].table()

    def overlay(self, index: int | str | None = None) -> npt.NDArray[np.uint8]:
        """The photo under the map of one class, the colour stronger where a cell speaks more for it.

        Args:
            index: number or name of the class; the image's best if None.

        Returns:
            (H, W, 3) RGB uint8, of the photo's own size. What the network does not see is faded.

        Raises:
            InputError: the photo or the grid was not kept, places are not known, or there is no such class.
        """
        head = self.heads[0]
        if self.photo is None or head.grid is None:
            raise InputError("the photo and its grid were not kept, so there is nothing to draw.")
        if not head.arranged:
            raise InputError(
                f"where the cells of {head.output!r} lie is not known, so they are not drawn on the photo."
            )
        chosen = int(np.argmax(head.logits)) if index is None else self._number_of(index)
        if not 0 <= chosen < len(head.grid):
            raise InputError(f"class {chosen} was asked for, and {head.output!r} has {len(head.grid)}, from 0.")
        return overlay(self.photo, self.geometry_of(head), head.grid[chosen])

    def _number_of(self, index: int | str) -> int:
        if not isinstance(index, str):
            return index
        head = self.heads[0]
        return choose_classes((index,), len(head.logits), head.names, f"output {head.output!r}")[0]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; sizes are [width, height] in pixels. Arrays have the shapes of what went in instead."""
        size = None if self.geometry is None else [self.geometry.image_size[1], self.geometry.image_size[0]]
        arrays = {"inputs": {name: list(shape) for name, shape in self.inputs.items()}} if self.inputs else {}
        heads = [head.to_json() for head in self.heads]
        if self.inputs:  # no boxes say where cells lie
            heads = [
                entry | {"places": head.places.to_json() if head.places is not None else None}
                for entry, head in zip(heads, self.heads, strict=True)
            ]
        return {
            "image": str(self.image) if self.image is not None else None,
            "size": size,
            **arrays,
            "heads": heads,
            "picture": str(self.picture) if self.picture is not None else None,
            "npz": str(self.npz) if self.npz is not None else None,
            **({"note": self.note} if self.note else {}),
        }

    def __repr__(self) -> str:
        size = f"{self.geometry.image_size[1]} x {self.geometry.image_size[0]}" if self.geometry is not None else ""
        given = size or ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in self.inputs.items())
        what = "pixels" if self.geometry is not None else "arrays"
        head = self.heads[0]
        as_score = "{:.2f}".format if head.reading.activation == "none" else percent
        listed = head.top if head.present is None else head.present
        top = ", ".join(f"{entry.label} {as_score(entry.score)}" for entry in listed[:3]) or "none present"
        winners = ", ".join(f"{entry.label} {entry.cells}" for entry in head.winners[:3]) or "won by no class"
        boxes = ", ".join(f"{entry.label} {tuple(map(round, entry.box))}" for entry in head.boxes[:2]) or "none"
        several = ", the first of several" if len(self.heads) > 1 else ""
        return (
            f"ImagePrediction of {self.image or what} ({given})\n"
            f"  head         {head.output!r}, {head.said_verdict}{several}\n"
            f"  whole image  {top}\n"
            f"  {' x '.join(map(str, head.grid_shape))} cells  {winners}\n"
            f"  boxes        {boxes}"
        )


@dataclass(frozen=True)
class FailedImage:
    """A photo that could not be read.

    Attributes:
        image: its path.
        error: why.
    """

    image: Path
    error: ImageError

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"image": str(self.image), "error": str(self.error)}


@dataclass(frozen=True, repr=False)
class Predictions:
    """What a model says of several photos.

    Attributes:
        images: one for each photo that could be read, in order.
        failed: the others.
        summary: what all have in common: model, verdict, provider, preprocessing, where names come from; JSON types.
        report: where ``predictions.json`` was written; None if it was not.
    """

    images: tuple[ImagePrediction, ...]
    failed: tuple[FailedImage, ...]
    summary: Mapping[str, Any]
    report: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of ``predictions.json``."""
        images, failed = [found.to_json() for found in self.images], [found.to_json() for found in self.failed]
        return {**self.summary, "images": images, "failed": failed}

    def table(self) -> pa.Table:
        """A row for each photo.

        Returns:
            An Arrow table of ``image``, ``index``, ``name`` and ``score`` of the image's best class, null of a
            multi-label head where none is present; ``present``, the names of the classes that are, null of other heads;
            and ``winner`` and ``winner_cells`` of the class that wins most cells, null where none wins any; all of the
            first head.
        """
        import pyarrow as pa

        rows = []
        for found in self.images:
            head = found.heads[0]
            listed = head.top if head.present is None else head.present
            best, winner = listed[0] if listed else None, head.winners[0] if head.winners else None
            rows.append(
                {
                    "image": str(found.image),
                    "index": best.index if best is not None else None,
                    "name": best.label if best is not None else None,
                    "score": best.score if best is not None else None,
                    "present": None if head.present is None else [entry.label for entry in head.present],
                    "winner": winner.label if winner is not None else None,
                    "winner_cells": winner.cells if winner is not None else None,
                }
            )
        return pa.Table.from_pylist(rows, schema=_photo_rows())

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[ImagePrediction]:
        return iter(self.images)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} could not be read" if self.failed else ""
        return f"Predictions of {self.summary['model']} for {count(len(self.images), 'photo')}{failed}"


def _photo_rows() -> pa.Schema:
    import pyarrow as pa

    kinds = {"image": pa.string(), "index": pa.int64(), "name": pa.string(), "score": pa.float64()}
    return pa.schema({**kinds, "present": pa.list_(pa.string()), "winner": pa.string(), "winner_cells": pa.int64()})


@lru_cache(maxsize=64)
def cell_rectangles(geometry: Geometry, grid_shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(rows, columns, 4), read-only: `Geometry.cell_rectangle` of each cell; photos of one size share it."""
    rows, columns = grid_shape
    across = np.array([geometry.cell_rectangle(0, column, grid_shape) for column in range(columns)], np.float32)
    down = np.array([geometry.cell_rectangle(row, 0, grid_shape) for row in range(rows)], np.float32)
    cells = np.empty((rows, columns, 4), np.float32)
    cells[:, :, 0::2] = across[None, :, 0::2]
    cells[:, :, 1::2] = down[:, None, 1::2]
    cells.flags.writeable = False
    return cells
