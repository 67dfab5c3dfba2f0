"""Find the logits: the last tensor before a final Softmax, Sigmoid, ArgMax or the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
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
        "DequantizeLinear",
        "Flatten",
        "Gather",
        "Identity",
        "LabelEncoder",
        "Normalizer",
        "QuantizeLinear",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "ZipMap",
    }
)


@dataclass(frozen=True)
class Logits:
    """Where the class scores are before they are turned into probabilities.

    Attributes:
        output: the graph output that was followed back.
        tensor: the logits.
        activation: what the model does with them.
        tail: operators between them and the output, in the order of the graph.
    """

    output: str
    tensor: str
    activation: Activation
    tail: tuple[str, ...]


def find_logits(graph: ModelGraph, output: str) -> Logits:
    """Follow an output back through its final activation, if it has one.

    Args:
        graph: the model.
        output: name of a graph output.
    """
    tensor, logits = output, output
    activation: Activation = "none"
    walked: list[str] = []
    tail: tuple[str, ...] = ()
    while (node := graph.producer(tensor)) is not None and node.inputs:
        if node.op not in _FINAL and node.op not in _PASSING:
            break
        moving = [name.name for name in node.inputs if name.name and name.name not in graph.constants]
        # A Reshape to a target that the graph computes reads two (paddle2onnx with an open batch): it ends no tail, so
        # the logits found so far stand.
        if len(moving) != 1:
            break
        walked.append(node.op)
        tensor = moving[0]
        if node.op in _FINAL:
            logits, tail = tensor, tuple(reversed(walked))
            activation = _FINAL[node.op] if activation == "none" else activation
    return Logits(output, logits, activation, tail)


def real_outputs(graph: ModelGraph) -> list[str]:
    """Names of the outputs that the image decides; those that are constant are left out."""
    return [value.name for value in graph.outputs if value.name not in graph.constants]
