"""An affine operator that has no rule of its own, done in every cell: each cell is an image of a batch to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.frames import frames_along

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

#: Images in the trial: no other axis of a head has this extent by chance and means the batch.
_TRIAL = 3
#: By which part of the largest value an affine operator may miss the middle between two answers.
_TOLERANCE = {2: 2e-2, 4: 1e-4, 8: 1e-10}


def in_each_cell(
    node: gs.Node,
    walk: Lifting,
    lifted: Lifted,
    data: str,
    detail: str,
    spelled: Callable[[list[str]], str] | None = None,
) -> Lifted:
    """The vendor's operator on all cells as one batch; its weights are shared.

    Args:
        node: an operator whose operands other than ``data`` are fixed.
        walk: the walk.
        lifted: lift of ``data``.
        data: the pooled tensor that it works on.
        detail: one phrase for people.
        spelled: makes nodes of ONNX's own that do what the operator does, given its operands; a copy of it if None.

    Raises:
        HeadRefused: tried on random numbers, it is not affine, or an image's answer is not its own.
    """
    if lifted.batch_axis is None or lifted.batch_axis < 0 or lifted.quantization is not None:
        raise walk.refuse("unknown-operator", node, "its input has no batch axis of its own, or holds integers")
    inner, axis = _trial(node, walk, lifted, data)
    _keep_frames_apart(node, walk, lifted, data)
    build, before = walk.build, lifted.batch_axis
    cells = build.node("Transpose", [lifted.name], perm=[0, 2, 3, 1])
    rows = build.reshape(cells, [-1, *lifted.inner_shape])
    if before:
        rows = build.node("Transpose", [rows], perm=_moved(len(lifted.shape), 0, before))
    operands = [rows if read.name == data else read.name for read in node.inputs]
    made = walk.clone(node, operands) if spelled is None else spelled(operands)
    if axis:
        made = build.node("Transpose", [made], perm=_moved(len(inner) + 1, axis, 0))
    count = math.prod(inner)
    back = build.node("Transpose", [as_cells(walk, lifted, made, cells, count)], perm=[0, 3, 1, 2])
    batch_axis = axis if len(walk.shape(walk.output)) == len(inner) + 1 else None
    return walk.result(node, back, [lifted], "affine", detail, batch_axis=batch_axis, channels=count)


def as_cells(walk: Lifting, lifted: Lifted, rows: str, cells: str, channels: int) -> str:
    """``(N * H * W, ...)`` as (N, H, W, channels), whatever the input's size.

    Args:
        walk: the walk.
        lifted: a lift on the same grid.
        rows: the tensor.
        cells: a tensor (N, H, W, any).
        channels: elements of each row.
    """
    build = walk.build
    if not any(entry.space_is_open for entry in walk.trace.inputs):
        return build.reshape(rows, [-1, *lifted.size, channels])
    places = build.node("Gather", [build.node("Shape", [cells]), build.ints([0, 1, 2])], axis=0)
    return build.node("Reshape", [rows, build.node("Concat", [places, build.ints([channels])], axis=0)])


def _trial(node: gs.Node, walk: Lifting, lifted: Lifted, data: str) -> tuple[tuple[int, ...], int]:
    """Shape of the output without its batch, and its batch axis, found on random numbers.

    Raises:
        HeadRefused: the operator is not affine, or mixes images.
    """
    shape = [_TRIAL if axis == lifted.batch_axis else dim for axis, dim in enumerate(lifted.shape)]
    generator = np.random.default_rng(0)
    one, two = (generator.standard_normal(shape).astype(lifted.dtype) for _ in range(2))
    try:
        answers = [walk.run_node(node, {data: values})[0].astype(np.float64) for values in (one, two, (one + two) / 2)]
        changed = one.copy()
        changed[(slice(None),) * (lifted.batch_axis or 0) + (1,)] += 1
        other = walk.run_node(node, {data: changed})[0].astype(np.float64)
    except ModelError as error:
        raise walk.refuse("unknown-operator", node, f"it does not work on cells one by one: {error}") from error
    limit = _TOLERANCE[lifted.dtype.itemsize] * max(float(np.abs(answer).max(initial=0)) for answer in answers)
    if np.abs(answers[2] - (answers[0] + answers[1]) / 2).max(initial=0) > limit:
        raise walk.refuse("unknown-operator", node, "it does not commute with averaging")
    moved = np.abs(other - answers[0]) > limit
    axis = _only_along(moved, _TRIAL)
    if axis is None:
        raise walk.refuse("spatial-mixing-after-pool", node, "it mixes the images of a batch")
    return tuple(np.delete(moved.shape, axis).tolist()), axis


def _only_along(moved: np.ndarray, extent: int) -> int | None:
    """The axis of an extent along which nothing moved but at its second place; None if there is none."""
    fits = (axis for axis, dim in enumerate(moved.shape) if dim == extent)
    return next((axis for axis in fits if not np.delete(moved, 1, axis).any()), None)


def _keep_frames_apart(node: gs.Node, walk: Lifting, lifted: Lifted, data: str) -> None:
    """Pooled frames of a clip become cells of the grid, with a place each.

    Raises:
        HeadRefused: the operator brings one frame's numbers to another.
    """
    for axis, extent in enumerate(lifted.shape):
        if axis == lifted.batch_axis or extent < 2 or frames_along(walk, data, axis) is None:
            continue
        values = np.random.default_rng(0).standard_normal(lifted.shape).astype(lifted.dtype)
        changed = values.copy()
        changed[(slice(None),) * axis + (1,)] += 1
        before, after = (walk.run_node(node, {data: each})[0] for each in (values, changed))
        if _only_along(before != after, extent) is None:
            raise walk.refuse("spatial-mixing-after-pool", node, "it works over pooled frames, and mixes them")


def _moved(rank: int, source: int, target: int) -> list[int]:
    """The permutation that takes one axis to another place."""
    order = [axis for axis in range(rank) if axis != source]
    order.insert(target, source)
    return order


def as_grid(walk: Lifting, lifted: Lifted, tensor: str, channels: int) -> str:
    """``(N, ..., H * W)`` as (N, channels, H, W), whatever the input's size.

    Args:
        walk: the walk.
        lifted: a lift on the same grid.
        tensor: the tensor.
        channels: the product of its axes between the batch and the cells.
    """
    build = walk.build
    if not any(entry.space_is_open for entry in walk.trace.inputs):
        return build.reshape(tensor, [0, channels, *lifted.size])
    size = build.node("Gather", [build.node("Shape", [lifted.name]), build.ints([2, 3])], axis=0)
    return build.node("Reshape", [tensor, build.node("Concat", [build.ints([0, channels]), size], axis=0)])


def pooled_value(walk: Lifting, lifted: Lifted) -> str:
    """The pooled tensor itself as (N, C, 1, 1): the mean of its own lift, so that nothing of the vendor's is read."""
    return walk.build.reduce("ReduceMean", lifted.name, [2, 3])
