"""What lies between the cells: a part of each step that moves no cell at all, as where a map was subsampled.

A cell of a grid is drawn as wide as a step. Where every second position of a map was left out, what is drawn of a cell
is twice as wide as what it sees, and half of the image is no cell's. So lines at the same place of every step are
replaced at once, one such comb after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx_gapmil.images.places import AxisPlaces
    from onnx_gapmil.rewriting.proof.stimulus import Responses, Stimulus

#: Combs a step: with 4, one lies within every gap of half a step; where one moves nothing, twice as many measure it.
_COMBS = 4


def unseen(
    stimulus: Stimulus, axis: int, claim: AxisPlaces, cells: int, nothing: float, *, costly: bool = False
) -> float:
    """The share of each step that moves no cell.

    Args:
        stimulus: the image.
        axis: of the input.
        claim: where the cells are said to look.
        cells: how many there are.
        nothing: what moves no cell by more than this moves none.
        costly: run the comb that lies between the cells first, and the others only where it moves nothing.
    """
    if claim.step < 2:
        return 0.0
    lines = np.arange(stimulus.pixels(axis)) + 0.5
    at = (lines - claim.first) / claim.step
    inside = (at > -0.5) & (at < cells - 0.5)
    # The image's own border may be seen by cells beyond it too, that repeat it.
    inner = inside & (lines > claim.step) & (lines < len(lines) - claim.step)
    inside = inner if cells > 3 else inside
    between = inside & (np.abs(at - np.round(at)) >= 0.375 - 1e-6)
    if costly and not _silent(stimulus, axis, [between], nothing).any():
        return 0.0
    share = 0.0
    for count in (_COMBS, 2 * _COMBS):
        parts = min(count, int(claim.step))
        part = np.floor((at + 0.5) % 1 * parts).astype(int)
        chosen = [inside & (part == number) for number in range(parts)]
        share = float(np.mean(_silent(stimulus, axis, chosen, nothing)))
        if not share or parts < count:
            break
    return share


def silent(answers: Responses, claim: AxisPlaces, cells: int, nothing: float) -> int:
    """How many stripes move no cell of those whose middle lies among the cells.

    Args:
        answers: to stripes of one axis.
        claim: where its cells are said to look.
        cells: how many there are.
        nothing: what moves no cell by more than this moves none.
    """
    middles = (answers.edges[:-1] + answers.edges[1:]) / 2
    at = (middles - claim.first) / claim.step
    among = (at > -0.25) & (at < cells - 0.75)
    return int((among & (answers.moved.max(axis=(1, 2)) <= nothing)).sum())


def _silent(stimulus: Stimulus, axis: int, chosen: list[np.ndarray], nothing: float) -> np.ndarray:
    """Which choices of lines move no cell, bool; choices of no line are left out."""
    lines = [each for each in chosen if each.any()]
    return stimulus.replaced(axis, lines).max(axis=(1, 2)) <= nothing if lines else np.zeros(1, bool)
