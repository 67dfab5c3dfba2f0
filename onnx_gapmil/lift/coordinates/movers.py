"""Operators that move, repeat or choose elements: coordinates move with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.fields import DECIDED, NONE, SAMPLED, UNKNOWN, Field, compact, divided
from onnx_gapmil.lift.coordinates.looks import Looks, View, joined, stated, values_of

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.scene import Rule, Scene


#: Tensors with more elements are not numbered, element by element, to see where a mover takes them: 400 MB.
_MOST_NUMBERED = 1 << 24


def _reshaped(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Reshape and the like; only by the shapes of the trace, however the target is spelled."""
    after = scene.out_shape(node)
    return [reshape(parts[0], after)]


def reshape(part: Looks, after: tuple[int, ...]) -> Looks:
    """The same elements in another shape.

    Axes are taken in groups with as many elements before as after, and a coordinate is written out only in groups that
    it varies in: whole arrays would be hundreds of megabytes.
    """
    before = part.shape
    groups = _groups(before, after)

    def move(values: np.ndarray) -> np.ndarray:
        full, target = list(values.shape), [1] * len(after)
        for old, new in groups:
            if any(values.shape[axis] > 1 for axis in old):
                for axis in old:
                    full[axis] = before[axis]
                for axis in new:
                    target[axis] = after[axis]
        return np.broadcast_to(values, full).reshape(target)

    return part.moved(after, move)


def _groups(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[range, range]]:
    """The smallest runs of axes that hold equally many elements on both sides."""
    found: list[tuple[range, range]] = []
    left = right = 0
    while left < len(before) or right < len(after):
        first, second = left, right
        have, want = math.prod(before[left : left + 1]), math.prod(after[right : right + 1])
        left, right = min(left + 1, len(before)), min(right + 1, len(after))
        while have != want:
            if have < want and left < len(before):
                have, left = have * before[left], left + 1
            elif right < len(after):
                want, right = want * after[right], right + 1
            else:
                break
        found.append((range(first, left), range(second, right)))
    return found


def _transposed(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    order = node.attrs.get("perm") or list(range(parts[0].rank))[::-1]
    return [parts[0].moved(scene.out_shape(node), lambda values: values.transpose(order))]


def _identity(_: gs.Node, parts: list[Looks], __: Scene) -> list[Looks]:
    return [parts[0]]


def _expanded(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    return [joined(parts[:1], scene.out_shape(node))]


def _tiled(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    before, after = parts[0].shape, scene.out_shape(node)

    def move(values: np.ndarray) -> np.ndarray:
        times = [new // old if dim > 1 else 1 for old, new, dim in zip(before, after, values.shape, strict=True)]
        return np.tile(values, times)

    return [parts[0].moved(after, move)]


def _concatenated(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    # ONNX Runtime's QLinearConcat has a scale and a zero point of the output first, then three inputs for each part.
    if node.op == "QLinearConcat":
        parts = parts[2::3]
    after = scene.out_shape(node)
    axis = int(node.attrs.get("axis", 1)) % len(after)
    return [concatenate(parts, after, axis)]


def concatenate(parts: list[Looks], after: tuple[int, ...], axis: int) -> Looks:
    """Tensors one behind the other along an axis; what is constant has no place."""
    parts = [part for part in parts if part.shape[axis] > 0]
    count = max(len(part.views) for part in parts)
    views = []
    for number in range(count):
        own = [part.views[min(number, len(part.views) - 1)] for part in parts]
        view: View = {}
        for key in {key for found in own for key in found}:
            fields = [values_of(found, key, len(after)) for found in own]
            arrays = [found.values for found in fields]
            wide = [max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
            written = []
            for part, array in zip(parts, arrays, strict=True):
                wide[axis] = part.shape[axis]
                written.append(np.broadcast_to(array, wide))
            step = max((found.step for found in fields if found.has_numbers), default=1.0)
            view[key] = Field(compact(np.concatenate(written, axis)), step)
        views.append(view)
    return Looks(after, tuple(views), next((part.why for part in parts if part.why), ""))


def _sliced(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    before, after = parts[0].shape, scene.out_shape(node)
    starts, ends = scene.numbers(node, "starts", 1), scene.numbers(node, "ends", 2)
    if starts is None or ends is None:
        return [stated(parts[:1], after, SAMPLED, f"{node.op} '{node.name}' cuts where the image decides")]
    axes = scene.numbers(node, "axes", 3) or list(range(len(starts)))
    steps = scene.numbers(node, "steps", 4) or [1] * len(starts)
    # Which way it goes, and how far: a step that an open size decides is no length that grows with the image.
    if len(node.inputs) > 4 and scene.size_decides(node.inputs[4].name):
        why = f"{node.op} '{node.name}' takes other steps at another size of the input, which the file leaves open"
        return [stated(parts[:1], after, DECIDED, why)]
    lines = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        lines[axis % len(before)] = np.arange(before[axis % len(before)])[start:end:step]
    return [take(parts[0], after, lines)]


def take(part: Looks, after: tuple[int, ...], lines: dict[int, np.ndarray]) -> Looks:
    """Some positions along some axes, by their numbers."""

    def choose(found: Field) -> Field:
        values, step = found.values, found.step
        for axis, line in lines.items():
            if values.shape[axis] > 1:
                values = np.take(values, line, axis)
                strides = np.unique(np.abs(np.diff(line)))
                step *= int(strides[0]) if len(strides) == 1 else 1
        return Field(compact(values), step, found.coarse)

    return part.mapped(after, choose)


def _split(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    axis = int(node.attrs.get("axis", 0)) % parts[0].rank
    found, start = [], 0
    for tensor in node.outputs:
        after = scene.trace.shapes[tensor.name]
        found.append(take(parts[0], after, {axis: np.arange(start, start + after[axis])}))
        start += after[axis]
    return found


def _gathered(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    after = scene.out_shape(node)
    data, indices = node.inputs[0].name, node.inputs[1].name
    axis = int(node.attrs.get("axis", 0)) % parts[0].rank
    rank = len(after) - parts[0].rank + 1
    if scene.is_fixed(indices):
        places = scene.value(indices)
        if places is None:
            return [stated(parts[:1], after, UNKNOWN, f"the indices of {node.op} '{node.name}' are not known")]

        def move(values: np.ndarray) -> np.ndarray:
            if values.shape[axis] > 1:
                return np.take(values, places, axis)
            return values.reshape(values.shape[:axis] + (1,) * rank + values.shape[axis + 1 :])

        return [parts[0].moved(after, move)]
    if scene.is_fixed(data):
        # A table of codes: each element of the indices becomes a vector.
        tail = (1,) * (parts[0].rank - axis - 1)
        return [parts[1].moved(after, lambda values: values.reshape((1,) * axis + values.shape + tail))]
    return [_chosen(node, parts, after)]


def _chosen(node: gs.Node, parts: list[Looks], after: tuple[int, ...]) -> Looks:
    return stated(parts[:1], after, SAMPLED, f"{node.op} '{node.name}' takes elements that the image chooses")


def _by_index(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Any other mover of one tensor: it moves the numbers of the elements, by the runtime's own semantics."""
    after = scene.out_shape(node)
    if not all(scene.is_fixed(tensor.name) for tensor in node.inputs[1:]):
        return [_chosen(node, parts, after)]
    before = parts[0].shape
    if math.prod(before) > _MOST_NUMBERED:
        return [stated(parts[:1], after, UNKNOWN, f"{node.op} '{node.name}' moves more than can be numbered")]
    # Doubles: DepthToSpace has no kernel for integers of 64 bits. Counted from 1, since 0 is what padding holds.
    numbers = np.arange(1, math.prod(before) + 1, dtype=np.float64).reshape(before)
    order = scene.run(node, {node.inputs[0].name: numbers}).astype(np.int64)

    def move(values: np.ndarray) -> np.ndarray:
        return np.append(NONE, np.broadcast_to(values, before).ravel())[order]

    return [parts[0].moved(after, move)]


def _shuffled(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """A pixel shuffle: the cells of a block look at one place, and share it out."""
    moved = _by_index(node, parts, scene)[0]
    return [moved.mapped(moved.shape, lambda found: divided(divided(found, 2), 3))]


def _scattered(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Elements of one tensor put in place of those of another."""
    after = scene.out_shape(node)
    data, indices, updates = (tensor.name for tensor in node.inputs[:3])
    if not scene.is_fixed(indices):
        return [_chosen(node, [parts[0], parts[2]], after)]
    if node.attrs.get("reduction", "none") != "none" or data == updates:
        return [stated([parts[0], parts[2]], after, UNKNOWN, f"{node.op} '{node.name}' adds up what it scatters")]
    shapes = [parts[0].shape, parts[2].shape]
    sizes = [math.prod(shape) for shape in shapes]
    feeds = {
        data: np.arange(sizes[0], dtype=np.float64).reshape(shapes[0]),
        updates: np.arange(sizes[0], sum(sizes), dtype=np.float64).reshape(shapes[1]),
    }
    order = scene.run(node, feeds).astype(np.int64)
    view: View = {}
    for key in {*parts[0].views[0], *parts[2].views[0]}:
        fields = [values_of(part.views[0], key, part.rank) for part in (parts[0], parts[2])]
        flat = [np.broadcast_to(found.values, shape).ravel() for found, shape in zip(fields, shapes, strict=True)]
        step = max((found.step for found in fields if found.has_numbers), default=1.0)
        view[key] = Field(compact(np.concatenate(flat)[order]), step)
    return [Looks(after, (view,), parts[0].why or parts[2].why)]


def _sorted(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Elements along an axis in an order, or a selection, that their values decide."""
    shapes = [scene.shape(tensor.name) for tensor in node.outputs]
    if node.op == "Compress" and scene.is_fixed(node.inputs[1].name):
        return _by_index(node, parts, scene)
    axis = int(node.attrs.get("axis", -1)) % parts[0].rank
    why = f"{node.op} '{node.name}' sorts or chooses by value"

    def lose(found: Field) -> Field:
        if not found.varies(axis):
            return found
        return Field(np.full_like(found.values.max(axis, keepdims=True), SAMPLED), found.step)

    if node.op == "TopK":
        result = parts[0].mapped(shapes[0] or (), lose)
        return [Looks(shape or (), result.views, result.why or why) for shape in shapes]
    return [stated(parts[:1], shape or (), SAMPLED, why) for shape in shapes]


def _reordered(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Into or out of ONNX Runtime's blocks of channels: to all that is seen, rows and columns stay where they are."""
    after = scene.out_shape(node)
    if not node.attrs.get("channels_last", 0):
        return [take(parts[0], after, {1: np.minimum(np.arange(after[1]), parts[0].shape[1] - 1)})]
    order = (
        [0, *range(2, len(after)), 1] if node.op == "ReorderOutput" else [0, len(after) - 1, *range(1, len(after) - 1)]
    )
    return [parts[0].moved(after, lambda values: values.transpose(order))]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    **dict.fromkeys(("Identity", "Optional", "OptionalGetElement"), _identity),
    **dict.fromkeys(("Concat", "QLinearConcat"), _concatenated),
    **dict.fromkeys(("GatherElements", "GatherND", "ReverseSequence", "SpaceToDepth"), _by_index),
    **dict.fromkeys(("ScatterElements", "ScatterND", "Scatter"), _scattered),
    **dict.fromkeys(("TopK", "Compress", "Unique", "NonZero", "NonMaxSuppression"), _sorted),
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), _reordered),
    "Transpose": _transposed,
    "DepthToSpace": _shuffled,
    "Expand": _expanded,
    "Tile": _tiled,
    "Slice": _sliced,
    "Split": _split,
    "Gather": _gathered,
}
