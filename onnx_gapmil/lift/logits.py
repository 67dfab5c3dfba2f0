"""Find the logits: the last tensor before a final Softmax, Sigmoid, ArgMax or the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph

#: What turns logits into scores for people.
Activation = Literal["softmax", "sigmoid", "none"]

_FINAL: dict[str, Activation] = {
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    "ArgMax": "none",
    "Hardmax": "none",
    "TopK": "none",
    # ONNX Runtime's static quantizer, in the form of operators.
    "QLinearSoftmax": "softmax",
    "QLinearSigmoid": "sigmoid",
}
#: What may follow a final activation without saying anything new about the classes: shapes, an Identity (paddle2onnx
#: ends in one), a pair of Q and DQ, and the operators of ai.onnx.ml that turn scores into labels and maps.
_PASSING = frozenset(
    {
        "ArrayFeatureExtractor",
        "Cast",
        "Compress",
        "DequantizeLinear",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "LabelEncoder",
        "Normalizer",
        "QuantizeLinear",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "ZipMap",
    }
)
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
    """

    output: str
    tensor: str
    activation: Activation
    tail: tuple[str, ...]
    path: tuple[str, ...] = ()


def find_logits(graph: ModelGraph, output: str) -> Logits:
    """Follow an output back through its final activation, if it has one.

    Args:
        graph: the model.
        output: name of a graph output.
    """
    tensor, logits = output, output
    activation: Activation = "none"
    walked: list[tuple[str, str]] = []
    found: list[tuple[str, str]] = []
    while (node := graph.producer(tensor)) is not None and node.inputs:
        source = _source(graph, node)
        if source is None:
            break
        walked.append((node.op, tensor))
        tensor = source
        if node.op in _FINAL:
            logits, found = tensor, list(reversed(walked))
            activation = _FINAL[node.op] if activation == "none" else activation
    return Logits(output, logits, activation, tuple(op for op, _ in found), tuple(made for _, made in found))


def _source(graph: ModelGraph, node: gs.Node) -> str | None:
    """The one tensor whose classes an operator of a tail hands on; None if it ends the tail."""
    moving = [read.name for read in node.inputs if read.name and read.name not in graph.constants]
    if node.op == "Concat":
        # Classes in another order, put together from parts of the same scores.
        sources = {_behind_choice(graph, name) for name in moving}
        return sources.pop() if len(sources) == 1 else None
    # A Reshape to a target that the graph computes reads two (paddle2onnx with an open batch): it ends no tail, so the
    # logits found so far stand.
    return moving[0] if (node.op in _FINAL or node.op in _PASSING) and len(moving) == 1 else None


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
