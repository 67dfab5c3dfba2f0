"""Which positions hold the largest of some numbers, or the smallest: those that a maximum takes, ties alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.lifted import elem_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.lift.lifting import Lifting


def holds(walk: Lifting, value: str, best: str, dtype: np.dtype, *, largest: bool) -> str:
    """1 where a value is the best, else 0. Less, since Equal takes no floats before operator set 11."""
    worse = walk.build.node("Less", [value, best] if largest else [best, value])
    return walk.build.node("Sub", [walk.scalar(1.0, dtype), walk.build.node("Cast", [worse], to=elem_type(dtype))])


def within(walk: Lifting, values: str, seen: np.ndarray, dtype: np.dtype, *, largest: bool) -> str:
    """The values where they are seen, and elsewhere what is never the best.

    Args:
        walk: the walk.
        values: the tensor.
        seen: bool, which broadcasts to it.
        dtype: of it.
        largest: whether the best is the largest.
    """
    far = float(np.finfo(np.float32 if dtype.name == "bfloat16" else dtype).max) / (-2 if largest else 2)
    outside = walk.build.constant(np.where(seen, 0.0, far).astype(dtype))
    return walk.build.node("Add", [walk.build.node("Mul", [values, walk.build.constant(seen.astype(dtype))]), outside])


def shares_of_best(walk: Lifting, values: str, axes: Sequence[int], dtype: np.dtype, *, largest: bool) -> str:
    """What each position has of the best along some axes, in units of a mean's: 0 for all that do not hold it."""
    best = walk.build.reduce("ReduceMax" if largest else "ReduceMin", values, list(axes))
    mask = holds(walk, values, best, dtype, largest=largest)
    return walk.build.node("Div", [mask, walk.build.reduce("ReduceMean", mask, list(axes))])
