"""Outputs that are no classes: features that another head is made of, and vectors of length 1.

Exporters give the embedding beside the classes (OpenVINO's training extensions, multi-task models, re-identification).
It is pooled like a head and lifts like one, and nothing in its shape tells it from scores; that another output's scores
are made of it does.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.logits import Logits, find_logits, real_outputs
from onnx_gapmil.lift.verdict import ADVICE, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.lift.lifting import Lifting

#: Operators that make each number of their result of several of what they read: classes of features.
_MIXING = frozenset(
    {
        "Conv", "ConvInteger", "Einsum", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "LinearClassifier",
        "LinearRegressor", "MatMul", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QGemm", "QLinearConv",
        "QLinearMatMul",
    }
)  # fmt: skip
#: What makes probabilities or labels: whoever reads on from there (an expected value, a cascade) read classes.
_READING = frozenset({"ArgMax", "Hardmax", "LogSoftmax", "QLinearSoftmax", "Softmax", "TopK"})
#: A head that passes one of these is of classes, also where its probabilities are not those of its logits alone.
_SHARING = frozenset({"LogSoftmax", "QLinearSoftmax", "Softmax"})
#: Operators that change the length of a vector by one factor at the most, or not at all.
_KEEPING = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def made_of(graph: ModelGraph, heads: Sequence[tuple[Logits, Sequence[str]]]) -> list[tuple[str, ...]]:
    """For each head the other outputs whose scores a dense layer makes of its own; empty where it is of classes.

    A head that ends in a softmax or a sigmoid is of classes, whatever is made of them. Scores that only scale, clip or
    reorder another output's (a temperature) do not make features of that, nor do sums over groups of classes (a coarse
    level) or a calibration by a matrix that leaves each class the one it is made of most (`_keeps_classes`).

    Args:
        graph: the model.
        heads: the logits of each head, and the outputs that are made of them.
    """
    ends = {output: find_logits(graph, output).tensor for output in real_outputs(graph)}
    found: list[tuple[str, ...]] = []
    for logits, outputs in heads:
        if _has_shares(logits):
            found.append(())
            continue
        others = [output for output in ends if output not in outputs]
        mixed = _mixed(graph, logits.tensor, _keeps_classes)
        if any(ends[output] in mixed for output in others):  # features of one: then of all that are made of them
            mixed = _mixed(graph, logits.tensor, _keeps_none)
        found.append(tuple(output for output in others if ends[output] in mixed))
    return found


def _mixed(graph: ModelGraph, tensor: str, keeps: Callable[[ModelGraph, gs.Node, str], bool]) -> set[str]:
    """The tensors that are made of a tensor by way of a mixing operator, and of no softmax before that.

    Args:
        graph: the model.
        tensor: where the ways begin.
        keeps: tells of a mixing operator, and the tensor it reads, whether its result are classes made of classes.
    """
    queue = deque([(tensor, False)])
    seen = {(tensor, False)}
    while queue:
        name, mixed = queue.popleft()
        for node in graph.consumers.get(name, ()):
            if not mixed and node.op in _READING:
                continue
            for made in node.outputs:
                entry = (made.name, mixed or (node.op in _MIXING and not keeps(graph, node, name)))
                if made.name and entry not in seen:
                    seen.add(entry)
                    queue.append(entry)
    return {name for name, mixed in seen if mixed}


def _keeps_none(graph: ModelGraph, node: gs.Node, tensor: str) -> bool:
    """What is read is known to be features."""
    return False


def _has_shares(logits: Logits) -> bool:
    """Whether a head makes probabilities."""
    return logits.activation != "none" or bool(logits.inside) or not _SHARING.isdisjoint(logits.tail)


def _keeps_classes(graph: ModelGraph, node: gs.Node, tensor: str) -> bool:
    """Whether a dense layer's weights say that what it reads are classes already.

    Either it sums or averages groups, each of its results some of what it reads with one weight for all of them, and
    leaves out others (a hierarchy's coarse classes); or it is square and each result is made of its own class more than
    of any other, and that class more for it than for others (matrix scaling, which is fitted from the identity).
    Weights of features are neither, but by a chance of less than K to the power of -K.
    """
    weight = _weight(graph, node, tensor)
    if weight is None or min(weight.shape) < 2 or not np.isfinite(weight).all():
        return False
    used = weight != 0
    if (weight >= 0).all() and used.any(axis=0).all() and not used.all(axis=0).any():
        largest = weight.max(axis=0)
        if np.allclose(np.where(used, weight, largest), largest, rtol=1e-6, atol=0):
            return True
    size = np.abs(weight)
    own = np.arange(len(weight))
    return (
        weight.shape[0] == weight.shape[1]
        and bool((weight.diagonal() > 0).all())
        and all(bool((size.argmax(axis=axis) == own).all()) for axis in (0, 1))
    )


def _weight(graph: ModelGraph, node: gs.Node, tensor: str) -> np.ndarray | None:
    """(C, K), by which a dense layer makes K numbers of a tensor's C; None where it is another operator."""
    if len(node.inputs) < 2 or node.inputs[0].name != tensor:
        return None
    weight = graph.value(node.inputs[1].name) if node.inputs[1].name in graph.constants else None
    if weight is None:
        return None
    if node.op == "Conv":
        alone = int(node.attrs.get("group", 1)) == 1 and weight.ndim > 2 and set(weight.shape[2:]) == {1}
        return weight.reshape(weight.shape[:2]).T if alone else None
    if node.op not in ("FusedGemm", "FusedMatMul", "Gemm", "MatMul") or weight.ndim != 2:
        return None
    return weight.T if node.attrs.get("transB", 0) else weight


def unit_length(walk: Lifting, logits: Logits, count: int) -> Refusal | None:
    """The refusal of a head whose values are a vector of length 1 (or of another fixed one), which are no scores.

    That is how embeddings leave a network (retrieval, faces, re-identification): no number of such a vector says more
    than the angle to an axis. A classifier that compares normalized features with class prototypes goes on behind the
    norm, and is none of these.

    Args:
        walk: the walk.
        logits: of the head.
        count: how many they are.
    """
    if _has_shares(logits):
        return None
    graph, name = walk.graph, logits.tensor
    while (node := graph.producer(name)) is not None:
        if node.op in _KEEPING:
            name = node.inputs[0].name
        elif node.op in ("Mul", "Div") and (moving := _scaled(walk, node)):
            name = moving
        else:
            break
    if node is None or not _normalizes(walk, node):
        return None
    where = walk.describe(node)
    message = (
        f"{where}: it divides {count} numbers by their own length, so that they are a vector of fixed length, "
        "an embedding, and no scores of classes"
    )
    return Refusal("not-a-classifier", where, message, ADVICE["not-a-classifier"])


def _scaled(walk: Lifting, node: gs.Node) -> str:
    """What an operator multiplies by one fixed number; "" if it does not."""
    inputs = [read.name for read in node.inputs]
    moving = [name for name in inputs if name not in walk.graph.constants]
    fixed = [walk.graph.value(name) for name in inputs if name in walk.graph.constants]
    alone = len(moving) == 1 and len(fixed) == 1 and fixed[0] is not None and np.size(fixed[0]) == 1
    return str(moving[0]) if alone else ""


def _normalizes(walk: Lifting, node: gs.Node) -> bool:
    """Whether an operator divides a vector by its own Euclidean length, in one node or spelled out."""
    op, inputs = node.op, [walk.graph.behind(read.name) for read in node.inputs]
    if op == "LpNormalization":
        return int(node.attrs.get("p", 2)) == 2
    if op not in ("Div", "Mul") or len(inputs) != 2:
        return False
    for vector, size in ((inputs[0], inputs[1]), (inputs[1], inputs[0])):
        if op == "Div" and vector != inputs[0]:
            continue
        if _is_length(walk, size, vector, inverse=op == "Mul"):
            return True
    return False


def _is_length(walk: Lifting, size: str, vector: str, *, inverse: bool) -> bool:
    """Whether a tensor is the length of a vector: ReduceL2, or the root of a sum of squares, kept above a small number.

    PyTorch writes ReduceL2, Clip, Expand, Div; TensorFlow Mul(x, Rsqrt(Max(ReduceSum(Square), eps))); others Sqrt, Add.
    """
    square_rooted = False
    while (node := walk.graph.producer(size)) is not None:
        if node.op == "ReduceL2":
            return not inverse and walk.graph.behind(node.inputs[0].name) == vector
        if node.op == "ReduceSumSquare":
            return square_rooted and not inverse and walk.graph.behind(node.inputs[0].name) == vector
        if node.op == "Einsum":  # nc,nc->n
            return (
                square_rooted
                and not inverse
                and [walk.graph.behind(read.name) for read in node.inputs] == [vector, vector]
            )
        if node.op == "ReduceSum":
            return square_rooted and not inverse and _is_square(walk, node.inputs[0].name, vector)
        if node.op == "Reciprocal":
            inverse = not inverse
        elif node.op == "Sqrt":
            square_rooted = True
        elif node.op == "Pow":
            power = walk.graph.value(node.inputs[1].name)
            exponent = float(np.reshape(power, -1)[0]) if power is not None and np.size(power) == 1 else 0.0
            if exponent not in (0.5, -0.5):
                return False
            square_rooted, inverse = True, inverse != (exponent < 0)
        elif node.op not in ("Clip", "Expand", "Max", "Add", "Cast", "Identity", "Unsqueeze", "Reshape"):
            return False
        moving = [read.name for read in node.inputs if read.name and read.name not in walk.graph.constants]
        size = moving[0] if moving else ""
    return False


def _is_square(walk: Lifting, tensor: str, vector: str) -> bool:
    node = walk.graph.producer(tensor)
    if node is None:
        return False
    if node.op == "Mul":
        return all(walk.graph.behind(read.name) == vector for read in node.inputs)
    power = walk.graph.value(node.inputs[1].name) if node.op == "Pow" else None
    return (
        power is not None
        and np.size(power) == 1
        and float(np.reshape(power, -1)[0]) == 2
        and walk.graph.behind(node.inputs[0].name) == vector
    )
