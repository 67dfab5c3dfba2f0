"""What a grid holds in every cell alike: its nodes once more, with nothing brought by any place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.rewriting.emission.shapes import traced_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.rewriting.emission.shapes import Tensors


def placeless_part(build: GraphBuilder, trace: Trace, lifted: Lifted, placed: Mapping[str, int]) -> str | None:
    """The logits (N, K) as far as no place brings them; None where the grid's nodes cannot be repeated without places.

    A lift is affine in what is brought, with all that bends kept at the pooled value: so its value where nothing is
    brought is what every cell has.

    Args:
        build: has the grid's nodes, and collects the new ones.
        trace: the real shapes of the tensors that these read.
        lifted: the grid.
        placed: tensors on the grid that hold what places bring, each with its channels.
    """
    traced = (lifted.batch, lifted.channels, *lifted.size)
    tensors = traced_tensors(build, trace, lifted.name, traced, lifted.dtype)
    instead: dict[str, str] = {}
    for name, channels in placed.items():
        instead[name] = build.constant(np.zeros((1, channels, 1, 1), lifted.dtype))
    for node in build.needed_nodes([lifted.name]):
        names = [str(tensor.name) for tensor in node.inputs]
        out = str(node.outputs[0].name)
        if node.op == "Expand" and _spreads(node, tensors, math.prod(lifted.size)):
            instead[out] = _expanded(build, lifted, names[0], [tensors.shapes[out][1], 1, 1])
            continue
        if node.op == "Shape" or out in instead or not any(name in instead for name in names):
            continue
        if _is_pooled(node, tensors):
            continue  # a value that is kept
        inputs = [instead.get(name, name) for name in names]
        if node.op == "Concat" and not all(build.is_constant(each) for each in inputs):
            # Concat does not broadcast: what is the same for all images stands beside what is not.
            counts = (tensors.shapes.get(name, (1, 1))[1] for name in names)
            inputs = [
                _for_each_image(build, lifted, each, [count, 1, 1]) for each, count in zip(inputs, counts, strict=True)
            ]
        made = _repeated(build, node, inputs, tensors, math.prod(lifted.size))
        if made is None:
            return None
        instead[out] = made
    if lifted.name not in instead:
        return None
    part = build.reshape(instead[lifted.name], [-1, lifted.channels])
    return _for_each_image(build, lifted, part, [lifted.channels])


def _for_each_image(build: GraphBuilder, lifted: Lifted, part: str, shape: list[int]) -> str:
    """What is the same for all images, once for each: (N, *shape) of a constant (1, *shape); else the tensor itself."""
    if lifted.batch == 1 or not build.is_constant(part):
        return part
    return _expanded(build, lifted, part, shape)


def _expanded(build: GraphBuilder, lifted: Lifted, part: str, shape: list[int]) -> str:
    images = build.node("Gather", [build.node("Shape", [lifted.name]), build.ints([0])], axis=0)
    return build.node("Expand", [part, build.node("Concat", [images, build.ints(shape)], axis=0)])


def _spreads(node: gs.Node, tensors: Tensors, cells: int) -> bool:
    """Whether a node puts the same numbers into every cell."""
    before, after = (tensors.shapes.get(str(end[0].name), ()) for end in (node.inputs, node.outputs))
    return len(after) == 4 and math.prod(after[2:]) == cells > math.prod(before[2:])


def _is_pooled(node: gs.Node, tensors: Tensors) -> bool:
    before, after = (tensors.shapes.get(str(end[0].name), ()) for end in (node.inputs, node.outputs))
    return str(node.op).startswith("Reduce") and len(after) == len(before) == 4 and before[2:] != (1, 1) == after[2:]


def _repeated(build: GraphBuilder, node: gs.Node, inputs: list[str], tensors: Tensors, cells: int) -> str | None:
    """A node once more on what has one cell instead of as many as the grid."""
    if node.op == "Reshape":
        shape = tensors.shapes.get(str(node.outputs[0].name), ())
        if len(shape) > 2 and math.prod(shape[2:]) == cells:
            return build.reshape(inputs[0], [0, shape[1], *[1] * (len(shape) - 2)])
        # Channels by themselves, as a reduction over some of them wants it.
        return build.reshape(inputs[0], [0, *shape[1:-1], 1]) if len(shape) > 2 and shape[-1] == cells else None
    if node.op == "Gather" and int(node.attrs.get("axis", 0)) > 1:
        before, after = (tensors.shapes.get(str(end[0].name), ()) for end in (node.inputs, node.outputs))
        # Cells put into reading order (windows, a permutation): of one cell there is one order.
        return inputs[0] if before and before == after else None
    if node.op in ("Gather", "GatherND", "Slice") and int(node.attrs.get("axis", 1)) != 1:
        return None
    return build.repeat(node, inputs)[0]
