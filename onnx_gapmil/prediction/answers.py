"""What a model says of a photo, and where: plain values that serialize themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx_gapmil.aggregate.activation import Activation
    from onnx_gapmil.images.geometry import Geometry


@dataclass(frozen=True)
class ClassScore:
    """One class at image level.

    Attributes:
        index: of the class.
        label: its name, or ``class 7``.
        logit: image-level logit.
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
        cells: how many cells have it as their highest logit.
        share: of all cells.
        best_cell: (row, column) of its highest cell logit.
        best_logit: that logit.
        best_score: that cell's score, as `ClassScore.score`; NaN where the graph gives too little to know it.
    """

    index: int
    label: str
    cells: int
    share: float
    best_cell: tuple[int, int]
    best_logit: float
    best_score: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**self.__dict__, "best_cell": list(self.best_cell)}


@dataclass(frozen=True)
class CellBox:
    """Connected cells (sharing edges) that one class surely wins: with at least half of the cell's softmax.

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
        activation: ``softmax``, ``sigmoid`` or ``none``.
        grid_shape: (rows, columns).
        arranged: whether rows and columns are known; without them there are no boxes and no picture.
        top: the highest classes at image level.
        winners: classes by the number of cells they win.
        boxes: of connected cells that are sure, the largest first.
        logits: (K,).
        grid: (K, rows, columns), logits of the cells; None where it was not fetched.
        arrays: what is to be saved, by name: ``logits``, ``grid``, ``argmax``, ``scores_max``, ...
    """

    output: str
    verdict: str
    activation: Activation
    grid_shape: tuple[int, int]
    arranged: bool
    top: tuple[ClassScore, ...]
    winners: tuple[CellWinner, ...]
    boxes: tuple[CellBox, ...]
    logits: np.ndarray = field(repr=False)
    grid: np.ndarray | None = field(default=None, repr=False)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without the arrays."""
        return {
            "output": self.output,
            "verdict": self.verdict,
            "activation": self.activation,
            "grid_shape": list(self.grid_shape),
            "arranged": self.arranged,
            "top": [entry.to_json() for entry in self.top],
            "winners": [entry.to_json() for entry in self.winners],
            "boxes": [entry.to_json() for entry in self.boxes],
        }


@dataclass(frozen=True)
class ImagePrediction:
    """What the model says of one photo, and where.

    Attributes:
        image: its path.
        photo: (H, W, 3) RGB uint8; None where nobody draws it.
        geometry: where the input lies in the photo.
        heads: one for each lifted output.
        picture: where the picture was written.
        npz: where the arrays were written.
    """

    image: Path
    photo: np.ndarray | None = field(repr=False)
    geometry: Geometry = field(repr=False)
    heads: tuple[HeadPrediction, ...] = ()
    picture: Path | None = None
    npz: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; sizes are [width, height] in pixels."""
        height, width = self.geometry.image_size
        return {
            "image": str(self.image),
            "size": [width, height],
            "heads": [head.to_json() for head in self.heads],
            "picture": str(self.picture) if self.picture is not None else None,
            "npz": str(self.npz) if self.npz is not None else None,
        }
