"""Affine rules beside dense layers: the verdict stays ``exact``, since mean and affine maps commute."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.broadcasting import aligned_batch, widened
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.lifted import elem_type
from onnx_gapmil.lift.rules.activations import written_back
from onnx_gapmil.lift.rules.reductions import log_softmax, normalizer_axes
from onnx_gapmil.lift.rules.spreading import lift_beside
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import HeadRefused, Refusal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting


@rule("BatchNormalization")
def lift_batch_normalization(node: gs.Node, walk: Lifting) -> Lifted:
    """In inference a fixed scale and shift for each channel: the same on the grid."""
    data = node.inputs[0].name
    shape = walk.shape(data)
    if int(node.attrs.get("training_mode", 0)):
        raise walk.refuse(
            "random-head",
            node,
            "its training_mode is on, so it normalizes by the batch and not by fixed numbers",
        )
    # On a map it belongs to the trunk. Most exporters fold it into the convolution; jax2onnx and dynamo without its
    # optimizer do not.
    if math.prod(shape[2:]) != 1:
        raise walk.no_rule(node)
    lifted = walk.lift(data)
    if lifted.batch_axis != 0 or not all(walk.is_fixed(tensor.name) for tensor in node.inputs[1:]):
        raise walk.refuse("unknown-operator", node, "its parameters are not fixed, or its input has no batch axis")
    parameters = [tensor.name for tensor in node.inputs[1:5]]
    name = walk.build.node("BatchNormalization", [lifted.name, *parameters], epsilon=node.attrs.get("epsilon"))
    return walk.result(
        node, name, [lifted], "affine", "fixed scale and shift for each channel", channels=lifted.channels
    )


@rule("Cast", "CastLike")
def lift_cast(node: gs.Node, walk: Lifting) -> Lifted:
    """Between float types: a cast of the grid. To integers it rounds, which does not commute with the mean."""
    lifted = walk.lift(node.inputs[0].name)
    target = walk.dtype(walk.output, np.dtype(np.float32))
    if target.kind != "f" and target.name != "bfloat16":
        raise walk.refuse("unknown-operator", node, f"it rounds to {target}, which does not commute with averaging")
    # Dynamic quantization casts its integer products to float, which their lift is already; a float16 model that keeps
    # its inputs and outputs casts its logits.
    name = lifted.name if target == lifted.dtype else walk.build.node("Cast", [lifted.name], to=elem_type(target))
    return walk.result(node, name, [lifted], "affine", f"to {target}", dtype=target, batch_axis=lifted.batch_axis)


@rule("Neg")
def lift_neg(node: gs.Node, walk: Lifting) -> Lifted:
    """``-t``."""
    lifted = walk.lift(node.inputs[0].name)
    name = walk.build.node("Neg", [lifted.name])
    return walk.result(node, name, [lifted], "affine", "negates", batch_axis=lifted.batch_axis)


@rule("Add", "Sub")
def lift_add(node: gs.Node, walk: Lifting) -> Lifted:
    """A fixed tensor added to every cell, or two lifts added cell by cell."""
    left, right = node.inputs[0].name, node.inputs[1].name
    fixed = [walk.is_fixed(left), walk.is_fixed(right)]
    out = walk.shape(walk.output)
    # The bias of a dense layer spelled MatMul, Add: Keras, tf2onnx, paddle2onnx and ONNX Runtime's dynamic quantizer.
    if any(fixed):
        lifted = widened(node, walk, walk.lift(right if fixed[0] else left), out)
        axis = aligned_batch(lifted, out)
        other = walk.per_cell(left if fixed[0] else right, out, axis)
        operands = [other, lifted.name] if fixed[0] else [lifted.name, other]
        name = walk.build.node(node.op, operands)
        return walk.result(node, name, [lifted], "affine", "a fixed number for each channel", batch_axis=axis)
    if node.op == "Sub" and (axes := normalizer_axes(walk, left, right)):
        return log_softmax(node, walk, walk.lift(left), axes)
    if node.op == "Sub" and (written := written_back(node, walk)) is not None:
        return written
    # Average and maximum pool summed, a LoRA branch, two classifiers averaged (distilled networks).
    known = not isinstance(walk.try_lift(right), Refusal)
    one = lift_companion(node, walk, left) if known else walk.lift(left)
    first, second = align(node, walk, [one, lift_companion(node, walk, right)])
    if first.batch > 1 and aligned_batch(first, out) != aligned_batch(second, out):
        raise walk.refuse(
            "spatial-mixing-after-pool", node, "it adds the channels of one image to the images of the batch"
        )
    first, second = (widened(node, walk, part, out) for part in (first, second))
    wide = first if first.channels >= second.channels else second
    axis = aligned_batch(wide, out)
    name = walk.build.node(node.op, [first.name, second.name])
    return walk.result(
        node,
        name,
        [first, second],
        "affine",
        "two pooled tensors, cell by cell",
        batch_axis=axis,
        channels=wide.channels,
    )


def lift_companion(node: gs.Node, walk: Lifting, tensor: str) -> Lifted:
    """Lift the other operand of a sum or a concatenation; what comes from elsewhere is a side input."""
    found = walk.try_lift(tensor)
    if isinstance(found, Refusal):
        # Features of a second input, such as a patient's age.
        if found.code == "side-input":
            raise walk.refuse(
                "side-input",
                node,
                f"it joins the pooled tensor with '{tensor}', which no place of the image makes",
            )
        # One number for the whole input, such as the brightness of a photo.
        if found.code == "no-spatial-pool" and walk.is_pooled(tensor):
            what = f"which is made of the whole image at once: {found.message}"
            raise walk.refuse("side-input", node, f"it joins the pooled tensor with '{tensor}', {what}")
        raise HeadRefused(found)
    return found


@rule("Sum", "Mean")
def lift_sum(node: gs.Node, walk: Lifting) -> Lifted:
    """Several pooled tensors added, or averaged, cell by cell."""
    lifted = align(node, walk, [walk.lift(tensor.name) for tensor in node.inputs])
    out = walk.shape(walk.output)
    if len({aligned_batch(part, out) for part in lifted}) > 1 and lifted[0].batch > 1:
        raise walk.refuse("spatial-mixing-after-pool", node, "its operands have their batch in axes that differ")
    lifted = [widened(node, walk, part, out) for part in lifted]
    name = walk.build.node(node.op, [part.name for part in lifted])
    detail = f"{node.op.lower()} of {len(lifted)} pooled tensors"
    return walk.result(node, name, lifted, "affine", detail, batch_axis=aligned_batch(lifted[0], out))


@rule("Concat")
def lift_concat(node: gs.Node, walk: Lifting) -> Lifted:
    """Channels of several lifts side by side."""
    return lift_concat_along(node, walk, int(node.attrs["axis"]))


def lift_concat_along(node: gs.Node, walk: Lifting, axis: int) -> Lifted:
    """Several pooled tensors one behind the other along an axis."""
    names = [str(tensor.name) for tensor in node.inputs]
    moving = [name for name in names if not walk.is_fixed(name)] or names
    lifted = lift_beside(node, walk, moving)  # the bins of a pyramid, flattened, are channels of one grid
    if lifted is None:
        # A second input is one wherever it stands; where nothing is pooled at all, the first operand says why.
        known = any(not isinstance(walk.try_lift(name), Refusal) for name in moving)
        first = lift_companion(node, walk, moving[0]) if known else walk.lift(moving[0])
        lifted = [first, *(lift_companion(node, walk, name) for name in moving[1:])]
    found = dict(zip(moving, align(node, walk, lifted), strict=False))
    first = found[moving[0]]
    parts = [found[name] if name in found else _fixed_beside(walk, name, first) for name in names]
    join = side_by_side(node, walk, parts, axis)
    detail = f"{len(parts)} pooled tensors side by side"
    name = join.laid(walk, [part.name for part in join.parts])
    return walk.result(node, name, list(join.parts), "affine", detail, batch_axis=join.batch_axis)


def _fixed_beside(walk: Lifting, tensor: str, like: Lifted) -> Lifted:
    """A fixed tensor beside a lift: the same numbers in every cell of the lift's grid."""
    build, shape = walk.build, walk.shape(tensor)
    channels = math.prod(shape) // like.batch
    extents = build.node("Shape", [like.name])
    ends = [build.node("Gather", [extents, build.ints(axes)], axis=0) for axes in ([0], [2, 3])]
    size = build.node("Concat", [ends[0], build.ints([channels]), ends[1]], axis=0)
    name = build.node("Expand", [walk.per_cell(tensor, shape, like.batch_axis, shape=shape), size])
    return replace(like, name=name, channels=channels, shape=shape, rounding=None, quantization=None)


@dataclass(frozen=True)
class SideBySide:
    """Several pooled tensors one behind the other along an axis.

    Attributes:
        parts: their lifts.
        order: for each channel of the result its number among theirs, one part behind the other; None if the same.
        batch_axis: of the result.
    """

    parts: tuple[Lifted, ...]
    order: tuple[int, ...] | None
    batch_axis: int | None

    def laid(self, walk: Lifting, tensors: list[str]) -> str:
        """Tensors (N, C, ...) of the parts as one."""
        name = walk.build.node("Concat", tensors, axis=1)
        # Joined behind another axis of extent, the channels interleave.
        return name if self.order is None else walk.build.node("Gather", [name, walk.build.ints(self.order)], axis=1)

    @property
    def rounding(self) -> np.ndarray:
        """How far rounding moves each channel at most, as far as the parts tell."""
        before = [np.zeros(part.channels) if part.rounding is None else part.rounding for part in self.parts]
        known = np.concatenate(before)
        return known if self.order is None else known[list(self.order)]


def side_by_side(node: gs.Node, walk: Lifting, parts: list[Lifted], axis: int) -> SideBySide:
    """How lifts of one grid are joined along an axis of their pooled tensors.

    Raises:
        HeadRefused: it is the batch's.
    """
    first = parts[0]
    axis %= len(first.shape)
    if first.batch == 1 and any(part.batch_axis == axis for part in parts):
        # With a fixed batch of 1 an axis of extent 1 that grows is no batch: members of an ensemble are stacked.
        parts = [replace(part, batch_axis=None) for part in parts]
        first = parts[0]
    if any(part.batch_axis == axis for part in parts):
        raise walk.refuse("spatial-mixing-after-pool", node, "it joins along the batch")
    offsets = np.cumsum([0, *(part.channels for part in parts)])
    total = int(offsets[-1])
    places = np.concatenate(
        [
            part.index() % part.channels + offset + part.index() // part.channels * total
            for part, offset in zip(parts, offsets[:-1], strict=True)
        ],
        axis=axis,
    )
    batch_axis = first.batch_axis
    rows = places if batch_axis is None else np.moveaxis(places, batch_axis, 0).reshape(first.batch, -1)
    channels = rows.reshape(first.batch if batch_axis is not None else 1, -1)[0] % total
    order = None if np.array_equal(channels, np.arange(total)) else tuple(channels.tolist())
    return SideBySide(tuple(parts), order, batch_axis)
