"""Find the logits: the last tensor before a final Softmax, Sigmoid, ArgMax or the like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from onnx_gapmil.lift.linear_classifier import read_linear_classifier
from onnx_gapmil.lift.monotone import MONOTONE, direction, moving_operand
from onnx_gapmil.lift.spelled import spelled_activation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph

#: What turns logits into scores for people.
Activation = Literal["softmax", "sigmoid", "none"]

_FINAL: dict[str, Activation] = {
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    # Densities and kernels, whose logarithms are what is linear; and a LogSoftmax that is turned back.
    "Exp": "none",
    "ArgMax": "none",
    "Hardmax": "none",
    "TopK": "none",
    # ONNX Runtime's static quantizer, in the form of operators.
    "QLinearSoftmax": "softmax",
    "QLinearSigmoid": "sigmoid",
}
#: What activations make of logits, of logarithms of shares, and of shares: twice activated, where it is not told.
_STEPS: dict[str, dict[str, str]] = {
    "Softmax": {"logits": "shares", "logarithms": "shares"},
    "LogSoftmax": {"logits": "logarithms", "logarithms": "logarithms"},
    "Sigmoid": {"logits": "shares"},
    "Exp": {"logits": "grown", "logarithms": "shares"},
}
#: What may follow a final activation without saying anything new about the classes: shapes, an Identity (paddle2onnx
#: ends in one), a Dropout that drops nothing, a pair of Q and DQ, and the operators of ai.onnx.ml that turn scores into
#: labels and maps.
_PASSING = frozenset(
    {
        "ArrayFeatureExtractor",
        "Cast",
        "CastLike",
        "Compress",
        "DequantizeLinear",
        "Dropout",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "LabelEncoder",
        "Normalizer",
        "QuantizeLinear",
        "ReduceMax",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "ZipMap",
    }
)
#: Final activations that give probabilities, and not their logarithms or labels.
PROBABILITIES = frozenset({"QLinearSigmoid", "QLinearSoftmax", "Sigmoid", "Softmax"})
#: Operators by which the probabilities of an ensemble's members are averaged.
_AVERAGING = frozenset({"Add", "Mean", "ReduceMean", "ReduceSum", "Sum"})
#: Operators that take a part of the classes.
_PARTS = frozenset({"Gather", "Slice", "Split"})


@dataclass(frozen=True)
class Logits:
    """Where the class scores are before they are turned into probabilities.

    Attributes:
        output: the graph output that was followed back.
        tensor: the logits.
        activation: what the model does with them.
        tail: operators between them and the output, in the order of the graph.
        path: the tensors that these make, the output last.
        sign: -1 where what follows the activation turns the ranking over, as ``1 - p`` does.
        member: of an ensemble whose members' probabilities are averaged, the tensor of this member's; else "".
        joint: the tensor that averages them.
        axis: along which the members lie, where they are parts of one tensor; else None.
        slot: which of them this is.
        inside: the scores of a LinearClassifier that makes probabilities of them itself: the logits are no tensor of
            the graph, and ``tensor`` is this one until they are made.
    """

    output: str
    tensor: str
    activation: Activation
    tail: tuple[str, ...]
    path: tuple[str, ...] = ()
    sign: int = 1
    member: str = ""
    joint: str = ""
    axis: int | None = None
    slot: int = 0
    inside: str = ""


def find_logits(graph: ModelGraph, output: str) -> Logits:
    """Follow an output back through its final activation, if it has one.

    Args:
        graph: the model.
        output: name of a graph output.
    """
    tensor, logits = output, output
    activation: Activation = "none"
    walked: list[tuple[gs.Node, str]] = []
    found: list[tuple[gs.Node, str]] = []
    sign, inside = 1, ""
    while (node := graph.producer(tensor)) is not None and node.inputs:
        spelled = spelled_activation(graph, node)
        source = _source(graph, node) if spelled is None else spelled.scores
        if source is None:
            break
        walked.append((node, tensor))
        tensor = source
        if node.op in _FINAL or spelled is not None:
            # What lies between must keep the ranking of the classes, or turn it over; a walk back that met something
            # else was a walk into another part of the head.
            turns = _turns(graph, [entry for entry, _ in walked[:-1]])
            if turns is None:
                break
            sign = turns
            logits, found = tensor, list(reversed(walked))
            own: Activation = spelled.activation if spelled is not None else _FINAL[node.op]
            activation = own if activation == "none" else activation
        if node.op == "LinearClassifier":
            turns = _turns(graph, [entry for entry, _ in walked[:-1]])
            if turns is None:
                break
            # Its labels are those of its scores; those are its logits, or what it makes probabilities of within.
            sign, logits = turns, node.outputs[1].name if len(node.outputs) > 1 else walked[-1][1]
            model = read_linear_classifier(node)
            activation, inside = model.activation, logits if model.activation != "none" else ""
            found = [(entry, made) for entry, made in reversed(walked) if inside or made != logits]
            break
    tail, path = tuple(str(entry.op) for entry, _ in found), tuple(made for _, made in found)
    if _activated_twice(graph, [entry for entry, _ in found]):
        activation = "none"
    return Logits(output, logits, activation, tail, path, sign, inside=inside)


def _activated_twice(graph: ModelGraph, nodes: list[gs.Node]) -> bool:
    """Whether shares are made of shares, as where a file whose last layer is a softmax was exported with one more.

    They rank the classes as the logits do, but no activation of the logits gives them.
    """
    state = "logits"
    for node in nodes:
        spelled = spelled_activation(graph, node)
        operator = str(node.op) if spelled is None else spelled.activation.capitalize()
        step = _STEPS.get(operator.removeprefix("QLinear"))
        if step is not None:
            state = step.get(state, "twice")
    return state == "twice"


def _turns(graph: ModelGraph, nodes: list[gs.Node]) -> int | None:
    """1 if what follows an activation keeps the ranking of the classes, -1 if it turns it over, None for all else."""
    found = [direction(graph, node) for node in nodes if node.op in MONOTONE - _PASSING - set(_FINAL)]
    if 0 in found:
        return None
    return -1 if found.count(-1) % 2 else 1


def find_members(graph: ModelGraph, output: str, shapes: Mapping[str, tuple[int, ...]]) -> list[Logits]:
    """The logits of each member of an ensemble whose probabilities an output averages; empty if it is none.

    Args:
        graph: the model.
        output: name of a graph output.
        shapes: traced shapes.
    """
    tensor, path = output, list[str]()
    while (node := graph.producer(tensor)) is not None and node.inputs and node.op not in _FINAL:
        if spelled_activation(graph, node) is not None:
            break
        path.insert(0, tensor)
        if node.op in _AVERAGING:
            found = _apart(graph, node, shapes)
            if found:
                return [
                    replace(entry, output=output, path=(*entry.path, *path), member=entry.output, joint=tensor)
                    for entry in found
                ]
        source = _source(graph, node)
        if source is None or (node.op in MONOTONE - _PASSING and direction(graph, node) != 1):
            break
        tensor = source
    return []


def _apart(graph: ModelGraph, node: gs.Node, shapes: Mapping[str, tuple[int, ...]]) -> list[Logits]:
    """The members that a node averages; empty if what it averages are no probabilities of several."""
    terms = dict.fromkeys(term for name in _terms(graph, node, shapes) for term in _addends(graph, name))
    members = [find_logits(graph, term) for term in terms]
    if len(members) > 1:
        return members if all(_is_probability(graph, found) for found in members) else []
    # Members that one layer makes: a softmax of (N, members, classes), averaged over the members.
    source = node.inputs[0].name
    gone, shape = _reduced(graph, node, shapes), shapes.get(source, ())
    found = find_logits(graph, source)
    if len(gone) != 1 or len(shape) < 3 or gone[0] == 0 or not _is_probability(graph, found):
        return []
    return [replace(found, axis=gone[0], slot=slot) for slot in range(shape[gone[0]])]


def _reduced(graph: ModelGraph, node: gs.Node, shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    """The axes that a ReduceMean or ReduceSum removes; none for other operators."""
    if not node.op.startswith("Reduce"):
        return []
    rank = len(shapes.get(node.inputs[0].name, ()))
    value = graph.value(node.inputs[1].name) if len(node.inputs) > 1 and node.inputs[1].name else None
    given = node.attrs.get("axes", ()) if value is None else value.reshape(-1).tolist()
    return [int(axis) % rank for axis in given] if rank else []


def _terms(graph: ModelGraph, node: gs.Node, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What a node adds up, element by element; members that were stacked before a mean are taken apart."""
    if not node.op.startswith("Reduce"):
        return [read.name for read in node.inputs if read.name]
    maker = graph.producer(node.inputs[0].name)
    if maker is None or maker.op != "Concat":
        return []
    axis = int(maker.attrs["axis"]) % max(len(shapes.get(node.inputs[0].name, ())), 1)
    parts = [part.name for part in maker.inputs]
    alone = all(shapes.get(name, ())[axis : axis + 1] == (1,) for name in parts)
    return parts if alone and _reduced(graph, node, shapes) == [axis] else []


def _addends(graph: ModelGraph, tensor: str) -> list[str]:
    """A term of a sum; itself a sum, or a share of one, it is taken apart."""
    node = graph.producer(tensor)
    if node is None or tensor in graph.constants:
        return [tensor]
    if node.op in ("Add", "Mean", "Sum"):
        return [term for read in node.inputs for term in _addends(graph, read.name)]
    moving = moving_operand(graph, node)
    # A member's weight; and what stands between a member and the stack.
    if (
        node.op in ("Mul", "Div", "Identity", "Unsqueeze", "Cast")
        and moving
        and (node.op not in MONOTONE - _PASSING or direction(graph, node) == 1)
    ):
        return _addends(graph, moving)
    return [tensor]


def _is_probability(graph: ModelGraph, found: Logits) -> bool:
    """Whether an output's way back ends at a softmax or a sigmoid."""
    made = graph.producer(found.path[0]) if found.path else None
    if made is None or found.sign != 1:
        return False
    return made.op in PROBABILITIES or spelled_activation(graph, made) is not None


def _source(graph: ModelGraph, node: gs.Node) -> str | None:
    """The one tensor whose classes an operator of a tail hands on; None if it ends the tail."""
    moving = [read.name for read in node.inputs if read.name and read.name not in graph.constants]
    if node.op == "Concat":
        # Classes in another order, put together from parts of the same scores.
        sources = {_behind_choice(graph, name) for name in moving}
        return sources.pop() if len(sources) == 1 else None
    if node.op in MONOTONE:
        return moving_operand(graph, node)
    if node.op == "LinearClassifier":
        return moving[0] if len(moving) == 1 else None
    if node.op == "GatherElements" and len(moving) == 2 and _is_best(graph, moving[1], moving[0]):
        return str(moving[0])
    if node.op == "Dropout" and graph.random_operator(node):
        return None
    # A Reshape to a target that the graph computes reads two (paddle2onnx with an open batch): it ends no tail, so the
    # logits found so far stand.
    return moving[0] if (node.op in _FINAL or node.op in _PASSING) and len(moving) == 1 else None


def _is_best(graph: ModelGraph, index: str, scores: str) -> bool:
    """Whether an index is that of the best class, so that what is gathered by it is its probability."""
    while (node := graph.producer(index)) is not None and node.op in ("Cast", "Identity", "Reshape", "Unsqueeze"):
        index = node.inputs[0].name
    return node is not None and node.op == "ArgMax" and bool(node.inputs[0].name == scores)


def _behind_choice(graph: ModelGraph, tensor: str) -> str:
    """The tensor that parts were taken from."""
    while (node := graph.producer(tensor)) is not None and node.op in _PARTS:
        moving = [read.name for read in node.inputs if read.name and read.name not in graph.constants]
        if len(moving) != 1:
            break
        tensor = moving[0]
    return tensor


def real_outputs(graph: ModelGraph) -> list[str]:
    """Names of the outputs that the image decides; those that are constant are left out."""
    return [value.name for value in graph.outputs if value.name not in graph.constants]
