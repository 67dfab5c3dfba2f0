"""What lies between the cells: a part of each step that moves no cell at all, as where a map was subsampled.

A cell of a grid is drawn as wide as a step. Where every second position of a map was left out, what is drawn of a cell
is twice as wide as what it sees, and half of the image is no cell's. So lines at the same place of every step are
replaced at once, one such comb after the other.

Behind an attention or a gate over the map, what was left out still moves every cell, but all alike. So each comb is
run in two halves, those of its lines that lie among the first cells and those among the last, and counts as seen only
if the cells of each half answer more to their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.rewriting.proof.one_axis import mean_of_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.rewriting.proof.one_axis import OneAxis
    from onnx_gapmil.rewriting.proof.stimulus import Responses

#: Combs a step: with 4, one lies within every gap of half a step; where one moves nothing, twice as many measure it.
_COMBS = 4
#: How much more cells answer to their own half of a comb, as a share of how much more they do to their own half of all
#: stripes, at least: 0.5 and more of right maps, up to 0.2 of what an attention brings from where no cell looks.
_OWN = 0.35
#: The same of one base image, so that no others are asked.
_CLEAR = 0.7
#: Base images beside the first where that leaves a doubt.
_OTHERS = 3


def own(halves: np.ndarray, middle: int) -> float:
    """How much more the cells of each half answer to their own half of the image than to the other.

    Args:
        halves: what replacing something in the first half moves, and in the last, (2, cells, others).
        middle: the first cell of the last half; where it is the first of all, there is nothing to compare.

    Returns:
        1 where they answer to their own alone, 0 where to both alike.
    """
    if not 0 < middle < halves.shape[1]:
        return 1.0
    one, two = mean_of_lines(halves)
    total = one + two
    more = np.divide(two - one, total, out=np.zeros_like(total), where=total > 0)
    return float(more[middle:].mean() - more[:middle].mean()) / 2


def unseen(along: OneAxis, answers: Responses, nothing: float, *, costly: bool = False) -> float:
    """The share of each step that moves no cell.

    Args:
        along: an axis of the map.
        answers: to stripes of that axis.
        nothing: what moves no cell by more than this moves none.
        costly: run the comb that lies between the cells first, and the others only where it moves nothing.
    """
    step, cells = along.claim.step, along.cells
    if step < 2:
        return 0.0
    lines = np.arange(along.pixels) + 0.5
    at = along.at(lines)
    inside = (at > -0.5) & (at < cells - 0.5)
    # The image's own border may be seen by cells beyond it too, that repeat it.
    inner = inside & (lines > step) & (lines < len(lines) - step)
    inside = inner if cells > 3 else inside
    if not inside.any():
        return 0.0
    combs = _Combs(along, answers, nothing)
    between = inside & (np.abs(at - np.round(at)) >= 0.375 - 1e-6)
    if costly and between.any() and not combs.unseen([between]).any():
        return 0.0
    share = 0.0
    for count in (_COMBS, 2 * _COMBS):
        parts = min(count, int(step))
        part = np.floor((at + 0.5) % 1 * parts).astype(int)
        chosen = [inside & (part == number) for number in range(parts)]
        share = float(np.mean(combs.unseen([each for each in chosen if each.any()])))
        if not share or parts < count:
            break
    return share


def silent(along: OneAxis, answers: Responses, nothing: float) -> int:
    """How many stripes move no cell of those whose middle lies among the cells.

    Args:
        along: an axis of the map.
        answers: to stripes of that axis.
        nothing: what moves no cell by more than this moves none.
    """
    at = along.at((answers.edges[:-1] + answers.edges[1:]) / 2)
    among = (at > -0.25) & (at < along.cells - 0.75)
    return int((among & (answers.moved.max(axis=(1, 2)) <= nothing)).sum())


class _Combs:
    """Runs combs in halves.

    Args:
        along: an axis of the map.
        answers: to stripes of that axis.
        nothing: what moves no cell by more than this moves none.
    """

    def __init__(self, along: OneAxis, answers: Responses, nothing: float) -> None:
        self._along, self._answers, self._nothing = along, answers, nothing
        self._at = along.at(np.arange(along.pixels) + 0.5)

    def unseen(self, chosen: Sequence[np.ndarray]) -> np.ndarray:
        """Which combs move no cell, or all alike, bool; where one base image leaves a doubt, more are asked.

        Args:
            chosen: for each comb, which lines of the image, (pixels,) bool.
        """
        middles = [self._middle(lines) for lines in chosen]
        usual = np.array([self._usual(middle) for middle in middles])
        seen = [self._seen(self._along, chosen, middles)]
        if (seen[0][1] < _CLEAR * usual).any():
            seen += [self._seen(other, chosen, middles) for other in self._along.others(_OTHERS)]
        moved, own = np.mean(seen, axis=0)
        return np.asarray((moved <= self._nothing) | (own < _OWN * usual))

    def _middle(self, lines: np.ndarray) -> int:
        """The first cell of the last half of a comb; 0 where it has one tooth."""
        cells = np.unique(np.floor(self._at[lines] + 0.5))
        return int(cells[len(cells) // 2]) if len(cells) > 1 else 0

    def _usual(self, middle: int) -> float:
        """How much more cells answer to their own half of all stripes."""
        late = self._along.at((self._answers.edges[:-1] + self._answers.edges[1:]) / 2) >= middle - 0.5
        # Noise in one stripe has nothing to do with that in another, so that their squares add up.
        return own(np.sqrt([(self._answers.moved[half] ** 2).sum(axis=0) for half in (~late, late)]), middle)

    def _seen(self, along: OneAxis, chosen: Sequence[np.ndarray], middles: Sequence[int]) -> np.ndarray:
        """How far each comb moves the cell that it moves most, and how much more cells answer to their own half."""
        late = [self._at >= middle - 0.5 for middle in middles]
        halves = [lines & half for lines, part in zip(chosen, late, strict=True) for half in (~part, part)]
        found = along.replaced(halves)
        moved = found.reshape(len(chosen), 2, *found.shape[1:])
        return np.array([moved.max(axis=(1, 2, 3)), [own(*pair) for pair in zip(moved, middles, strict=True)]])
