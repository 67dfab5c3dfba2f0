r"""A function of each pooled number, with its slope frozen at the pooled value.

For ``h = phi(z)`` with pooled ``z``::

    lift(h) = phi(a) + (lift(z) - a) * (phi(z) - phi(a)) / (z - a)

The mean over cells of the right side is ``phi(z)``, whatever the anchor ``a``; it is 0, or 1 where phi is not finite
at 0 (logarithm, reciprocal). Where ``z`` is ``a``, the slope is ``phi'(a)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.lifted import elem_type

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

    Function = Callable[[np.ndarray], np.ndarray]


def freeze(node: gs.Node, walk: Lifting, lifted: Lifted, data: str, result: str, function: Function) -> str:
    """Nodes for ``phi(a) + (lift(z) - a) * slope``.

    Args:
        node: the activation, for refusals.
        walk: the walk.
        lifted: lift of z.
        data: z, pooled.
        result: phi(z), pooled.
        function: phi.

    Returns:
        The tensor on the grid.
    """
    dtype = lifted.dtype
    anchor, at_anchor, slope_there = _anchor(node, walk, lifted, dtype, function)
    near_width = _nearness(dtype, at_anchor)
    build = walk.build

    def number(value: float) -> str:
        return walk.scalar(value, dtype)

    def vector(values: np.ndarray) -> str:
        same = bool((values == values.flat[0]).all())
        return number(float(values.flat[0])) if same else build.constant(values.astype(dtype))

    away = data if anchor == 0 else build.node("Sub", [data, number(anchor)])
    # At the anchor the quotient is 0 / 0: a mask of 0 and 1 puts the derivative in its place. Less, since Equal takes
    # no floats before operator set 11.
    near = build.node("Less", [build.node("Abs", [away]), number(near_width)])
    mask = build.node("Cast", [near], to=elem_type(dtype))
    rest = build.node("Sub", [number(1.0), mask])
    rise = result if not at_anchor.any() else build.node("Sub", [result, vector(at_anchor)])
    safe = build.node("Add", [build.node("Mul", [away, rest]), mask])
    steep = build.node("Mul", [build.node("Div", [rise, safe]), rest])
    slope = build.node("Add", [steep, build.node("Mul", [mask, vector(slope_there)])])
    batch = -1 if lifted.batch_axis is None else lifted.batch_axis
    cells = _pooled_to_cells(walk, slope, lifted.shape, batch)
    if not at_anchor.any():
        moved = lifted.name if anchor == 0 else build.node("Sub", [lifted.name, number(anchor)])
        return build.node("Mul", [moved, cells])
    # phi(z) - slope * (z - a) is phi(a) where the slope is the quotient. Where it is the derivative, beside a kink of a
    # Clip at 1e-7 say, it is what keeps the mean.
    base = build.node("Sub", [result, build.node("Mul", [slope, away])])
    moved = lifted.name if anchor == 0 else build.node("Sub", [lifted.name, number(anchor)])
    return build.node("Add", [build.node("Mul", [moved, cells]), _pooled_to_cells(walk, base, lifted.shape, batch)])


def _pooled_to_cells(walk: Lifting, tensor: str, shape: tuple[int, ...], batch_axis: int) -> str:
    """A new tensor of a pooled tensor's shape as (N, C, 1, 1)."""
    count = int(np.prod([dim for axis, dim in enumerate(shape) if axis != batch_axis], dtype=np.int64))
    if batch_axis > 0:
        order = [batch_axis, *(axis for axis in range(len(shape)) if axis != batch_axis)]
        tensor = walk.build.node("Transpose", [tensor], perm=order)
    return walk.build.reshape(tensor, [-1, count, 1, 1])


def _anchor(
    node: gs.Node, walk: Lifting, lifted: Lifted, dtype: np.dtype, function: Function
) -> tuple[float, np.ndarray, np.ndarray]:
    """The anchor a (0, or 1), phi(a) and phi'(a); each of the pooled tensor's shape with a batch of 1.

    The derivative is a central difference: it only matters where z is a, where a kink (Relu at 0) has no slope of
    its own and every choice keeps the mean.
    """
    shape = tuple(1 if axis == lifted.batch_axis else dim for axis, dim in enumerate(lifted.shape))
    step = {2: 1e-2, 4: 1e-3, 8: 1e-5}[dtype.itemsize]
    # Log and Reciprocal are not finite at 0.
    for anchor in (0.0, 1.0):
        try:
            there, above, below = (
                np.asarray(function(np.full(lifted.shape, value, dtype=dtype)), dtype=np.float64)
                for value in (anchor, anchor + step, anchor - step)
            )
        except ModelError as error:
            raise walk.refuse("unknown-operator", node, f"it cannot be evaluated alone: {error}") from error
        if lifted.batch_axis is not None:
            there, above, below = (np.take(array, [0], axis=lifted.batch_axis) for array in (there, above, below))
        if np.isfinite(there).all():
            slope = (above - below) / (2 * step)
            return anchor, there.reshape(shape), np.where(np.isfinite(slope), slope, 0.0).reshape(shape)
    raise walk.refuse("unknown-operator", node, "it is finite neither at 0 nor at 1, so its slope has no anchor")


def _nearness(dtype: np.dtype, at_anchor: np.ndarray) -> float:
    """How near z must be to the anchor for the derivative to be used instead of the quotient.

    Where phi(a) is 0 the quotient has no cancellation and is right down to the smallest numbers. Elsewhere it loses
    digits, and the derivative's error is quadratic in the distance: below half the root of the type's precision it
    is smaller than rounding.
    """
    info = np.finfo(np.float32 if dtype.name == "bfloat16" else dtype)
    return float(info.tiny) if not at_anchor.any() else float(np.sqrt(info.eps)) / 2
