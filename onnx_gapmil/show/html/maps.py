"""A prediction grid made small enough to lie in a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.show.drawing.palette import diverging, sequential

_LEVELS = {8: 255, 16: 65535}


@dataclass(frozen=True)
class EncodedMaps:
    """Some classes' maps of one image: what a page makes cells, maps and percentages of.

    Attributes:
        grid: (rows, columns); None where these are not known, so that no cell is shown.
        classes: whose maps these are.
        maps: their logits as unsigned little-endian integers, (classes, rows, columns), in Base64; 0 is ``low``, the
            highest integer ``high``.
        depth: bits of each integer.
        low: the lowest logit.
        high: the highest.
        lse: of each cell, the log-sum-exp of all classes, little-endian float32, in Base64.
    """

    grid: tuple[int, int] | None
    classes: tuple[int, ...]
    maps: str
    depth: int
    low: float
    high: float
    lse: str


def encode_maps(
    grid: npt.NDArray[Any], classes: Sequence[int], *, depth: int = 16, signed: bool = False
) -> EncodedMaps:
    """Some classes' maps of one image, and what turns any of their logits into a probability.

    The page computes the share that class k has of cell p as exp(G[k, p] - lse[p]), a softmax over *all* classes,
    though it holds a few of them only.

    Args:
        grid: (K, rows, columns), logits. For a model with one logit the log-sum-exp is taken over that logit and 0, so
            that the share is its sigmoid.
        classes: those to keep, in the order in which the page is to list them.
        depth: 8 or 16 bits for each logit. With 8, a step over a range of 30 is 0.12, which is up to 6 % of a
            probability; with 16, 0.02 %.
        signed: let ``low`` be minus ``high``, so that the middle of the scale is 0: for differences.

    Raises:
        ValueError: `depth` is neither 8 nor 16, or the grid has not three axes.
    """
    if depth not in _LEVELS:
        raise ValueError(f"depth is {depth}; 8 and 16 bits are possible.")
    if grid.ndim != 3:
        raise ValueError(f"A grid of shape {grid.shape} has not the three axes (K, rows, columns).")
    cells = np.asarray(grid, dtype=np.float64)
    kept = cells[list(classes)]
    low, high = (float(kept.min()), float(kept.max())) if kept.size else (0.0, 1.0)
    if signed:
        high = float(np.abs(kept).max(initial=0.0)) or 1.0
        low = -high
    span = (high - low) or 1.0
    levels = np.rint((kept - low) / span * _LEVELS[depth]).astype(np.dtype(f"<u{depth // 8}"))
    every = np.concatenate([cells, np.zeros_like(cells)]) if len(cells) == 1 else cells
    top = every.max(axis=0)
    lse = top + np.log(np.exp(every - top).sum(axis=0))
    return EncodedMaps(
        grid=(int(cells.shape[1]), int(cells.shape[2])),
        classes=tuple(int(index) for index in classes),
        maps=base64.b64encode(levels.tobytes()).decode(),
        depth=depth,
        low=low,
        high=low + span,
        lse=base64.b64encode(lse.astype("<f4").tobytes()).decode(),
    )


def difference_scale() -> str:
    """As `colour_scale`, of differences: blue below 0, near white at 0, orange above; told apart by all eyes."""
    return diverging(np.linspace(-1.0, 1.0, 256)).tobytes().hex()


def colour_scale() -> str:
    """What a map's levels look like, as in the pictures: 256 colours of six hexadecimal digits, the lowest first."""
    return sequential(np.linspace(0.0, 1.0, 256)).tobytes().hex()
