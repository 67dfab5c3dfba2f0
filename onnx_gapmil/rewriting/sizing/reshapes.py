"""A Reshape to a baked shape, made relative."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_gapmil.rewriting.sizing.regrouping import Dim, regrouped, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.rewriting.sizing.walk import SizeWalk


def reshape(walk: SizeWalk, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
    """Lengths that a map had at the original size are copied from it (0), inferred (-1), or read off its shape.

    What the graph computes for itself and comes out right is left as it is.
    """
    data, target = node.input[0], node.input[1]
    before, after = walk.dims(data), walk.old_shape(node.output[0])
    old, new = walk.old_value(target), walk.value(target)
    keeps_zeros = any(entry.name == "allowzero" and entry.i for entry in node.attribute)
    made = regrouped(walk.parts(data), after)
    if old is None or new is None:
        raise walk.refuse(node, f"reshapes {list(walk.old_shape(data))} to a shape that is not to be told")
    given = _resolved(new, walk.shape(data), keeps_zeros)
    if any(first == 1 != second for first, second in before):
        held = [list(shape) for shape in zip(*before, strict=True)]
        raise walk.refuse(node, f"takes {held[0]} for one value a channel, and would get {held[1]}")
    if made is None:
        own = not walk.is_constant(target) and given != _resolved(old, walk.old_shape(data), keeps_zeros)
        if own and given is not None:
            return (node,)
        raise walk.refuse(
            node,
            f"reshapes {list(walk.old_shape(data))} to {list(after)}: which of these lengths grow with the size is not "
            "to be told (windows, say)",
        )
    walk.merge(node.output[0], made)
    wanted = [whole(parts) for parts in made]
    if given == [length for _, length in wanted]:
        return (node,)
    nodes: list[onnx.NodeProto] = []
    entries = _entries([int(entry) for entry in old], before, wanted, keeps_zeros, not walk.is_constant(target))
    shape = _target(walk, node, entries, wanted, nodes)
    mended = onnx.NodeProto()
    mended.CopyFrom(node)
    mended.input[1] = shape
    said = [("?" if entry is None else entry) for entry in entries]
    walk.changing(
        node, f"its shape, {[int(entry) for entry in old]} at the original size, became {said}".replace("'", "")
    )
    return (*nodes, mended)


def _resolved(target: np.ndarray, shape: Sequence[int], keeps_zeros: bool) -> list[int] | None:
    """What a target makes of a shape; None where it does not fit."""
    found = [int(entry) for entry in target]
    for place, entry in enumerate(found):
        if entry == 0 and not keeps_zeros:
            if place >= len(shape):
                return None
            found[place] = shape[place]
    count, known = math.prod(shape), math.prod(entry for entry in found if entry != -1)
    if -1 in found and known > 0 and count % known == 0:
        found[found.index(-1)] = count // known
    return found if math.prod(found) == count else None


def _entries(
    old: list[int], before: Sequence[Dim], wanted: Sequence[Dim], keeps_zeros: bool, computed: bool
) -> list[int | None]:
    """The new target; None where a length has to be read off a shape, or an entry off the old target.

    Of a target that the graph computes, entries may be an open batch, which the trace has as a number.
    """
    found: list[int | None] = list(old)
    fixed = {place for place, (length, new) in enumerate(wanted) if length == new}
    for place in fixed:
        same = place < len(before) and before[place] == wanted[place]
        if old[place] == -1 and same and not keeps_zeros:  # an open batch: what is inferred can be another axis
            found[place] = 0
        elif computed:
            found[place] = 0 if same and not keeps_zeros else None
        elif old[place] == 0 and not same:
            found[place] = wanted[place][0]
    inferred = any(found[place] == -1 for place in fixed)
    for place, dim in enumerate(wanted):
        if place in fixed:
            continue
        if not keeps_zeros and place < len(before) and before[place] == dim:
            found[place] = 0
        elif not inferred:
            found[place], inferred = -1, True
        else:
            found[place] = None
    return found


def _target(
    walk: SizeWalk,
    node: onnx.NodeProto,
    entries: Sequence[int | None],
    wanted: Sequence[Dim],
    nodes: list[onnx.NodeProto],
) -> str:
    """A tensor that holds the new target; nodes that make it are appended."""
    if None not in entries:
        return walk.constant(np.array(entries, np.int64), nodes, "shape")
    parts: list[str] = []
    for entry, dim in zip(entries, wanted, strict=True):
        if entry is not None:
            parts.append(walk.constant(np.array([entry], np.int64), nodes, "length"))
            continue
        length = walk.entry(node.input[1], len(parts), nodes) if dim[0] == dim[1] else walk.length(dim, nodes)
        if length is None:
            raise walk.refuse(node, f"reshapes to a length of {dim[0]} that no tensor before it has")
        parts.append(length)
    made = walk.tensor("shape")
    nodes.append(onnx.helper.make_node("Concat", parts, [made], axis=0))
    held = [dim[1] if entry is None else entry for entry, dim in zip(entries, wanted, strict=True)]
    return walk.know(made, np.array(held, np.int64))
