"""A class token's row, read from the vendor's tensors where that costs the vendor's outputs nothing.

A row that is computed anew reads every weight of the trunk once more for a single token. Three kinds of tensors may be
read instead:

1. what an attention reads the keys or values of all tokens from, which is read anyway: it holds the query, too;
2. the sums that the trunk's branches are added to. Two of the vendor's operators read such a sum already, so that the
   runtime fuses nothing away that a third could miss. That is true of the runtimes that were tried and no promise of
   theirs; the ladder goes up where it fails (`onnx_gapmil.rewriting.attachment.rungs`);
   What an operator on integers makes is fused no further, so that one reader is enough of that;
3. what a dense layer of floats makes of all tokens before its bias is added, where the batch is open: there ONNX
   Runtime leaves product and sum apart. Of a fixed batch it makes a Gemm of both, which rounds otherwise.

A branch between two such sums is their difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.quantization import FLOAT
from onnx_gapmil.rewriting.attachment.fences import fence

if TYPE_CHECKING:
    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.lift.tokens.boxes import Box
    from onnx_gapmil.lift.tokens.walk import TokenWalk


def read_rows(walk: TokenWalk, *, sums: bool) -> dict[str, str]:
    """For rows that are read, and for branches between two of them, new tensors of their value and shape.

    Args:
        walk: the walk, with the program of rows.
        sums: read the second and the third kind, too.
    """
    program, build = walk.program, walk.build
    found: dict[str, str] = {}
    for row, (tensor, box) in program.origins.items():
        # What is the same for all images is folded where their number is known.
        folded = row in program.fixed and not walk.batch_is_open
        if not program.holds(row) or folded or not _is_static(walk, box):
            continue
        is_read = tensor in program.integers or _is_sum(walk, tensor) or _is_product(walk, tensor)
        if tensor in program.sources or (sums and is_read):
            # Beside the keys, which are read behind a fence, so that the scores of both need none of their own.
            source = fence(build, tensor, len(box.shape)) if tensor in program.sources else tensor
            taken = _part(build, source, box)
            if tensor in program.integers:
                step, zero = program.integers[tensor]
                real = build.node("Cast", [taken], to=elem_type(FLOAT))
                taken = build.node("Mul", [build.node("Sub", [real, zero]), step])
            shape = walk.shape(row)
            if box.size != shape:
                taken = build.reshape(taken, [-1 if walk.batch_is_open else shape[0], *shape[1:]])
            found[row] = taken
    branches = {}
    for node in program.nodes if sums else ():
        if node.op_type == "Add" and node.output[0] in found:
            for before, branch in (tuple(node.input), tuple(reversed(node.input))):
                alike = walk.trace.shapes.get(before) == walk.trace.shapes.get(branch) == walk.shape(node.output[0])
                if before in found and branch not in found and alike:
                    branches[branch] = build.node("Sub", [found[node.output[0]], found[before]])
    return found | branches


def _is_static(walk: TokenWalk, box: Box) -> bool:
    """Whether a part is the same however many images there are: they are an axis of their own."""
    ahead = 1 if len(box.shape) < 3 else 2
    images = (axis for axis, dim in enumerate(box.shape[:ahead]) if dim == walk.trace.batch)
    return not walk.batch_is_open or any(not box.is_cut(axis) for axis in images)


def _is_sum(walk: TokenWalk, tensor: str) -> bool:
    """Whether a tensor is a sum of two that depend on the image and are as large, and has two readers."""
    graph = walk.base.graph
    node = graph.producer(tensor)
    if node is None or node.op != "Add" or len(graph.consumers.get(tensor, ())) < 2:
        return False
    names = [str(read.name) for read in node.inputs]
    shape = walk.shape(tensor)
    return all(not walk.base.is_fixed(name) and walk.trace.shapes.get(name) == shape for name in names)


def _is_product(walk: TokenWalk, tensor: str) -> bool:
    """Whether a tensor is a dense layer's product that a bias is added to, of three axes and an open batch."""
    graph = walk.base.graph
    node, readers = graph.producer(tensor), graph.consumers.get(tensor, ())
    if node is None or node.op != "MatMul" or node.domain not in (None, "", "ai.onnx") or not walk.batch_is_open:
        return False
    if walk.program.rounded or walk.dtype(tensor, FLOAT) != FLOAT or len(walk.shape(tensor)) < 3:
        return False  # half precision is cast, and what stands before a QuantizeLinear is fused with it
    return walk.base.is_fixed(str(node.inputs[1].name)) and [reader.op for reader in readers] == ["Add"]


def _part(build: GraphBuilder, tensor: str, box: Box) -> str:
    """Some places along some axes."""
    name = tensor
    for axis, kept in enumerate(box.kept):
        if not box.is_cut(axis):
            continue
        if kept == tuple(range(kept[0], kept[-1] + 1)) and build.graph.opset >= 10:
            bounds = [build.constant(np.asarray([at], np.int64)) for at in (kept[0], kept[-1] + 1, axis)]
            name = build.node("Slice", [name, *bounds])
        else:
            name = build.node("Gather", [name, build.ints(list(kept))], axis=axis)
    return name
