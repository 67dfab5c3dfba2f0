r"""Outputs put together from several probabilities: each class by its own log-odds, so that a sigmoid gives its share.

Several tasks' softmaxes packed into one output, one class of many, ``[1 - p, p]``, a mixture of softmaxes and sigmoids,
products along a hierarchy of classes: there is no one vector of logits whose softmax they are, but each class has its
log-odds::

    o_k = log p_k / (1 - p_k) = z_k - \log \sum_{j \ne k} e^{z_j}

over the classes j of its own softmax; of a sigmoid it is the logit. With the shares q_j of the others kept at their
pooled values, the lift is ``lift(z_k) - (log sum_j e^{z_j} + sum_j q_j (lift(z_j) - z_j))``, whose mean is o_k. Of two
classes there is one other, and that is affine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.joining import align
from onnx_gapmil.lift.log_odds import log_odds
from onnx_gapmil.lift.logits import Logits
from onnx_gapmil.lift.monotone import MONOTONE, direction, moving_operand
from onnx_gapmil.lift.rules.reductions import reduced_axes, softmax_axes
from onnx_gapmil.lift.rules.shape import split_batch
from onnx_gapmil.lift.spelled import Spelled, spelled_activation
from onnx_gapmil.lift.verdict import LiftStep

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

_MOVING = frozenset(
    {
        "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape", "Slice", "Split", "Squeeze",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_MAX_DEPTH = 60


@dataclass(frozen=True)
class Composed:
    """What the classes of an output are, as new logits.

    Attributes:
        logits: where they are: a new tensor (N, K).
        lifted: their lift.
        of_softmax: whether a softmax is among what it is put together from.
    """

    logits: Logits
    lifted: Lifted
    of_softmax: bool


@dataclass(frozen=True)
class _Part:
    """Probabilities, by a rising function of them.

    Attributes:
        scores: tensor (N, C) of it.
        lifted: its lift, (N, C).
        numbers: for each element of the vendor's tensor its place ``n * C + c``.
        scale: their log-odds, or their logarithms.
    """

    scores: str
    lifted: Lifted
    numbers: np.ndarray
    scale: Literal["odds", "log"]


def compose(walk: Lifting, output: str) -> Composed | None:
    """The classes of an output that is put together from probabilities; None if it is not.

    Raises:
        HeadRefused: the logits of one of them have no lift.
    """
    tail: list[str] = []
    search = _Search(walk, tail)
    part = search.part(output)
    node = walk.graph.producer(output)
    if part is None or node is None:
        return None
    _, channels = split_batch(node, walk, part.lifted, part.numbers)
    part = _chosen(walk, part, channels)
    activation: Literal["sigmoid", "none"] = "sigmoid" if part.scale == "odds" and not search.twice else "none"
    detail = "each class by the logarithm of its probability"
    if part.scale == "odds":
        kept = ", the other classes' shares kept at their pooled values" if part.lifted.conditional else ""
        detail = f"each class by its log-odds{kept}"
    shape = (part.lifted.batch, part.lifted.channels)
    step = LiftStep(walk.operator(node), node.name or "", output, shape, "norm", part.lifted.step.conditional, detail)
    lifted = replace(part.lifted, step=step)
    found = Logits(output, part.scores, activation, tuple(dict.fromkeys(reversed(tail))))
    return Composed(found, lifted, search.of_softmax)


class _Search:
    """The way back from an output to the probabilities that it is put together from.

    Args:
        walk: the walk.
        tail: is told the operators on it.
    """

    def __init__(self, walk: Lifting, tail: list[str]) -> None:
        self._walk, self._tail = walk, tail
        self._known: dict[tuple[str, bool], _Part | None] = {}
        self.of_softmax = self.twice = False

    def part(self, tensor: str, depth: int = 0, *, joined: bool = False) -> _Part | None:
        """The probabilities that a tensor holds, by a rising function; None if it holds something else.

        Args:
            tensor: the tensor.
            depth: of the search.
            joined: it stands beside others or is a factor, so that it must hold the probabilities themselves.
        """
        key = (tensor, joined)
        if key not in self._known:
            self._known[key] = _part(self, self._walk, tensor, self._tail, depth, joined)
        return self._known[key]


def _part(search: _Search, walk: Lifting, tensor: str, tail: list[str], depth: int, joined: bool) -> _Part | None:
    node = walk.graph.producer(tensor)
    if node is None or depth > _MAX_DEPTH:
        return None
    tail.append(str(node.op))
    spelled = spelled_activation(walk.graph, node)
    if node.op == "Sigmoid" and not joined:
        # A sigmoid of what a softmax over groups of classes made, in a file that turns scores into shares twice.
        within = search.part(node.inputs[0].name, depth + 1)
        if within is not None:
            search.twice = True
            return within
    if node.op in ("Sigmoid", "Softmax") or spelled is not None:
        search.of_softmax |= node.op == "Softmax" or (spelled is not None and spelled.activation == "softmax")
        return _of_activation(node, walk, spelled)
    moving = [read.name for read in node.inputs if read.name and not walk.is_fixed(read.name)]
    if node.op == "Concat":
        several = joined or len(moving) > 1
        parts = [search.part(name, depth + 1, joined=several) for name in moving]
        found = [part for part in parts if part is not None]
        if len(found) != len(node.inputs):
            return None
        return found[0] if len(found) == 1 else _side_by_side(node, walk, found)
    if node.op == "Mul" and len(set(moving)) == 2:
        one, two = (search.part(name, depth + 1, joined=True) for name in moving)
        return None if one is None or two is None else _product(node, walk, one, two, tensor)
    if len(set(moving)) != 1:
        return None
    if node.op in MONOTONE:
        sign = direction(walk.graph, node)
        source = moving_operand(walk.graph, node)
        if joined and not _is_probability(walk, node):
            return None
        part = search.part(source, depth + 1, joined=joined) if sign and source is not None else None
        return None if part is None else _turned(walk, part, sign)
    if node.op not in _MOVING:
        return None
    part = search.part(moving[0], depth + 1, joined=joined)
    if part is None:
        return None
    try:
        numbers = _part_of_split(walk, node, tensor, part.numbers) if node.op == "Split" else None
        moved = walk.run_node(node, {moving[0]: part.numbers})[0] if numbers is None else numbers
    except ModelError:
        return None
    return replace(part, numbers=moved)


def _is_probability(walk: Lifting, node: gs.Node) -> bool:
    """Whether a monotone function of a probability p gives p itself, clipped perhaps, or ``1 - p``.

    Of one vector of scores the ranking is kept by any; beside others, or as a factor, a multiple of p is another thing.
    """
    if node.op in ("Cast", "Clip", "Identity"):
        return True
    if node.op != "Sub" or node.inputs[0].name not in walk.graph.constants:
        return False
    one = walk.graph.value(node.inputs[0].name)
    return one is not None and bool((one == 1).all())


def _of_activation(node: gs.Node, walk: Lifting, spelled: Spelled | None) -> _Part:
    """A sigmoid's logits as they are; a softmax's classes by their log-odds."""
    source = node.inputs[0].name if spelled is None else spelled.scores
    lifted = walk.lift(source)
    if lifted.quantization is not None or lifted.batch_axis is None or lifted.batch_axis < 0:
        raise walk.refuse("quantized-nonuniform", node, "its logits are integers, or have no batch of their own")
    build, flat = walk.build, source
    if lifted.batch_axis > 0:
        order = [lifted.batch_axis, *(axis for axis in range(len(lifted.shape)) if axis != lifted.batch_axis)]
        flat = build.node("Transpose", [flat], perm=order)
    flat = build.reshape(flat, [-1, lifted.channels])
    rows = replace(lifted, shape=(lifted.batch, lifted.channels), batch_axis=0, parents=(source,), rounding=None)
    if node.op == "Sigmoid" or (spelled is not None and spelled.activation == "sigmoid"):
        step = replace(lifted.step, conditional=False)
        return _Part(flat, replace(rows, step=step), lifted.index(), "odds")
    reducing = spelled.reducing if spelled is not None else None
    axes = softmax_axes(node, walk, lifted.shape) if reducing is None else reduced_axes(reducing, walk)
    if lifted.batch_axis in axes:
        raise walk.refuse("spatial-mixing-after-pool", node, "it is a softmax over the images of a batch")
    if not axes:
        raise walk.refuse("not-a-classifier", node, "it is a softmax of one number, which is 1 for every image")
    scores, made = log_odds(walk, flat, rows, lifted.index(), axes)
    return _Part(scores, made, lifted.index(), "odds")


def _chosen(walk: Lifting, part: _Part, channels: np.ndarray) -> _Part:
    """Some of the elements, in an order."""
    if np.array_equal(channels, np.arange(part.lifted.channels)):
        return replace(part, numbers=part.lifted.index())
    build, picks = walk.build, walk.build.ints(channels.tolist())
    grid = build.node("Gather", [part.lifted.name, picks], axis=1)
    scores = build.node("Gather", [part.scores, picks], axis=1)
    count = len(channels)
    lifted = replace(part.lifted, name=grid, channels=count, shape=(part.lifted.batch, count))
    return replace(part, scores=scores, lifted=lifted, numbers=lifted.index())


def _turned(walk: Lifting, part: _Part, sign: int) -> _Part | None:
    """What a monotone function makes of probabilities: the same, or ``1 - p`` and the like."""
    if sign > 0:
        return part
    if part.scale == "log":
        return None
    name = walk.build.node("Neg", [part.lifted.name])
    return replace(part, scores=walk.build.node("Neg", [part.scores]), lifted=replace(part.lifted, name=name))


def _joined(walk: Lifting, node: gs.Node, parts: list[_Part]) -> list[_Part]:
    """Parts on one grid."""
    lifts = align(node, walk, [part.lifted for part in parts])
    return [replace(part, lifted=lifted) for part, lifted in zip(parts, lifts, strict=True)]


def _one_of(walk: Lifting, node: gs.Node, parts: list[_Part], name: str, channels: int) -> Lifted:
    """The lift that is made of several parts'."""
    first = parts[0].lifted
    bent = any(part.lifted.step.conditional for part in parts)
    return replace(
        first,
        name=name,
        channels=channels,
        shape=(first.batch, channels),
        features=walk.merge_features(node, [part.lifted for part in parts]),
        conditional=any(part.lifted.conditional for part in parts),
        step=replace(first.step, conditional=bent),
        parents=tuple(dict.fromkeys(parent for part in parts for parent in part.lifted.parents)),
    )


def _side_by_side(node: gs.Node, walk: Lifting, parts: list[_Part]) -> _Part | None:
    """A Concat of probabilities."""
    if len({part.scale for part in parts}) > 1:
        parts = [_logarithms(walk, part) for part in parts]
    parts = _joined(walk, node, parts)
    offsets = np.cumsum([0, *(part.lifted.channels for part in parts)])
    total = int(offsets[-1])
    numbers = [
        part.numbers // part.lifted.channels * total + part.numbers % part.lifted.channels + offset
        for part, offset in zip(parts, offsets[:-1], strict=True)
    ]
    axis = int(node.attrs["axis"]) % numbers[0].ndim
    build = walk.build
    scores = build.node("Concat", [part.scores for part in parts], axis=1)
    grid = build.node("Concat", [part.lifted.name for part in parts], axis=1)
    lifted = _one_of(walk, node, parts, grid, total)
    return _Part(scores, lifted, np.concatenate(numbers, axis=axis), parts[0].scale)


def _product(node: gs.Node, walk: Lifting, one: _Part, two: _Part, tensor: str) -> _Part | None:
    """A product of probabilities, such as that of a class and of the group that it belongs to."""
    out = walk.shape(tensor)
    parts = []
    for part in _joined(walk, node, [_logarithms(walk, one), _logarithms(walk, two)]):
        _, channels = split_batch(node, walk, part.lifted, np.broadcast_to(part.numbers, out))
        parts.append(_chosen(walk, part, channels))
    build = walk.build
    scores = build.node("Add", [part.scores for part in parts])
    grid = build.node("Add", [part.lifted.name for part in parts])
    count = parts[0].lifted.channels
    lifted = _one_of(walk, node, parts, grid, count)
    axis = next((place for place, dim in enumerate(out) if dim == lifted.batch), 0)
    inner = [dim for place, dim in enumerate(out) if place != axis]
    numbers = np.moveaxis(np.arange(lifted.batch * count).reshape(lifted.batch, *inner), 0, axis)
    return _Part(scores, lifted, numbers, "log")


def _logarithms(walk: Lifting, part: _Part) -> _Part:
    """``log p = -softplus(-o)`` of log-odds, by its slope at the pooled value."""
    if part.scale == "log":
        return part
    build = walk.build

    def log_p(odds: str) -> str:
        return build.node("Neg", [build.node("Softplus", [build.node("Neg", [odds])])])

    value = pooled_value(walk, part.lifted)
    slope = build.node("Sigmoid", [build.node("Neg", [value])])
    moved = build.node("Mul", [slope, build.node("Sub", [part.lifted.name, value])])
    grid = build.node("Add", [moved, log_p(value)])
    step = replace(part.lifted.step, conditional=True)
    lifted = replace(part.lifted, name=grid, conditional=True, step=step)
    return replace(part, scores=log_p(part.scores), lifted=lifted, scale="log")


def _part_of_split(walk: Lifting, node: gs.Node, tensor: str, whole: np.ndarray) -> np.ndarray:
    """One output of a Split."""
    axis = int(node.attrs.get("axis", 0)) % whole.ndim
    sizes = [walk.shape(made.name)[axis] for made in node.outputs]
    place = [made.name for made in node.outputs].index(tensor)
    start = sum(sizes[:place])
    return np.take(whole, np.arange(start, start + sizes[place]), axis=axis)
