"""A photo and its prediction grid made small enough to lie in a page, and what that costs in digits."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.reading import Reading

#: A level for each cell between the lowest and the highest of its class; the last one is for what is not finite.
_HIGHEST, _NOT_FINITE = 65534, 65535
#: A cell shows so many classes, which the page must hold to tell the truth.
_OF_A_CELL = 5
#: Characters of Base64 that a photo and a grid may take, so that both together stay below 300 kB.
PHOTO_BUDGET, GRID_BUDGET = 92_000, 180_000
#: Longer side of a photo in pixels, and JPEG qualities, in the order in which they are tried.
_TRIALS = ((960, 88), (960, 80), (800, 80), (800, 70), (640, 70), (640, 50), (480, 40), (320, 30))
#: So small a photo is kept pixel for pixel.
_TINY = 128


@dataclass(frozen=True)
class ShortGrid:
    """A prediction grid in 16 bits a cell, linear between the lowest and the highest cell of each class.

    Half precision takes as much room and is off by 0.03 where a logit is 66; this by a millionth of the class's range
    times 8, and a class that is switched off by a bias of -1e9 takes no digits from the others.

    Attributes:
        classes: whose maps these are, in rising order; None for all K.
        best_kept: whether the five best classes of every cell are among them.
        levels: of each class's cells, (classes, rows, columns), little-endian uint16, in Base64; 65535 is no number.
        low: of each class the logit of level 0, (classes,), little-endian float32, in Base64.
        step: of each class from one level to the next, likewise.
        error: by how much the worst of the finite logits is off.
        logits: of the image, all K, little-endian float32, in Base64.
        lse: of each cell, the log-sum-exp of all K logits, little-endian float32, in Base64.
        winners: of each cell the class that wins it, -1 for nobody, little-endian int32, in Base64.
    """

    classes: tuple[int, ...] | None
    best_kept: bool
    levels: str
    low: str
    step: str
    error: float
    logits: str
    lse: str
    winners: str


def short_grid(
    grid: npt.NDArray[np.floating],
    logits: npt.NDArray[np.floating],
    reading: Reading,
    *,
    most: int | None = None,
    chosen: Sequence[int] = (),
    budget: int | None = GRID_BUDGET,
) -> ShortGrid:
    """A head's grid as a page keeps it.

    Args:
        grid: (K, rows, columns), logits of the classes.
        logits: (K,), of the image.
        reading: how they are read.
        most: how many classes to keep, the image's best; None for all, or as many as fit into the budget, every class
            that is among the best of a cell or of the image among them, even where these are more.
        chosen: classes to keep in any case.
        budget: characters of Base64 for the grid; None for no limit.
    """
    cells = np.asarray(grid, dtype=np.float64)
    kept = kept_classes(cells, np.asarray(logits, dtype=np.float64), reading, most=most, chosen=chosen, budget=budget)
    values = cells if kept is None else cells[list(kept)]
    levels, low, step = _levels(values.reshape(len(values), -1))
    with np.errstate(invalid="ignore"):
        off = np.abs(
            low[:, None].astype(np.float64) + step[:, None].astype(np.float64) * levels - values.reshape(levels.shape)
        )
        off[levels == _NOT_FINITE] = np.nan
    return ShortGrid(
        classes=kept,
        best_kept=kept is None or set(best_of_cells(cells, reading)) <= set(kept),
        levels=text_of(levels),
        low=text_of(low),
        step=text_of(step),
        error=float(off[np.isfinite(off)].max(initial=0.0)),
        logits=text_of(np.asarray(logits).astype("<f4")),
        lse=text_of(_log_sum_exp(cells).astype("<f4")),
        winners=text_of(reading.winners(np.asarray(grid)).astype("<i4")),
    )


def kept_classes(
    cells: npt.NDArray[np.float64],
    logits: npt.NDArray[np.float64],
    reading: Reading,
    *,
    most: int | None,
    chosen: Sequence[int] = (),
    budget: int | None = None,
) -> tuple[int, ...] | None:
    """The classes whose maps are kept, in rising order; None for all. See `short_grid`."""
    count, size = len(cells), cells[0].size
    ranked = np.argsort(-reading.above(logits), kind="stable").tolist()
    if most is not None:
        return None if most >= count else tuple(sorted({*ranked[:most], *chosen}))
    room = count if budget is None else budget * 3 // 4 // (2 * size)
    if room >= count:
        return None
    needed = list(dict.fromkeys([*chosen, *ranked[:_OF_A_CELL], *best_of_cells(cells, reading)]))
    others = [index for index in ranked if index not in set(needed)]
    return tuple(sorted([*needed, *others[: max(0, room - len(needed))]]))


def best_of_cells(cells: npt.NDArray[np.float64], reading: Reading) -> list[int]:
    """The classes that are among the best of any cell, of more classes than a cell shows; all of fewer.

    Args:
        cells: (K, rows, columns), logits.
        reading: how they are read.
    """
    if len(cells) <= _OF_A_CELL:
        return list(range(len(cells)))
    margins = reading.above(cells).reshape(len(cells), -1)
    best = np.argpartition(-margins, _OF_A_CELL - 1, axis=0)[:_OF_A_CELL]
    found: list[int] = np.unique(best).tolist()
    return found


def photo_address(
    pixels: npt.NDArray[np.uint8], budget: int | None = PHOTO_BUDGET, side: int = _TRIALS[0][0]
) -> tuple[str, tuple[int, int]]:
    """A photo as a ``data:`` address, and its (width, height) in pixels.

    Args:
        pixels: (H, W, 3) RGB.
        budget: characters that it may take; None for no limit.
        side: the longer side at the most, in pixels.
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= _TINY:
        return _address(pixels, "png", []), (width, height)
    trials = [(min(side, longest), quality) for longest, quality in _TRIALS] if budget is not None else [(side, 90)]
    text, size = "", (width, height)
    for longest, quality in trials:
        scale = min(1.0, longest / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = pixels if scale == 1.0 else _shrunk(pixels, size, exact=budget is not None)
        text = _address(small, "jpeg", [cv2.IMWRITE_JPEG_QUALITY, quality])
        if budget is None or len(text) <= budget:
            break
    return text, size


def _shrunk(pixels: npt.NDArray[np.uint8], size: tuple[int, int], *, exact: bool) -> npt.NDArray[np.uint8]:
    """Made smaller, to (width, height): by area, or, in less than half of the time, bilinear and by a whole factor."""
    if exact:
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = pixels.shape[:2]
    factor = max(1, min(height // size[1], width // size[0]))
    whole = (size[0] * factor, size[1] * factor)
    near = pixels if factor == 1 else cv2.resize(pixels, whole, interpolation=cv2.INTER_LINEAR)
    kind = cv2.INTER_LINEAR if factor == 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(near, size, interpolation=kind), np.uint8)


def _address(pixels: npt.NDArray[np.uint8], kind: str, settings: Sequence[int]) -> str:
    _, encoded = cv2.imencode(f".{kind}", np.ascontiguousarray(pixels[:, :, ::-1]), list(settings))
    return f"data:image/{kind};base64," + base64.b64encode(encoded.tobytes()).decode()


def _levels(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Levels (classes, cells), and of each class the logit of level 0 and the step; see `ShortGrid`.

    Of a class whose cells are all the same infinity, that is the logit of level 0, and the step is 0.
    """
    finite = np.isfinite(values)
    lowest = np.where(finite, values, np.inf).min(axis=1)
    highest = np.where(finite, values, -np.inf).max(axis=1)
    some = finite.any(axis=1)
    low = np.where(some, lowest, values[:, 0]).astype("<f4")
    with np.errstate(invalid="ignore"):
        span = np.where(some, highest - lowest, 0.0)
    step = (span / _HIGHEST).astype("<f4")
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = np.where(step[:, None] > 0, (values - low[:, None].astype(np.float64)) / step[:, None], 0.0)
    levels = np.where(finite, np.clip(np.rint(np.nan_to_num(raw)), 0, _HIGHEST), _NOT_FINITE)
    alike = ~some & (values == values[:, :1]).all(axis=1)
    levels[alike] = 0
    return levels.astype("<u2"), low, step


def _log_sum_exp(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(rows, columns); NaN where a cell is not finite."""
    top = cells.max(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(top + np.log(np.exp(cells - top).sum(axis=0)))


def text_of(array: npt.NDArray[np.generic]) -> str:
    """An array's bytes in Base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
