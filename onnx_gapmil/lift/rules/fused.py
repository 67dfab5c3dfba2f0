"""What ONNX Runtime and its transformers' optimizer fuse of several operators: a bias and its activation, a sum and its
norm. They lift as what they were fused of.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx

from onnx_gapmil.lift.broadcasting import aligned_batch, widened
from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.rules.activations import activate
from onnx_gapmil.lift.rules.norms import norm_of
from onnx_gapmil.lift.rules.slopes import freeze
from onnx_gapmil.lift.table import rule
from onnx_gapmil.ort.cpu import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule("Gelu", "FastGelu", "QuickGelu", "BiasGelu", domain="com.microsoft")
def lift_fused_gelu(node: gs.Node, walk: Lifting) -> Lifted:
    """An activation, with a bias fused into it or without."""
    data = node.inputs[0].name
    bias = node.inputs[1].name if len(node.inputs) > 1 else ""
    if not bias:
        return activate(node, walk, walk.lift(data), data)
    if not walk.is_fixed(bias):
        raise walk.refuse("unknown-operator", node, "the bias that is fused into it depends on the image")
    lifted, out = walk.lift(data), walk.shape(walk.output)
    axis = aligned_batch(lifted, out)
    if lifted.shape != out:
        raise walk.refuse("unknown-operator", node, "the bias that is fused into it has more axes than what it is for")
    build = walk.build
    shifted = build.node("Add", [lifted.name, walk.per_cell(bias, out, axis)])
    # FastGelu is the one of both that takes no bias, and approximates; of a BiasGelu what is left is a Gelu.
    kind = "Gelu" if node.op == "BiasGelu" else str(node.op)
    alone = onnx.helper.make_node(kind, ["x"], ["y"], domain="com.microsoft")

    def function(values: np.ndarray) -> np.ndarray:
        return evaluate([alone], {"x": values}, ["y"], walk.graph.proto.opset_import)[0]

    if walk.readout == "instance":
        raise walk.refuse("unknown-operator", node, "the instance readout is made of standard operators only")
    name = freeze(node, walk, replace(lifted, name=shifted), build.node("Add", [data, bias]), walk.output, function)
    detail = "bias, then activation, its slope frozen at the pooled value"
    return walk.result(node, name, [lifted], "activation", detail, conditional=True, batch_axis=axis)


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain="com.microsoft")
def lift_skip_norm(node: gs.Node, walk: Lifting) -> Lifted:
    """``norm(input + skip + bias)`` over the last axis; the sum itself is the last output."""
    names = [read.name for read in node.inputs] + [""] * 5
    centred = node.op == "SkipLayerNormalization"
    bias = names[4 if centred else 3]
    moving, total = _added(node, walk, [name for name in (*names[:2], bias) if name])
    place = [made.name for made in node.outputs].index(walk.output)
    if place == 3:
        detail = f"sum of {2 + bool(bias)} tensors, cell by cell"
        return walk.result(node, total.name, moving, "affine", detail, batch_axis=total.batch_axis)
    if place > 0:
        raise walk.refuse("unknown-operator", node, "it is read for the mean or the deviation that it divides by")
    if total.shape[-1] != total.channels or total.batch_axis not in (0, None):
        raise walk.refuse("unknown-operator", node, f"it covers a part of the pooled channels {list(total.shape)}")
    parameters = names[2:4] if centred else names[2:3]
    return norm_of(node, walk, total, pooled_value(walk, total), parameters, centred=centred, parents=moving)


def _added(node: gs.Node, walk: Lifting, names: Sequence[str]) -> tuple[list[Lifted], Lifted]:
    """The lifts of those of some tensors that are not fixed, and that of the sum of all."""
    out = walk.shape(names[0])
    moving = align(node, walk, [walk.lift(name) for name in names if not walk.is_fixed(name)])
    if len({aligned_batch(part, out) for part in moving}) > 1 and moving[0].batch > 1:
        raise walk.refuse("spatial-mixing-after-pool", node, "what it adds have their batch in axes that differ")
    moving = [widened(node, walk, part, out) for part in moving]
    axis = aligned_batch(moving[0], out)
    parts = [part.name for part in moving]
    parts += [walk.per_cell(name, out, axis) for name in names if walk.is_fixed(name)]
    features, channels = walk.merge_features(node, moving), math.prod(out) // moving[0].batch
    name = walk.build.node("Sum", parts)
    total = replace(moving[0], name=name, channels=channels, shape=out, batch_axis=axis, features=features)
    return moving, replace(total, rounding=None, quantization=None)
