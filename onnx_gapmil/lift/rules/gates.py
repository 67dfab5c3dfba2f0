"""Products and quotients: by a fixed tensor affine; of two pooled tensors a gate, kept at its pooled value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.broadcasting import aligned_batch, widened
from onnx_gapmil.lift.frozen import require_pooled
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.rules.activations import activate
from onnx_gapmil.lift.rules.bounded import Bound, bound_of
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import HeadRefused, Refusal, StepKind

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule("Mul")
def lift_mul(node: gs.Node, walk: Lifting) -> Lifted:
    """Times a fixed tensor: affine. ``x * gate(x)``: lift x, keep the gate at its pooled value."""
    left, right = node.inputs[0].name, node.inputs[1].name
    # A learned scale, a temperature, paddle2onnx's dropout (Mul by 0.8).
    if walk.is_fixed(left) or walk.is_fixed(right):
        return _scale(node, walk, right if walk.is_fixed(left) else left, left if walk.is_fixed(left) else right)
    # SiLU, HardSwish and squeeze-excite spelled out: paddle2onnx writes HardSwish as HardSigmoid, Mul to operator set
    # 13.
    kept, frozen, alike = choose(node, walk, left, right)
    return _evenly(node, walk, kept, frozen) if alike else _gate(node, walk, kept, frozen)


@rule("Div")
def lift_div(node: gs.Node, walk: Lifting) -> Lifted:
    """By a fixed tensor: affine. By a pooled one (a norm): that one stays at its pooled value."""
    left, right = node.inputs[0].name, node.inputs[1].name
    # A mean spelled ReduceSum, Div by the number of cells (jax2onnx, an einsum), or a temperature.
    if walk.is_fixed(right):
        return _scale(node, walk, left, right)
    if walk.is_fixed(left):
        return activate(node, walk, walk.lift(right), right)
    # LayerNorm spelled out (PyTorch to operator set 16, jax2onnx) and the norm of a cosine head.
    return _gate(node, walk, left, right)


@rule("Where")
def lift_where(node: gs.Node, walk: Lifting) -> Lifted:
    """Chooses between two pooled tensors element by element: so does every cell, by the pooled condition."""
    condition, *choices = (tensor.name for tensor in node.inputs)
    out = walk.shape(walk.output)
    moving = [name for name in choices if not walk.is_fixed(name)]
    if not moving:
        raise walk.refuse("unknown-operator", node, "none of its choices is a pooled tensor")
    found = {name: widened(node, walk, walk.lift(name), out) for name in moving}
    lifted = list(found.values())
    axis = aligned_batch(lifted[0], out)
    fixed = walk.is_fixed(condition)
    if not fixed:
        require_pooled(node, walk, lifted[0], condition, "condition")
        if walk.readout == "instance":
            raise walk.refuse("unknown-operator", node, "its condition has no reading for a single cell")
    cells = [walk.per_cell(name, out, axis) if walk.is_fixed(name) else found[name].name for name in choices]
    name = walk.build.node("Where", [walk.per_cell(condition, out, axis), *cells])
    detail = "by a fixed condition" if fixed else "condition kept at its pooled value"
    kind: StepKind = "affine" if fixed else "gate"
    return walk.result(node, name, lifted, kind, detail, conditional=not fixed, batch_axis=axis)


def _scale(node: gs.Node, walk: Lifting, data: str, factor: str) -> Lifted:
    out = walk.shape(walk.output)
    lifted = widened(node, walk, walk.lift(data), out)
    axis = aligned_batch(lifted, out)
    name = walk.build.node(node.op, [lifted.name, walk.per_cell(factor, out, axis)])
    detail = "a fixed factor for each channel"
    rounding = None if lifted.rounding is None else _scaled(node, walk, lifted.rounding, factor)
    return walk.result(node, name, [lifted], "affine", detail, batch_axis=axis, rounding=rounding)


def _scaled(node: gs.Node, walk: Lifting, rounding: np.ndarray, factor: str) -> np.ndarray:
    """The bound on rounding times the largest factor."""
    value = walk.value(factor)
    if value is None:
        return np.full_like(rounding, np.inf)
    sizes = np.abs(value.astype(np.float64))
    return rounding * float((1 / sizes).max() if node.op == "Div" else sizes.max())


def choose(node: gs.Node, walk: Lifting, left: str, right: str) -> tuple[str, str, bool]:
    """Which factor is lifted, which is the gate, and whether the two are alike; the same for either order.

    The gate is the one that is bounded, else the one that went through more image-conditioned steps. A factor that has
    no lift is a gate only if it is bounded, or one number for each image (the length of a vector).
    """
    if left == right:
        return left, right, False
    count = math.prod(walk.shape(walk.output))
    found = {name: walk.try_lift(name) for name in (left, right)}
    usable = [
        name for name, lift in found.items() if not isinstance(lift, Refusal) and count // lift.batch == lift.channels
    ]
    if not usable:
        usable = [name for name, lift in found.items() if not isinstance(lift, Refusal)]  # both broadcast
    if not usable:
        reasons = [lift for lift in found.values() if isinstance(lift, Refusal)]
        raise HeadRefused(reasons[0])
    bounds = {name: bound_of(walk, name) for name in found}
    if len(usable) == 2:
        # x * gate(x): x is the factor that went through fewer activations.
        ranks = {name: (bounds[name], sum(step.conditional for step in walk.chain(name))) for name in usable}
        kept, frozen = sorted(usable, key=lambda name: ranks[name])
        return kept, frozen, ranks[kept] == ranks[frozen]
    kept = usable[0]
    frozen = right if kept == left else left
    refusal = found[frozen]
    if isinstance(refusal, Refusal):
        lifted = walk.lift(kept)
        require_pooled(node, walk, lifted, frozen, "gate")
        is_gate = bounds[frozen] != Bound.NONE and bounds[frozen] >= bounds[kept]
        if not is_gate and math.prod(walk.shape(frozen)) > lifted.batch:
            raise HeadRefused(refusal)
    return kept, frozen, False


def _evenly(node: gs.Node, walk: Lifting, left: str, right: str) -> Lifted:
    """Two factors that are alike: each is kept at its pooled value in turn, and the two lifts are averaged."""
    if walk.readout == "instance":
        return _gate(node, walk, left, right)
    first, second = walk.lift(left), walk.lift(right)
    out = walk.shape(walk.output)
    axis = aligned_batch(first, out)
    if aligned_batch(second, out) != axis:
        raise walk.refuse("spatial-mixing-after-pool", node, "it multiplies channels of one image by the batch's")
    build, terms = walk.build, []
    first, second = (widened(node, walk, part, out) for part in align(node, walk, [first, second]))
    for lifted, frozen in ((first, right), (second, left)):
        require_pooled(node, walk, lifted, frozen, "factor")
        terms.append(build.node("Mul", [lifted.name, walk.per_cell(frozen, out, axis)]))
    name = build.node("Mul", [build.node("Add", terms), walk.scalar(0.5, first.dtype)])
    detail = "each factor kept at its pooled value in turn, half and half"
    return walk.result(node, name, [first, second], "gate", detail, conditional=True, batch_axis=axis)


def _gate(node: gs.Node, walk: Lifting, kept: str, frozen: str) -> Lifted:
    """``lift(kept)`` times or over ``frozen``, which stays at its pooled value (or, read per instance, is lifted)."""
    out = walk.shape(walk.output)
    lifted = widened(node, walk, walk.lift(kept), out)
    axis = aligned_batch(lifted, out)
    word = "divisor" if node.op == "Div" else "gate"
    _require_alike(node, walk, kept, frozen, word)
    require_pooled(node, walk, lifted, frozen, word)
    if walk.readout == "instance":
        other = walk.lift(frozen)
        name = walk.build.node(node.op, [lifted.name, other.name])
        return walk.result(
            node, name, [lifted, other], "gate", f"{word} of each cell", conditional=True, batch_axis=axis
        )
    name = walk.build.node(node.op, [lifted.name, walk.per_cell(frozen, out, axis)])
    # ONNX Runtime's dynamic quantizer: MatMulInteger, Cast, Mul by (scale of x * scale of W).
    integers = any(step.op in ("MatMulInteger", "ConvInteger") for step in walk.chain(kept))
    if integers and _is_quantization_scale(walk, frozen):
        # The integers were divided by it before: together the two change nothing.
        return walk.result(node, name, [lifted], "affine", "the scale of dynamic quantization", batch_axis=axis)
    return walk.result(
        node, name, [lifted], "gate", f"{word} kept at its pooled value", conditional=True, batch_axis=axis
    )


def _require_alike(node: gs.Node, walk: Lifting, kept: str, frozen: str, word: str) -> None:
    """A fully connected layer on a flattened map pools nothing that a gate of a pool could be a function of."""
    flattened = [
        not isinstance(walk.try_lift(name), Refusal) and any(step.kind == "flatten" for step in walk.chain(name))
        for name in (kept, frozen)
    ]
    if flattened[0] and not flattened[1] and not isinstance(walk.try_lift(frozen), Refusal):
        message = (
            f"its {word} '{frozen}' is of a pool, and what it is kept for is of a flattened map that nothing pooled"
        )
        raise walk.refuse("flatten-head", node, message)


def _is_quantization_scale(walk: Lifting, tensor: str) -> bool:
    """Whether a tensor is the scale that DynamicQuantizeLinear found, times fixed numbers."""
    for _ in range(8):
        node = walk.graph.producer(tensor)
        if node is None:
            return False
        if node.op == "DynamicQuantizeLinear":
            return bool(node.outputs[1].name == tensor)
        moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
        if node.op not in ("Mul", "Reshape", "Unsqueeze", "Squeeze", "Identity") or len(moving) != 1:
            return False
        tensor = moving[0]
    return False
