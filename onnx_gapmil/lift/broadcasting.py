"""Pooled tensors that broadcast: each channel of the lift where its element is repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


def aligned_batch(lifted: Lifted, out: tuple[int, ...]) -> int | None:
    """The batch axis of an elementwise result: NumPy aligns shapes from the right."""
    return None if lifted.batch_axis is None else lifted.batch_axis + len(out) - len(lifted.shape)


def widened(node: gs.Node, walk: Lifting, lifted: Lifted, out: tuple[int, ...]) -> Lifted:
    """The lift of a pooled tensor that broadcasts to a shape; itself where that repeats nothing, or its only channel.

    Args:
        node: the operator that broadcasts it.
        walk: the walk.
        lifted: the lift.
        out: the shape, by NumPy's rules.

    Raises:
        HeadRefused: the batch would be repeated.
    """
    axis = aligned_batch(lifted, out)
    if axis is not None and (axis < 0 or out[axis] != lifted.batch):
        raise walk.refuse("spatial-mixing-after-pool", node, "it repeats the image over an axis like a batch")
    numbers = np.broadcast_to(lifted.index(), out)
    first = numbers.reshape(1, -1) if axis is None else np.moveaxis(numbers, axis, 0).reshape(lifted.batch, -1)
    channels = first[0] % lifted.channels
    if lifted.channels == 1 or np.array_equal(channels, np.arange(lifted.channels)):
        return lifted
    name = walk.build.node("Gather", [lifted.name, walk.build.ints(channels.tolist())], axis=1)
    rounding = None if lifted.rounding is None else lifted.rounding[channels]
    return replace(
        lifted, name=name, channels=len(channels), shape=out, batch_axis=axis, rounding=rounding, quantization=None
    )
