"""Count the multiply-adds of a graph, and so the least that its new outputs can cost.

Convolutions and matrix products are counted, by the shapes that the tensors really have; everything else (activations,
norms, copies) counts nothing. The share of what a rewrite adds is the bound that measured ratios are held against.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx

from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.graph.inputs import InputShape
from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Work:
    """The multiply-adds of one run.

    Attributes:
        macs: of all counted nodes together.
        by_op: the same by operator.
        unknown: counted operators whose shapes were not known, by how many there are; their work is missing.
    """

    macs: int
    by_op: dict[str, int]
    unknown: dict[str, int]


def count_work(proto: onnx.ModelProto, folder: Path | None, inputs: tuple[InputShape, ...]) -> Work:
    """Count a model's multiply-adds at the given shapes; local functions are looked into.

    Args:
        proto: the model, which is not changed.
        folder: where its external data lies.
        inputs: every input with the concrete shape to count for.

    Raises:
        ModelError: the model cannot be run at these shapes.
    """
    fixed = _with_shapes(inline_functions(proto) if has_functions(proto) else proto, inputs)
    graph = ModelGraph(fixed, folder)
    traced = trace(graph)
    return work_of(graph.proto.graph.node, traced.shapes)


def work_of(nodes: Any, shapes: Shapes) -> Work:
    """Count the multiply-adds of nodes.

    Args:
        nodes: NodeProtos.
        shapes: concrete shape by tensor name.
    """
    found: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for node in nodes:
        rule = _RULES.get(node.op_type)
        if rule is None:
            continue
        try:
            found[node.op_type] += rule(node, shapes)
        except KeyError:
            unknown[node.op_type] += 1
    return Work(sum(found.values()), dict(found), dict(unknown))


def _with_shapes(proto: onnx.ModelProto, inputs: tuple[InputShape, ...]) -> onnx.ModelProto:
    """A copy whose inputs declare their shapes, so that the trace takes no other."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    wanted = {entry.name: entry.traced for entry in inputs}
    for value in fixed.graph.input:
        if value.name in wanted:
            del value.type.tensor_type.shape.dim[:]
            for extent in wanted[value.name]:
                value.type.tensor_type.shape.dim.add(dim_value=extent)
    return fixed


def _conv(weight: int) -> Callable[[onnx.NodeProto, Shapes], int]:
    """``Conv``: each output element is a sum over the kernel and the channels of its group.

    The weight has shape (out, in / group, *kernel); ``weight`` says which input it is.
    """

    def count(node: onnx.NodeProto, shapes: Shapes) -> int:
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[weight]][1:])

    return count


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each input element meets its group's output channels and the kernel; the weight is (in, out / group, *kernel)."""
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    first = shapes[node.input[0]]
    transposed = next((entry.i for entry in node.attribute if entry.name == "transA"), 0)
    return math.prod(shapes[node.output[0]]) * first[0 if transposed else 1]


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every product of the matrix product: elements of the output, each over the axis that is summed."""
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    """One multiply-add for each combination of the letters that two operands have; other forms count nothing."""
    equation = next(entry.s for entry in node.attribute if entry.name == "equation").decode().replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if len(terms) != 2 or "." in equation:
        raise KeyError(equation)
    extents: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        extents |= dict(zip(term, shapes[name], strict=True))
    return math.prod(extents.values())


_RULES: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "QGemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Einsum": _einsum,
}
