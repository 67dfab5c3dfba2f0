"""Do cells look at their own middle, or around it, where stripes are wider than cells.

A window with a dilation and no tap in its middle (two taps, three positions apart) has the centroid of a window that
looks there. Stripes as wide as a cell show the hole; wider ones, of which a grid of 24 or 56 cells has 16, do not. So
the lines of one cell in the middle are replaced, and what moves the cells is read by how far from it they lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.rewriting.proof.one_axis import mean_of_lines

if TYPE_CHECKING:
    from onnx_gapmil.rewriting.proof.one_axis import OneAxis
    from onnx_gapmil.rewriting.proof.stimulus import Responses

#: Below this share of what moves cells most, what differs by how far they are is no order.
_ORDER = 0.15
#: The share of one base image from which no others are asked.
_CLEAR = 0.8
#: Base images beside the first where that leaves a doubt.
_OTHERS = 3


def own_middle(along: OneAxis, answers: Responses) -> float:
    """How far a cell answers to its own lines, as a share of the farthest on that side of it where cells answer less.

    Args:
        along: an axis of the map.
        answers: to stripes of that axis.

    Returns:
        1 and more where the cell itself answers most, 0 where those on both sides of it do alone; 1 where stripes are
        as narrow as cells and have shown it.
    """
    pixels, step = along.pixels, along.claim.step
    if pixels / (len(answers.edges) - 1) <= step or step < 1:
        return 1.0
    at = np.floor(along.at(np.arange(pixels) + 0.5) + 0.5).astype(int)
    cells = np.unique(at[(at >= 0) & (at < along.cells)])
    if len(cells) == 0:
        return 1.0
    middle = int(cells[len(cells) // 2])
    # Of the border's cells each is moved by less of the image, and by what there is the more.
    usual = np.sqrt((answers.moved**2).mean(axis=(0, 2)))
    found = [_profile(along, at == middle, usual)]
    if _share(found[0], middle) < _CLEAR:
        found += [_profile(other, at == middle, usual) for other in along.others(_OTHERS)]
    return _share(np.mean(found, axis=0), middle)


def _profile(along: OneAxis, lines: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """What some lines of the image move of each line of cells, as a share of what all stripes do, (cells,)."""
    (own,) = mean_of_lines(along.replaced([lines]))
    return np.asarray(np.divide(own, usual, out=np.zeros_like(own), where=usual > 0))


def _share(profile: np.ndarray, middle: int) -> float:
    least, most = float(profile.min()), float(profile.max())
    side = min(profile[:middle].max(initial=least), profile[middle + 1 :].max(initial=least)) - least
    return float((profile[middle] - least) / side) if side > _ORDER * most else 1.0
