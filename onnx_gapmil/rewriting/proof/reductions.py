"""Every emission against float64 NumPy on the whole grid: for the proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import LINEAR, parse_aggregator
from onnx_gapmil.rewriting.record import HeadRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.rewriting.emission.names import HeadOutputs

Array = npt.NDArray[np.float64]
#: How far below the others a class that is off is put: exp(-50) is nothing.
_FAR = 50.0


def reductions(head: HeadOutputs) -> dict[str, str]:
    """The outputs that are made of the grid or of the logits, by what they are; their tensors."""
    others = ("logits", "features", "grid", "placeless", "pooled")
    return {key: name for key, name in head.by_name().items() if key not in others}


def switched_off(grid: Array) -> npt.NDArray[np.bool_]:
    """Which classes of a grid (N, K, H, W) are off, (K,): their bias, so each of their cells, is -inf."""
    return np.asarray((grid == -np.inf).all(axis=(0, *range(2, grid.ndim))))


def differences(head: HeadOutputs, got: Mapping[str, np.ndarray], logits: Array, grid: Array) -> dict[str, float]:
    """Compare the reductions of one head.

    Args:
        head: which outputs there are.
        got: the reductions by what they are, as `reductions` names them.
        logits: (N, K); of a head that was repooled, the image's best classes are by the pooled ones among ``got``.
        grid: (N, K, H, W), of the same images; finite but for the classes that are off.

    Returns:
        By tensor name. For a place or a class that was chosen: how far its value is below the best one's. For values:
        the largest difference. Both relative to the largest value; infinity where shapes or numbers do not fit.
    """
    alone = isinstance(head, HeadRecord) and head.activation == "sigmoid"
    if head.pooled is not None:
        logits = np.asarray(got["pooled"], dtype=np.float64)
    off = switched_off(grid)
    if off.any():  # far below all others, where they win nothing; their own scores are not compared
        low = grid[:, ~off].min(initial=0.0) - _FAR
        grid, logits = (np.where(values == -np.inf, low, values) for values in (grid, logits))
        got = {
            key: np.where(found == -np.inf, low, found) if found.dtype.kind == "f" else found
            for key, found in got.items()
        }
    checks: dict[str, Any] = {
        "argmax": lambda found: _shortfall(np.moveaxis(grid, 1, -1), found),
        "certainty": lambda found: _gap(found, certainty(grid, alone=alone), _unit(grid)),
        "peaks": lambda found: _shortfall(grid.reshape(*grid.shape[:2], -1), found),
        "topk_classes": lambda found: _best_classes(logits, found),
        "topk_grid": lambda found: _rows(grid, found, got["topk_classes"]),
        "classes_grid": lambda found: _rows(grid, found, np.asarray([head.classes.indices] if head.classes else [])),
    }
    result = {}
    for key, name in reductions(head).items():
        found = np.asarray(got[key])
        check = checks.get(key) or (
            lambda found, key=key: _scores(grid, found, key.removeprefix("scores."), off, alone)
        )
        result[name] = float(check(found if found.dtype.kind in "iu" else found.astype(np.float64)))
    return result


def certainty(grid: Array, *, alone: bool = False) -> Array:
    """Softmax share of the best class in each cell, (N, H, W); the sigmoid where each class is read by itself."""
    if alone or grid.shape[1] == 1:
        return np.asarray(np.exp(-np.logaddexp(0.0, -grid.max(axis=1))))
    return np.asarray(1 / np.exp(grid - grid.max(axis=1, keepdims=True)).sum(axis=1))


def _unit(grid: Array) -> float:
    """What a difference of an exponential is relative to: logits are compared with 1."""
    return max(1.0, float(np.abs(grid).max()))


def _gap(found: np.ndarray, expected: Array, scale: float) -> float:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    gap = float(np.abs(found - expected).max(initial=0.0))
    return gap / scale if scale > 0 else gap


def _shortfall(values: Array, chosen: np.ndarray) -> float:
    """How far the chosen element of the last axis is below the largest."""
    if chosen.shape != values.shape[:-1] or chosen.min() < 0 or chosen.max() >= values.shape[-1]:
        return float("inf")
    taken = np.take_along_axis(values, chosen[..., None].astype(np.int64), axis=-1)[..., 0]
    return _gap(taken, values.max(axis=-1), float(np.abs(values).max()))


def _best_classes(logits: Array, chosen: np.ndarray) -> float:
    """How far the logits of the chosen classes are from the largest ones, in order; each class once."""
    count = chosen.shape[-1] if chosen.ndim == 2 else 0
    fits = len(chosen) == len(logits) and 0 < count <= logits.shape[1]
    if not fits or chosen.min() < 0 or chosen.max() >= logits.shape[1]:
        return float("inf")
    if any(len(set(row)) != count for row in chosen.tolist()):
        return float("inf")
    taken = np.take_along_axis(logits, chosen.astype(np.int64), axis=1)
    return _gap(taken, -np.sort(-logits, axis=1)[:, :count], float(np.abs(logits).max()))


def _rows(grid: Array, found: np.ndarray, classes: np.ndarray) -> float:
    """Some classes' grids against the same rows of the whole one."""
    indices = np.broadcast_to(classes.astype(np.int64), (len(grid), classes.shape[-1]))
    if indices.min() < 0 or indices.max() >= grid.shape[1]:
        return float("inf")
    expected = np.take_along_axis(grid, indices.reshape(*indices.shape, *[1] * (grid.ndim - 2)), axis=1)
    return _gap(found, expected, float(np.abs(grid).max()))


def _scores(grid: Array, found: np.ndarray, key: str, off: npt.NDArray[np.bool_], alone: bool) -> float:
    aggregator = parse_aggregator(key)
    cells = grid.reshape(*grid.shape[:2], 1, -1)
    expected = aggregator(cells[:, :, None])[..., 0] if alone else aggregator(cells)
    if found.shape == expected.shape:
        found = np.where(off, expected, found)
    scale = max(float(np.abs(grid).max()), float(np.abs(expected).max()))
    if aggregator.name not in LINEAR:
        blunt = min(aggregator.parameter or 1.0, 1.0)  # the logarithm is divided by r, its rounding too
        scale = max(scale, 1.0) / blunt
    return _gap(found, expected, scale)
