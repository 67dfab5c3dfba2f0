"""The classes of an output: what stands behind the final activation may drop them, or put them in another order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.rules.shape import split_batch
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
        "Cast", "DequantizeLinear", "Dropout", "Hardmax", "Identity", "LogSoftmax", "Normalizer", "QLinearSigmoid",
        "QLinearSoftmax", "QuantizeLinear", "Sigmoid", "Softmax",
    }
)  # fmt: skip
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
        against: channel whose logit is subtracted: of two classes under a softmax one alone has the logit ``z1 - z0``.
        output: the tensor whose classes these are.
    """

    channels: tuple[int, ...]
    total: int
    against: int | None
    output: str


def find_order(walk: Lifting, logits: Logits, lifted: Lifted) -> ClassOrder | None:
    """Follow the classes from the logits to the output; None if they are all there, in the same order.

    Where scores end and labels begin (ArgMax, TopK, a map), the classes are those before.

    Args:
        walk: the walk.
        logits: where the logits are.
        lifted: their lift.

    Raises:
        HeadRefused: the images of a batch are mixed, no class is left, or one of several classes under a softmax is
            left: its probability is no function of its own logit.
    """
    numbers = {logits.tensor: lifted.index()}
    last = logits.tensor
    for tensor in logits.path:
        if not _follow(walk, tensor, numbers):
            break
        last = tensor
    node = walk.graph.producer(last)
    if last == logits.tensor or node is None:
        return None
    _, channels = split_batch(node, walk, lifted, numbers[last])
    if np.array_equal(channels, np.arange(lifted.channels)):
        return None
    found = ClassOrder(tuple(channels.tolist()), lifted.channels, None, last)
    if not found.channels:
        raise walk.refuse("not-a-classifier", node, "it leaves no class")
    if logits.activation != "softmax" or len(found.channels) > 1:
        return found
    if lifted.channels > 2:
        message = f"it leaves one of {lifted.channels} classes, whose share by the softmax is no function of its logit"
        raise walk.refuse("not-a-classifier", node, message)
    return replace(found, against=1 - found.channels[0])


def in_order(walk: Lifting, lifted: Lifted, order: ClassOrder) -> Lifted:
    """The lift of an output's classes, from that of the logits."""
    name = order_classes(walk.build, lifted.name, order)
    count = len(order.channels)
    node = walk.graph.producer(order.output)
    detail = f"takes {count} of {order.total} classes" if count != order.total else f"reorders {count} classes"
    if order.against is not None:
        detail = "takes one of two classes: its logit against the other's"
    shape = (lifted.batch, count)
    operator, title = ("", "") if node is None else (walk.operator(node), node.name or "")
    step = LiftStep(operator, title, order.output, shape, "shape", False, detail)
    rounding = None
    if lifted.rounding is not None:
        rounding = lifted.rounding[list(order.channels)]
        rounding = rounding if order.against is None else rounding + lifted.rounding[[order.against]]
    made = replace(lifted, name=name, channels=count, shape=shape, batch_axis=0, step=step)
    return replace(made, rounding=rounding, quantization=None)


def order_classes(build: GraphBuilder, scores: str, order: ClassOrder) -> str:
    """The classes of an output, from a tensor that has the logits' channels in axis 1."""
    chosen = build.node("Gather", [scores, build.ints(list(order.channels))], axis=1)
    if order.against is None:
        return chosen
    return build.node("Sub", [chosen, build.node("Gather", [scores, build.ints([order.against])], axis=1)])


def _follow(walk: Lifting, tensor: str, numbers: dict[str, np.ndarray]) -> bool:
    """Find which logit each element of a tensor is; False where its elements are no logits any more."""
    if tensor in numbers:
        return True
    node = walk.graph.producer(tensor)
    if node is None or node.op not in _KEEPING | _CHOOSING or not node.inputs or walk.is_fixed(node.inputs[0].name):
        return False
    moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
    if not all(_follow(walk, name, numbers) for name in moving):
        return False
    if node.op in _KEEPING:
        numbers[tensor] = numbers[moving[0]]
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
