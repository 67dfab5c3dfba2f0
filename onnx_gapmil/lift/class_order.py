"""The classes of an output: what stands behind the final activation may drop them, or put them in another order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.monotone import MONOTONE
from onnx_gapmil.lift.rules.reductions import reduced_axes, softmax_axes
from onnx_gapmil.lift.rules.shape import split_batch
from onnx_gapmil.lift.spelled import spelled_activation
from onnx_gapmil.lift.verdict import LiftStep

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.lift.logits import Logits

#: Operators that keep every class where it is.
_KEEPING = frozenset(
    {
        "Cast", "CastLike", "DequantizeLinear", "Dropout", "Hardmax", "Identity", "LogSoftmax", "Normalizer",
        "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear", "Sigmoid", "Softmax",
    }
) | (MONOTONE - {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not"})  # fmt: skip
#: Operators that choose or move classes by fixed numbers.
_CHOOSING = frozenset(
    {
        "ArrayFeatureExtractor", "Compress", "Concat", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape",
        "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip


@dataclass(frozen=True)
class ClassOrder:
    """Which of the logits' channels the classes of an output are.

    Attributes:
        channels: for each class of the output, its channel among the logits.
        total: number of the logits.
        against: for each class the channel whose logit is subtracted: of two classes under a softmax one alone has the
            logit ``z1 - z0``; empty if none is.
        output: the tensor whose classes these are.
        negated: whether the output falls where its logit rises, as ``1 - p`` does, so that its class has the logit
            with the other sign.
        partial: whether the output's shares are of a softmax that has other classes too: these logits alone do not
            make them.
    """

    channels: tuple[int, ...]
    total: int
    against: tuple[int, ...]
    output: str
    negated: bool = False
    partial: bool = False


class SharesApart(Exception):  # noqa: N818 - an answer, not an error
    """Classes of softmaxes that their logits alone do not rank: parts of several, or one class of many.

    Attributes:
        channels: for each class of the output, its channel among the logits.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__("several softmaxes")
        self.channels = channels


def find_order(walk: Lifting, logits: Logits, lifted: Lifted) -> ClassOrder | None:
    """Follow the classes from the logits to the output; None if they are all there, in the same order.

    Where scores end and labels begin (ArgMax, TopK, a map), the classes are those before.

    Args:
        walk: the walk.
        logits: where the logits are.
        lifted: their lift.

    Raises:
        HeadRefused: the images of a batch are mixed, or no class is left.
        SharesApart: what the classes are under their softmaxes, their logits do not say.
    """
    last, channels = follow_classes(walk, logits, lifted)
    node = walk.graph.producer(last)
    if not channels:
        raise walk.refuse("not-a-classifier", node, "it leaves no class")
    against, partial = _against(walk, logits, lifted, channels) if logits.path else ((), False)
    _require_one_softmax(walk, logits, lifted, channels)
    if not against and logits.sign > 0 and channels == tuple(range(lifted.channels)):
        return None
    return ClassOrder(channels, lifted.channels, against, last, logits.sign < 0, partial)


def follow_classes(walk: Lifting, logits: Logits, lifted: Lifted) -> tuple[str, tuple[int, ...]]:
    """The last tensor of a tail that still has the classes, and which of the logits each of them is.

    Raises:
        HeadRefused: the images of a batch are mixed, or a class is put together from several.
    """
    numbers = {logits.tensor: lifted.index()}
    if logits.inside:
        numbers[logits.inside] = lifted.index()
    last = logits.tensor
    for tensor in logits.path:
        if tensor == logits.joint:
            numbers[tensor] = _of_member(walk, logits, numbers)
        elif not _follow(walk, tensor, numbers):
            break
        last = tensor
    else:
        tensor = ""
    stopped = walk.graph.producer(tensor) if tensor else None
    if stopped is not None and stopped.op == "ReduceMax" and math.prod(walk.shape(tensor)) > lifted.batch:
        raise walk.refuse("unknown-operator", stopped, "each of its classes is the largest of several probabilities")
    node = walk.graph.producer(last)
    if last == logits.tensor or node is None:
        return last, tuple(range(lifted.channels))
    _, channels = split_batch(node, walk, lifted, numbers[last])
    return last, tuple(channels.tolist())


def _of_member(walk: Lifting, logits: Logits, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """Which logit each class of an ensemble is of one of its members.

    Raises:
        HeadRefused: the member has its classes in another shape.
    """
    own, shape = numbers[logits.member], walk.shape(logits.joint)
    if logits.axis is not None:
        own = np.take(own, [logits.slot], axis=logits.axis)
    if math.prod(shape) != own.size:
        node = walk.graph.producer(logits.joint)
        raise walk.refuse("ensemble", node, f"its member '{logits.member}' has classes of another shape")
    return own.reshape(shape)


def _against(walk: Lifting, logits: Logits, lifted: Lifted, channels: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """The other class of each softmax of two of which one is left, and whether several of one softmax are left.

    The first is empty where the classes left are of one softmax; the second is true where that has others too.

    Raises:
        SharesApart: there are others.
    """
    node = walk.graph.producer(logits.path[0])
    spelled = spelled_activation(walk.graph, node) if node is not None else None
    reducing = spelled.reducing if spelled is not None else None
    known = ("Softmax", "LogSoftmax", "QLinearSoftmax", "Hardmax", "LinearClassifier")
    if node is None or (reducing is None and node.op not in known):
        return (), False
    if node.op == "LinearClassifier" and logits.activation != "softmax":
        return (), False
    # Which softmax each logit is under: those with the same place along the other axes.
    if reducing is not None:
        axes = reduced_axes(reducing, walk)
    else:
        axes = softmax_axes(node, walk, lifted.shape) if node.op != "LinearClassifier" else (1,)
    if lifted.batch_axis in axes:
        raise walk.refuse("spatial-mixing-after-pool", node, "it is a softmax over the images of a batch")
    index = lifted.index()
    first = np.broadcast_to(index.min(axis=axes, keepdims=True) if axes else index, index.shape)
    groups = np.zeros(lifted.batch * lifted.channels, np.int64)
    groups[index.ravel()] = first.ravel()
    own = groups[: lifted.channels]
    kept = own[list(channels)]
    if len(np.unique(kept)) == 1 and len(channels) > 1:
        return (), sorted(channels) != np.flatnonzero(own == kept[0]).tolist()
    sizes = {int(group): int((own == group).sum()) for group in np.unique(kept)}
    if any(size != 2 for size in sizes.values()) or len(sizes) != len(channels):
        raise SharesApart(channels)
    others = (np.flatnonzero((own == own[channel]) & (np.arange(len(own)) != channel))[0] for channel in channels)
    return tuple(int(other) for other in others), False


def _require_one_softmax(walk: Lifting, logits: Logits, lifted: Lifted, channels: tuple[int, ...]) -> None:
    """Of what is done to probabilities, a further softmax ranks classes only if it is over all of them.

    Raises:
        SharesApart: one is over groups of them.
    """
    numbers = {logits.tensor: lifted.index(), **({logits.inside: lifted.index()} if logits.inside else {})}
    for tensor in logits.path[1:]:
        node = walk.graph.producer(tensor)
        if node is None or logits.joint == tensor:
            return
        if node.op not in ("Softmax", "LogSoftmax") or not _follow(walk, node.inputs[0].name, numbers):
            continue
        found = numbers[node.inputs[0].name]
        axes = softmax_axes(node, walk, found.shape)
        groups = np.broadcast_to(found.min(axis=axes, keepdims=True) if axes else found, found.shape)
        if len(np.unique(groups[np.isin(found, channels)])) > 1:
            raise SharesApart(channels)


def in_order(walk: Lifting, lifted: Lifted, order: ClassOrder) -> Lifted:
    """The lift of an output's classes, from that of the logits."""
    name = order_classes(walk.build, lifted.name, order)
    count = len(order.channels)
    node = walk.graph.producer(order.output)
    detail = f"takes {count} of {order.total} classes" if count != order.total else f"reorders {count} classes"
    if order.against:
        detail = "takes one of two classes: its logit against the other's"
    elif order.negated and order.channels == tuple(range(order.total)):
        detail = "falls where its logits rise: their sign is changed"
    if order.partial:
        detail += ": logits only, since the output's probabilities are divided by all classes of the softmax"
    shape = (lifted.batch, count)
    operator, title = ("", "") if node is None else (walk.operator(node), node.name or "")
    step = LiftStep(operator, title, order.output, shape, "shape", False, detail)
    rounding = None
    if lifted.rounding is not None:
        rounding = lifted.rounding[list(order.channels)]
        rounding = rounding + lifted.rounding[list(order.against)] if order.against else rounding
    made = replace(lifted, name=name, channels=count, shape=shape, batch_axis=0, step=step)
    return replace(made, rounding=rounding, quantization=None)


def order_classes(build: GraphBuilder, scores: str, order: ClassOrder) -> str:
    """The classes of an output, from a tensor that has the logits' channels in axis 1."""
    chosen = scores
    if order.against or order.channels != tuple(range(order.total)):
        chosen = build.node("Gather", [scores, build.ints(list(order.channels))], axis=1)
    if order.against:
        chosen = build.node("Sub", [chosen, build.node("Gather", [scores, build.ints(list(order.against))], axis=1)])
    return build.node("Neg", [chosen]) if order.negated else chosen


def _follow(walk: Lifting, tensor: str, numbers: dict[str, np.ndarray]) -> bool:
    """Find which logit each element of a tensor is; False where its elements are no logits any more."""
    if tensor in numbers:
        return True
    node = walk.graph.producer(tensor)
    spelled = spelled_activation(walk.graph, node) if node is not None else None
    if spelled is not None and _follow(walk, spelled.scores, numbers):
        numbers[tensor] = numbers[spelled.scores]
        return True
    if node is None or node.op not in _KEEPING | _CHOOSING or not node.inputs:
        return False
    moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
    if not moving or not all(_follow(walk, name, numbers) for name in moving):
        return False
    if node.op in _KEEPING:
        numbers[tensor] = np.broadcast_to(numbers[moving[0]], walk.shape(tensor))
        return True
    if node.op == "Split":
        numbers[tensor] = _part(walk, node, tensor, numbers[moving[0]])
        return True
    try:
        numbers[tensor] = walk.run_node(node, {name: numbers[name] for name in moving})[0]
    except ModelError as error:
        raise walk.refuse("unknown-operator", node, f"which classes it takes could not be found: {error}") from error
    return True


def _part(walk: Lifting, node: gs.Node, tensor: str, whole: np.ndarray) -> np.ndarray:
    """One part of a Split."""
    axis = int(node.attrs.get("axis", 0)) % whole.ndim
    start = 0
    for made in node.outputs:
        extent = walk.shape(made.name)[axis]
        if made.name == tensor:
            break
        start += extent
    return np.take(whole, np.arange(start, start + extent), axis=axis)
