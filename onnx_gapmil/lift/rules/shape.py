"""Rules that only move, drop or choose elements: decided by the traced shapes, never by the spelling."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.ancestry import places_are_lost
from onnx_gapmil.lift.frames import split_frames
from onnx_gapmil.lift.lifted import MERGED
from onnx_gapmil.lift.rules.pools import end_at_pool
from onnx_gapmil.lift.rules.tiles import tiles_apart
from onnx_gapmil.lift.table import rule
from onnx_gapmil.lift.verdict import HeadRefused, Refusal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

_NOT_POOLED = frozenset({"no-spatial-pool", "learned-tokens", "unknown-operator", "head-too-deep"})


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def lift_reshape(node: gs.Node, walk: Lifting) -> Lifted:
    """Row-major order stays, so the lift passes through; only where the batch ends up must be known."""
    lifted = _lift_or_flatten_head(node, walk)
    places = lifted.index().reshape(walk.shape(walk.output))
    # (N * frames, C) of a clip, whose frames were pooled like photos, as (N, frames, C).
    if places.shape[0] != lifted.batch and (found := split_frames(walk, lifted, places)) is not None:
        lifted, places = found
    # Windows of an image, (N * windows, C), as (N, windows, C).
    elif places.shape[0] != lifted.batch:
        return _choose(node, walk, lifted, places)
    return select(node, walk, lifted, places)


@rule("Identity")
def lift_identity(node: gs.Node, walk: Lifting) -> Lifted:
    """``t`` itself."""
    # MXNet writes its Dropout as Identity, paddle2onnx puts one before each output.
    lifted = _lift_any(node, walk)
    return select(node, walk, lifted, lifted.index())


@rule("OptionalGetElement", "SequenceAt")
def lift_element(node: gs.Node, walk: Lifting) -> Lifted:
    """What was put into an Optional, or into a sequence at a fixed place."""
    data = node.inputs[0].name
    maker = walk.graph.producer(data)
    if maker is not None and maker.op in ("Optional", "SequenceConstruct"):
        place = walk.value(node.inputs[1].name) if node.op == "SequenceAt" else np.zeros(1, np.int64)
        if place is None or not -len(maker.inputs) <= int(place.reshape(-1)[0]) < len(maker.inputs):
            raise walk.refuse("unknown-operator", node, "which element it takes is not fixed")
        data = maker.inputs[int(place.reshape(-1)[0])].name
    lifted = walk.lift(data)
    return select(node, walk, lifted, lifted.index())


@rule("Dropout")
def lift_dropout(node: gs.Node, walk: Lifting) -> Lifted:
    """The identity in inference; a head in training mode is random and refused."""
    # training_mode, an input from operator set 12; the older Dropouts of the Caffe2 zoo have none.
    if len(node.inputs) > 2 and node.inputs[2].name:
        training = walk.value(node.inputs[2].name)
        ratio = walk.value(node.inputs[1].name) if node.inputs[1].name else None
        drops = ratio is None or bool(np.any(ratio))  # left out, it is a half
        if (training is None or bool(np.any(training))) and drops:
            raise walk.refuse("random-head", node, "its training_mode is on, so the logits are random")
    lifted = walk.lift(node.inputs[0].name)
    return select(node, walk, lifted, lifted.index())


@rule("Transpose")
def lift_transpose(node: gs.Node, walk: Lifting) -> Lifted:
    """Axes move; the lift's channels are reordered if more than one of them has extent."""
    lifted = walk.lift(node.inputs[0].name)
    return select(node, walk, lifted, np.transpose(lifted.index(), node.attrs.get("perm")))


@rule("Gather", "GatherND", "GatherElements", "Slice", "Expand", "Tile", "DepthToSpace", "SpaceToDepth")
def lift_selection(node: gs.Node, walk: Lifting) -> Lifted:
    """Chooses elements: run the operator on their numbers and see which ones it takes."""
    # What they choose: all channels (dynamo's channels-last residue, Gather by arange), classes in another order or
    # fewer (GatherND by dynamo, Slice), or a norm repeated for each channel (Expand in a cosine head).
    total = _total(node, walk)
    if total is not None:
        return total
    if walk.is_fixed(node.inputs[0].name) and any(not walk.is_fixed(read.name) for read in node.inputs[1:]):
        # Vector quantization: the nearest entry of a code book.
        raise walk.refuse("unknown-operator", node, "it looks up a constant where the image decides")
    lifted = _lift_or_class_token(node, walk)
    return _choose(node, walk, lifted, _run_on_index(node, walk, lifted))


def _choose(node: gs.Node, walk: Lifting, lifted: Lifted, places: np.ndarray) -> Lifted:
    """`select`, where what is chosen may be windows of each image out of a batch of them."""
    found = None
    if places.ndim and lifted.batch_axis == 0 and places.shape[0] != lifted.batch:
        found = tiles_apart(node, walk, lifted, places)
    if found is None:
        return select(node, walk, lifted, places)
    made = select(node, walk, *found)
    return replace(made, step=replace(made.step, detail="windows of each image apart, their cells where they look"))


def _total(node: gs.Node, walk: Lifting) -> Lifted | None:
    """The last element of a running sum over places is their sum: a pool. None for all else that is taken."""
    running = walk.graph.producer(node.inputs[0].name)
    if running is None or running.op != "CumSum" or running.attrs.get("exclusive", 0):
        return None
    data, order = running.inputs[0].name, walk.value(running.inputs[1].name)
    shape = walk.shape(data)
    if order is None:
        return None
    axis = int(order.reshape(-1)[0]) % len(shape)
    if not walk.holds_places(data, axis):
        return None
    index = np.arange(math.prod(shape)).reshape(shape)
    taken = walk.run_node(node, {node.inputs[0].name: index})[0]
    whole = np.take(index, 0 if running.attrs.get("reverse", 0) else -1, axis=axis)
    if taken.size != whole.size or (taken.reshape(-1) != whole.reshape(-1)).any():
        return None
    return end_at_pool(node, walk, data, (axis,), "sum over all positions, the last of a running sum", summed=True)


@rule("Split")
def lift_split(node: gs.Node, walk: Lifting) -> Lifted:
    """One part of the channels: the selection that this output is."""
    lifted = _lift_or_class_token(node, walk)
    axis = int(node.attrs.get("axis", 0)) % len(lifted.shape)
    start = 0
    for tensor in node.outputs:
        extent = walk.shape(tensor.name)[axis]
        if tensor.name == walk.output:
            break
        start += extent
    return _choose(node, walk, lifted, np.take(lifted.index(), np.arange(start, start + extent), axis=axis))


def select(node: gs.Node, walk: Lifting, lifted: Lifted, places: np.ndarray) -> Lifted:
    """The lift of a tensor whose elements are elements of another pooled tensor.

    Args:
        node: the operator.
        walk: the walk.
        lifted: lift of the tensor that elements are taken from.
        places: for each element of the output, its place in that tensor as `Lifted.index` numbers them.
    """
    batch_axis, channels = split_batch(node, walk, lifted, places)
    if np.array_equal(channels, np.arange(lifted.channels)):
        name, detail = lifted.name, "only the shape changes"
    else:
        name = walk.build.node("Gather", [lifted.name, walk.build.ints(channels.tolist())], axis=1)
        kept = len(channels)
        reordered = kept == lifted.channels
        detail = f"reorders {kept} channels" if reordered else f"takes {kept} of {lifted.channels} channels"
    rounding = None if lifted.rounding is None else lifted.rounding[channels]
    return walk.result(node, name, [lifted], "shape", detail, batch_axis=batch_axis, rounding=rounding)


def split_batch(node: gs.Node, walk: Lifting, lifted: Lifted, places: np.ndarray) -> tuple[int | None, np.ndarray]:
    """Which axis of an output is the batch, and which channels each of its rows takes.

    Args:
        node: the operator that makes it.
        walk: the walk.
        lifted: lift of the tensor that elements are taken from.
        places: for each element of the output, its place in that tensor as `Lifted.index` numbers them.
    """
    batch, total = lifted.batch, lifted.channels
    # A batch fixed at 1 cannot be followed, and any axis of that length is as good; Squeeze without axes drops it.
    if batch == 1:
        axis = next((place for place, dim in enumerate(places.shape) if dim == 1), None)
        return axis, places.reshape(-1)
    for axis in range(places.ndim):
        if places.shape[axis] != batch:
            continue
        rows = np.moveaxis(places, axis, 0).reshape(batch, -1)
        if np.array_equal(rows // total, np.broadcast_to(np.arange(batch)[:, None], rows.shape)):
            channels = rows % total
            if (channels == channels[0]).all():
                return axis, channels[0]
    # Reshape([-1]) before dynamo's Gather: all images' channels in one row.
    if places.ndim == 1 and places.size % batch == 0:
        rows = places.reshape(batch, -1)
        if (rows == rows[0] + total * np.arange(batch)[:, None]).all() and (rows[0] < total).all():
            return MERGED, rows[0]
    raise walk.refuse("spatial-mixing-after-pool", node, "it mixes elements of different images of the batch")


def _lift_any(node: gs.Node, walk: Lifting) -> Lifted:
    """Lift the first input, even if its batch and channels are one axis just now."""
    found = walk.try_lift(node.inputs[0].name)
    if isinstance(found, Refusal):
        raise HeadRefused(found)
    return found


def _run_on_index(node: gs.Node, walk: Lifting, lifted: Lifted) -> np.ndarray:
    try:
        return walk.run_node(node, {node.inputs[0].name: lifted.index()})[0]
    except ModelError as error:
        raise walk.refuse("unknown-operator", node, f"which elements it takes could not be found: {error}") from error


def _lift_or_flatten_head(node: gs.Node, walk: Lifting) -> Lifted:
    """Lift the input; if it is an unpooled map that this operator flattens, say so."""
    found = walk.try_lift(node.inputs[0].name)
    if not isinstance(found, Refusal):
        return found
    before, after = walk.shape(node.inputs[0].name), walk.shape(node.outputs[0].name)
    wide = [dim for dim in before[1:] if dim != 1]
    merged = len([dim for dim in after[1:] if dim != 1]) <= 1
    maker = walk.graph.producer(walk.graph.behind(node.inputs[0].name))
    while maker is not None and maker.op in ("Cast", "DequantizeLinear", "QuantizeLinear"):
        maker = walk.graph.producer(walk.graph.behind(maker.inputs[0].name))
    # A window that leaves several positions is an operator of the trunk like any other, once they are flattened.
    window = found.code == "partial-pool" and maker is not None and maker.op in ("AveragePool", "QLinearAveragePool")
    unpooled = found.code in _NOT_POOLED or window
    lost = unpooled and (places_are_lost(walk, node.inputs[0].name) or walk.is_pooled(node.inputs[0].name))
    if unpooled and len(before) >= 3 and len(wide) >= 2 and merged and not lost:
        size = "x".join(str(dim) for dim in before[1:])
        raise walk.refuse(
            "flatten-head",
            node,
            f"it flattens a {size} map that no pool has averaged; the next layer has own weights for every position",
        )
    raise HeadRefused(found)


def _lift_or_class_token(node: gs.Node, walk: Lifting) -> Lifted:
    """Lift the input; if it is a sequence of tokens of which this operator takes one, say so."""
    found = walk.try_lift(node.inputs[0].name)
    if not isinstance(found, Refusal):
        return found
    before, after = walk.shape(node.inputs[0].name), walk.shape(walk.output)
    # ViT by PyTorch's legacy exporter: Gather(axis=1, index 0); CvT by dynamo: Split.
    if len(before) == 3 and before[1] > 1 and math.prod(after) * before[1] == math.prod(before):
        raise walk.refuse(
            "class-token", node, f"it takes one of {before[1]} tokens (the class token) and drops the others"
        )
    raise HeadRefused(found)
