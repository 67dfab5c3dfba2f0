r"""The log-odds of each class of a softmax, ``o_k = z_k - \log \sum_{j \ne k} e^{z_j}``: its share is their sigmoid.

With the shares q_j of the others kept at their pooled values, the lift is
``lift(z_k) - (log sum_j e^{z_j} + sum_j q_j (lift(z_j) - z_j))``, whose mean is o_k. Of two classes there is one other,
and that is affine.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.cellwise import as_grid, pooled_value

if TYPE_CHECKING:
    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

#: In place of minus infinity, in each type: e to it is 0.
_GONE = {2: -6e4, 4: -1e30, 8: -1e300}


def log_odds(walk: Lifting, flat: str, lifted: Lifted, index: np.ndarray, axes: tuple[int, ...]) -> tuple[str, Lifted]:
    """Each class against the others of its softmax.

    Args:
        walk: the walk.
        flat: the logits z, (N, C).
        lifted: their lift.
        index: the numbers ``n * C + c`` of the logits, in the shape that the softmax has them in.
        axes: the axes of that shape that the classes of one softmax lie along.

    Returns:
        The log-odds (N, C), and their lift.
    """
    build, dtype = walk.build, lifted.dtype
    last = np.moveaxis(index, axes, range(index.ndim - len(axes), index.ndim))
    count = math.prod(index.shape[axis] for axis in axes)
    # The classes of one softmax one behind the other.
    groups = last.reshape(-1, count)
    groups = groups[(groups < lifted.channels).all(axis=1)]
    order = groups.ravel()
    back = np.argsort(order)
    sorted_already = np.array_equal(order, np.arange(len(order)))
    shape = [0, len(groups), count]

    def apart(tensor: str, tail: list[int]) -> str:
        chosen = tensor if sorted_already else build.node("Gather", [tensor, build.ints(order.tolist())], axis=1)
        return build.reshape(chosen, [*shape, *tail])

    def together(tensor: str, target: list[int]) -> str:
        joined = build.reshape(tensor, target) if target else as_grid(walk, lifted, tensor, lifted.channels)
        return joined if sorted_already else build.node("Gather", [joined, build.ints(back.tolist())], axis=1)

    own = np.where(np.eye(count, dtype=bool), _GONE[dtype.itemsize], 0.0).astype(dtype)

    def others(values: str) -> tuple[str, str]:
        """Log-sum-exp of the others (N, G, m, 1), and their shares in it (N, G, m, m), of values (N, G, 1, m)."""
        masked = build.node("Add", [values, build.constant(own)])
        top = build.reduce("ReduceMax", masked, [3])
        grown = build.node("Exp", [build.node("Sub", [masked, top])])
        total = build.reduce("ReduceSum", grown, [3])
        return build.node("Add", [build.node("Log", [total]), top]), build.node("Div", [grown, total])

    size, _ = others(build.reshape(apart(flat, []), [0, len(groups), 1, count]))
    odds = build.node("Sub", [apart(flat, [1]), size])
    scores = together(odds, [0, lifted.channels])
    cells, value = apart(lifted.name, [-1]), apart(pooled_value(walk, lifted), [1])
    size, share = others(build.reshape(value, [0, len(groups), 1, count]))
    moved = build.node("MatMul", [share, build.node("Sub", [cells, value])])
    grid = together(build.node("Sub", [cells, build.node("Add", [moved, size])]), [])
    bent = count > 2
    step = replace(lifted.step, conditional=bent)
    made = replace(lifted, name=grid, conditional=lifted.conditional or bent, step=step)
    return scores, made
