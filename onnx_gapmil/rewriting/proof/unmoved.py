"""Cells that answer to nothing, or not to where they lie: a map that was padded where it had been cut, or masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.images.places import AxisPlaces


#: Least answer of a line of cells to where it lies, as a share of its largest, if another line holds the same: 0.32 and
#: more of maps that were upsampled.
OWN = 0.2


def still_lines(moved: Sequence[np.ndarray], axis: Literal[0, 1]) -> np.ndarray:
    """Which lines of cells no stripe of any base image moves by anything.

    Args:
        moved: of each base image what its stripes move, (S, H, W).
        axis: of the map.

    Returns:
        bool (cells along that axis,).
    """
    return np.asarray(_still(moved).all(axis=1 - axis))


def masked_cells(
    moved: Sequence[np.ndarray], inside: np.ndarray, axis: Literal[0, 1], held: np.ndarray | None = None
) -> int:
    """How many single cells no stripe of any base image moves, though others of their row and of their column move.

    They hold the same whatever the image shows: a mask put zeros there (``Trilu``, a product with zeros, a ``Where``)
    and something behind it keeps that from being seen as weights of the pool.

    Args:
        moved: of each base image what its stripes move, (S, H, W).
        inside: which lines along the axis are said to look into the image, bool (cells,).
        axis: of the map.
        held: which cells hold the same in many images, bool (H, W); None where that was not looked at.
    """
    still = _still(moved) if held is None else _still(moved) & held
    # Whole lines are padding, which may lie beyond the image, and are told by themselves.
    alone = still & ~still.all(axis=1, keepdims=True) & ~still.all(axis=0, keepdims=True)
    return int(np.compress(inside, alone, axis=axis).sum())


def repeated_lines(
    moved: Sequence[np.ndarray], axis: Literal[0, 1], edges: np.ndarray, inside: np.ndarray, places: AxisPlaces
) -> int:
    """How many lines of cells hold what another line does, and do not answer to where they lie.

    A border that repeats the last line of a map lies outside the image, unless the map had been cut there: then it lies
    at what was cut off. Of a map that was upsampled the lines that hold the same answer to where either lies.

    Args:
        moved: of each base image what stripes along the axis move, (S, H, W).
        axis: of the map.
        edges: of the stripes, in pixels, (S + 1,).
        inside: which lines along the axis are said to look into the image, bool (cells,).
        places: where they are said to look.
    """
    # (cells, images, stripes, cells of the other axis)
    answers = np.moveaxis(np.stack(moved), 2 + axis, 0)
    lines = np.sqrt(np.mean(answers**2, axis=-1)).mean(axis=1)
    centres = places.first + places.step * np.arange(len(lines))[:, None]
    near = (edges[1:] > centres - places.step / 2) & (edges[:-1] < centres + places.step / 2)
    most, own = lines.max(axis=1), np.where(near, lines, 0).max(axis=1)
    strangers = np.flatnonzero(inside & (own < OWN * most))
    return sum(
        any(np.array_equal(answers[line], answers[other]) for other in range(len(lines)) if other != line)
        for line in strangers
    )


def _still(moved: Sequence[np.ndarray]) -> np.ndarray:
    """Which cells no stripe of any base image moves by anything, bool (H, W)."""
    return np.asarray(np.all([~change.any(axis=0) for change in moved], axis=0))
