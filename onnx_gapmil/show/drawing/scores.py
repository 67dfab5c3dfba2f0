"""What a picture says in numbers: image-level and cell-level scores of the classes worth showing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation, activate
from onnx_gapmil.aggregate.cells import certainty, winning_classes

_FEW = 0.02
"""Winners of less than this share of the cells are summed up as other classes."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class in one photo.

    Attributes:
        index: of the class.
        name: of the class.
        rank: 1 for the highest logit of the image.
        image: its image-level score: a probability, or the logit where the activation is "none".
        logit: its image-level logit.
        best_cell: (row, col) of its highest cell logit.
        best_logit: that logit.
        best: the highest score among the cells.
        won: number of cells whose highest logit is this class's.
        share: `won` as a share of all cells.
    """

    index: int
    name: str
    rank: int
    image: float
    logit: float
    best_cell: tuple[int, int]
    best_logit: float
    best: float
    won: int
    share: float


class Scores:
    """All scores of one photo.

    Args:
        grid: (K, h, w) logits of the cells.
        logits: (K,) logits of the image.
        labels: K names, or None for `class 7`.
        activation: what turns logits into scores: "softmax" or "sigmoid" into probabilities, "none" leaves
            them.

    Raises:
        ValueError: the shapes do not fit together, or the grid is empty.
    """

    def __init__(
        self,
        grid: npt.NDArray[np.floating],
        logits: npt.NDArray[np.floating],
        labels: Sequence[str] | None,
        activation: Activation,
    ) -> None:
        if grid.ndim != 3 or grid.size == 0 or logits.shape != grid.shape[:1]:
            raise ValueError(f"a grid (K, h, w) and logits (K,) are needed, not {grid.shape} and {logits.shape}")
        if labels is not None and len(labels) != len(logits):
            raise ValueError(f"{len(labels)} labels for {len(logits)} classes")
        self.grid = _finite(grid)
        self.logits = _finite(logits)
        self.activation = activation
        winners = winning_classes(self.grid)
        self.won = np.bincount(winners[winners >= 0], minlength=len(self.logits))
        # A model with one logit is drawn in its one class's colour everywhere, more or less surely.
        self.winners = winners if len(self.logits) > 1 else np.zeros_like(winners)
        self.cells = winners.size
        self.certainty = certainty(self.grid)
        self._labels = labels
        self._image = activate(self.logits, activation)
        self._cell = activate(self.grid, activation).reshape(len(self.logits), -1).max(axis=1)
        self._order = np.argsort(-self.logits, kind="stable")
        winning = [int(k) for k in np.lexsort((-self.logits, -self.won)) if self.won[k]]
        self._winning = winning or [self.answer]

    @property
    def answer(self) -> int:
        """The class of the highest image-level logit."""
        return int(self._order[0])

    @property
    def winner(self) -> int:
        """The class that wins most cells."""
        return self._winning[0]

    def of(self, index: int) -> ClassScores:
        """The scores of one class."""
        cells = self.grid[index]
        row, col = np.unravel_index(int(cells.argmax()), cells.shape)
        return ClassScores(
            index=index,
            name=f"class {index}" if self._labels is None else self._labels[index],
            rank=int(np.flatnonzero(self._order == index)[0]) + 1,
            image=float(self._image[index]),
            logit=float(self.logits[index]),
            best_cell=(int(row), int(col)),
            best_logit=float(cells.max()),
            best=float(self._cell[index]),
            won=int(self.won[index]),
            share=float(self.won[index] / self.cells),
        )

    def named_winners(self, most: int) -> list[int]:
        """The classes that have a colour of their own in the map of winners, most cells first.

        The image-level answer is always among them, with however few cells; else those with at least 2 % of
        the cells (or two cells, in a small grid), `most` at the most. A class that alone would be "other" is
        named.
        """
        enough = max(_FEW * self.cells, 1.5)
        keep = [k for k in self._winning if self.won[k] >= enough][:most]
        rest = [k for k in self._winning if k not in keep]
        if len(rest) == 1 or not keep:
            keep += rest[: max(0, most - len(keep))]
        if self.answer not in keep:
            keep = [*keep[: most - 1], self.answer]
        return keep

    def shown(self, top: int) -> list[int]:
        """The `top` classes worth a panel: half by image-level logit, half by cells won, then logit again."""
        ranked = [int(k) for k in self._order]
        chosen = ranked[: (top + 1) // 2]
        for candidate in [*[k for k in self._winning if self.won[k] >= _FEW * self.cells], *ranked]:
            if len(chosen) < top and candidate not in chosen:
                chosen.append(candidate)
        return sorted(chosen, key=ranked.index)


def _finite(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Overflow (fp16) becomes the largest and smallest finite value, NaN the smallest: it never wins."""
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return np.nan_to_num(numbers, nan=low, posinf=high, neginf=low)
