"""What a picture says in numbers: image-level and cell-level scores of the classes worth showing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.activation import Activation, activate
from onnx_gapmil.aggregate.cells import SURE, winning_classes
from onnx_gapmil.aggregate.two_classes import with_two_classes

_FEW = 0.02
"""Winners of less than this share of the cells are summed up as other classes."""
WORTH_A_PANEL = 0.05
"""Of the image's probability, or of the cells: what a class needs to be drawn, if it is not the image's best."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class in one photo.

    Attributes:
        index: of the class.
        name: of the class.
        rank: 1 for the best of the image.
        image: its image-level score: a probability, or the logit where the head gives none.
        logit: its image-level logit.
        best_cell: (row, column), from 0, of its best cell.
        best_logit: that cell's logit.
        best: that cell's score.
        won: number of cells that it wins.
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
        grid: (K, h, w) logits of the cells. Of one logit two classes are made: 0, and that logit.
        logits: (K,) logits of the image.
        names: of the classes.
        activation: what the head makes of its logits: ``softmax`` or ``sigmoid`` make probabilities.
        levels: (K,), the logits above which classes are present, of a head whose classes are each read by itself; 0 if
            None. A cell is won by the class that is furthest above its level, and by nobody where none is.
        one_logit: whether these are the two classes of one logit.

    Attributes:
        multi_label: whether classes are read each by itself: a sigmoid for each of several logits, or `levels`.
        one_logit: whether there is one logit.
        activation: of the classes; one sigmoid is the softmax of its two classes.
        winners: (h, w), the class that wins each cell; -1 for nobody.
        strength: (h, w) in 0..1, how surely: the winner's probability; without probabilities the root of its lead over
            the next class's logit, as a share of the largest lead in the photo.
        sure: (h, w), whether the winner outweighs all other classes together; where classes are read each by itself,
            whether there is one.
        largest_lead: the lead that a strength of 1 stands for; None where strength is a probability.

    Raises:
        ValueError: the shapes do not fit together, or the grid is empty.
    """

    def __init__(
        self,
        grid: npt.NDArray[np.floating],
        logits: npt.NDArray[np.floating],
        names: Sequence[str],
        activation: Activation,
        levels: npt.NDArray[np.floating] | None = None,
        *,
        one_logit: bool = False,
    ) -> None:
        if grid.ndim != 3 or grid.size == 0 or logits.shape != grid.shape[:1]:
            raise ValueError(f"a grid (K, h, w) and logits (K,) are needed, not {grid.shape} and {logits.shape}")
        self.one_logit = one_logit or len(logits) == 1
        self.grid, self.logits = with_two_classes(_finite(grid)), with_two_classes(_finite(logits))
        if len(names) != len(self.logits):
            raise ValueError(f"{len(names)} names for {len(self.logits)} classes")
        self._names = names
        self.multi_label = not self.one_logit and (activation == "sigmoid" or levels is not None)
        self.activation: Activation = "softmax" if self.one_logit and activation == "sigmoid" else activation
        if self.multi_label:
            self.activation = "sigmoid"
        self._levels = np.zeros(len(self.logits)) if levels is None else np.asarray(levels, dtype=np.float64)
        self.cells = grid.shape[1] * grid.shape[2]
        self._image = activate(self.logits, self.activation)
        self._order = np.argsort(self._levels - self.logits, kind="stable")
        self._find_winners()
        self.won = np.bincount(self.winners[self.winners >= 0], minlength=len(self.logits))
        self.nobody = int(np.count_nonzero(self.winners < 0))
        self._winning = [int(k) for k in np.argsort(-self.won, kind="stable") if self.won[k]]

    @property
    def answer(self) -> int:
        """The image's best class; where classes are read each by itself, present or not."""
        return int(self._order[0])

    @property
    def present(self) -> list[int]:
        """Classes above their levels at image level, the best first."""
        return [int(k) for k in self._order if self.logits[k] > self._levels[k]]

    @property
    def winner(self) -> int | None:
        """The class that wins most cells, of equal ones the first by number; None if none wins any."""
        return self._winning[0] if self._winning else None

    @property
    def tied(self) -> list[int]:
        """The classes that win most cells: several where they win equally many."""
        return [k for k in self._winning if self.won[k] == self.won[self._winning[0]]]

    @property
    def probabilities(self) -> bool:
        """Whether the head makes probabilities of its logits."""
        return self.activation != "none"

    @property
    def level(self) -> float | None:
        """The one probability above which classes are present; None where there is none, or several."""
        found = np.unique(self._levels)
        return float(activate(found, "sigmoid")[0]) if self.multi_label and len(found) == 1 else None

    def above(self, index: int) -> npt.NDArray[np.bool_]:
        """(h, w), where a class is above its level."""
        return np.asarray(self.grid[index] > self._levels[index])

    def of(self, index: int) -> ClassScores:
        """The scores of one class."""
        cells = self.grid[index]
        # The class without has the logit 0 everywhere: its best cell is where the class with is lowest.
        ranked = -self.grid[1] if self.one_logit and index == 0 else cells
        row, col = (int(place) for place in np.unravel_index(int(ranked.argmax()), cells.shape))
        return ClassScores(
            index=index,
            name=self._names[index],
            rank=int(np.flatnonzero(self._order == index)[0]) + 1,
            image=float(self._image[index]),
            logit=float(self.logits[index]),
            best_cell=(row, col),
            best_logit=float(cells[row, col]),
            best=float(activate(self.grid[:, row, col], self.activation)[index]),
            won=int(self.won[index]),
            share=float(self.won[index] / self.cells),
        )

    def named_winners(self, most: int) -> list[int]:
        """The classes that have a colour of their own in the map of winners, most cells first.

        The image's best is always among them, with however few cells; else those with at least 2 % of the cells (or
        two cells, in a small grid), `most` at the most. A class that alone would be "other" is named.
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
        """The classes worth a panel, `top` at the most, in the order of the image's ranking.

        They are the image's best, then those with at least 5 % of the image's probability or that are present, and
        those that win at least 5 % of the cells, by turns. Of two classes both; of one logit the one that it is for.
        """
        if self.one_logit:
            return [1]
        ranked = [int(k) for k in self._order]
        if len(ranked) == 2:
            return ranked[:top]
        by_cells = [k for k in self._winning if self.won[k] >= WORTH_A_PANEL * self.cells]
        by_image = self.present if self.multi_label else []
        if self.activation == "softmax":
            by_image = [k for k in ranked[:top] if self._image[k] >= WORTH_A_PANEL]
        chosen = [self.answer]
        for place in range(max(len(by_cells), len(by_image))):
            for candidate in (*by_image[place : place + 1], *by_cells[place : place + 1]):
                if candidate not in chosen and len(chosen) < top:
                    chosen.append(candidate)
        return sorted(chosen, key=ranked.index)

    def listed(self, shown: Sequence[int], least: int) -> list[int]:
        """Classes for the table: those shown and the image's best, `least` in all or more, by the image's ranking."""
        ranked = [int(k) for k in self._order]
        chosen = set(shown)
        for candidate in ranked:
            if len(chosen) >= least:
                break
            chosen.add(candidate)
        return sorted(chosen, key=ranked.index)

    def _find_winners(self) -> None:
        margins = self.grid - self._levels[:, None, None] if self._levels.any() else self.grid
        self.winners = winning_classes(margins)
        self.largest_lead: float | None = None
        best = margins.max(axis=0)
        if self.multi_label:
            self.winners = np.where(best > 0, self.winners, -1)
            self.sure = self.winners >= 0
            chosen = np.take_along_axis(self.grid, np.maximum(self.winners, 0)[None], axis=0)[0]
            self.strength = activate(chosen, "sigmoid")
            return
        share = 1 / np.exp(margins - best).sum(axis=0)
        self.sure = (share >= SURE) & (self.winners >= 0)
        self.strength = share
        if not self.probabilities:
            lead = best - np.partition(margins, -2, axis=0)[-2]
            self.largest_lead = float(lead.max())
            self.strength = np.sqrt(_of_largest(lead))  # small leads are the rule: they are to be seen too


def _of_largest(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(values, 0.0, None) / max(float(values.max()), 1e-12)


def _finite(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Overflow (fp16) becomes the largest and smallest finite value, NaN the smallest: it never wins."""
    numbers = values.astype(np.float64)
    if np.isfinite(numbers).all():
        return numbers
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return np.nan_to_num(numbers, nan=low, posinf=high, neginf=low)
