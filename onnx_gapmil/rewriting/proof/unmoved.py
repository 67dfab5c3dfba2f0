"""Cells that answer to nothing at all: a map that was padded where it had been cut, or masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def _still(moved: Sequence[np.ndarray]) -> np.ndarray:
    """Which cells no stripe of any base image moves by anything, bool (H, W)."""
    return np.asarray(np.all([~change.any(axis=0) for change in moved], axis=0))
