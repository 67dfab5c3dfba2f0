"""Models that are made to cost or to crash: each well formed enough to be believed at first sight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = [helper.make_opsetid("", 17)]


def classifier(
    *,
    before: list[onnx.NodeProto] | None = None,
    trunk: str = "x",
    shape: tuple[int | str, ...] = (1, 3, 16, 16),
    weights: list[onnx.TensorProto] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    """A pooled linear head behind some nodes."""
    nodes = [
        *(before or []),
        helper.make_node("GlobalAveragePool", [trunk], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    head = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(head, "w"), *(weights or [])],
    )
    opsets = [*_OPSET, *([helper.make_opsetid("local", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions or [])


def endless_loop(*, busy: bool = True) -> onnx.ModelProto:
    """A Loop whose condition stays true; without nodes in its body (``busy=False``) nothing looks up."""
    suffix = "2" if busy else ""
    body = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}2"]) for name in ("go", "value")] if busy else [],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info(f"go{suffix}", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"value{suffix}", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["", "true", "x"], ["looped"], body=body)
    return classifier(before=[loop], trunk="looped", weights=[numpy_helper.from_array(np.array(True), "true")])


def function_bomb(levels: int = 39) -> onnx.ModelProto:
    """Each function calls the next one twice: 2^levels nodes, once they are inlined."""
    functions = []
    for level in range(levels):
        called = f"f{level + 1}" if level + 1 < levels else "Identity"
        domain = "local" if level + 1 < levels else ""
        nodes = [
            helper.make_node(called, ["a"], ["b"], domain=domain),
            helper.make_node(called, ["b"], ["c"], domain=domain),
        ]
        functions.append(
            helper.make_function("local", f"f{level}", ["a"], ["c"], nodes, [*_OPSET, helper.make_opsetid("local", 1)])
        )
    return classifier(before=[helper.make_node("f0", ["x"], ["t"], domain="local")], trunk="t", functions=functions)


def function_chain(length: int) -> onnx.ModelProto:
    """Functions that call each other in a row."""
    functions = []
    for level in range(length):
        last = level + 1 == length
        node = helper.make_node("Identity" if last else f"f{level + 1}", ["a"], ["b"], domain="" if last else "local")
        functions.append(
            helper.make_function("local", f"f{level}", ["a"], ["b"], [node], [*_OPSET, helper.make_opsetid("local", 1)])
        )
    return classifier(before=[helper.make_node("f0", ["x"], ["t"], domain="local")], trunk="t", functions=functions)


def self_calling_function() -> onnx.ModelProto:
    """A function that calls itself."""
    node = helper.make_node("f0", ["a"], ["b"], domain="local")
    function = helper.make_function("local", "f0", ["a"], ["b"], [node], [*_OPSET, helper.make_opsetid("local", 1)])
    return classifier(before=[helper.make_node("f0", ["x"], ["t"], domain="local")], trunk="t", functions=[function])


def chain(count: int) -> onnx.ModelProto:
    """A row of nodes."""
    names = ["x", *(f"t{place}" for place in range(count))]
    nodes = [helper.make_node("Relu", [names[place]], [names[place + 1]]) for place in range(count)]
    return classifier(before=nodes, trunk=names[-1])


def large_intermediate(side: int) -> onnx.ModelProto:
    """A map that a small input is blown up to by Expand."""
    shape = numpy_helper.from_array(np.array([1, 3, side, side], np.int64), "shape")
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=1)
    return classifier(before=[mean, helper.make_node("Expand", ["m", "shape"], ["t"])], trunk="t", weights=[shape])


def many_metadata(count: int) -> onnx.ModelProto:
    """Entries of metadata."""
    model = classifier()
    helper.set_model_props(model, {str(place): "" for place in range(count)})
    return model


def duplicate_names(count: int) -> onnx.ModelProto:
    """Weights with names of their own, but for the last one."""
    weights = [numpy_helper.from_array(np.zeros(1, np.float32), f"n{place}") for place in range(count)]
    weights.append(numpy_helper.from_array(np.zeros(1, np.float32), f"n{count - 1}"))
    return classifier(weights=weights)


def _damaged(change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    model = classifier()
    change(model)
    return model


def damaged_tensors() -> dict[str, onnx.ModelProto]:
    """A weight, or an attribute, damaged in each way, by what is wrong."""

    def weight(model: onnx.ModelProto) -> onnx.TensorProto:
        found: onnx.TensorProto = model.graph.initializer[0]
        return found

    def gone(model: onnx.ModelProto) -> None:
        weight(model).ClearField("raw_data")

    def short(model: onnx.ModelProto) -> None:
        weight(model).raw_data = weight(model).raw_data[:-4]

    def typed(model: onnx.ModelProto) -> None:
        weight(model).ClearField("raw_data")
        weight(model).float_data.extend([1.0] * 11)

    def segment(model: onnx.ModelProto) -> None:
        weight(model).segment.begin = 0
        weight(model).segment.end = 12

    def axes(model: onnx.ModelProto) -> None:
        weight(model).dims[:] = [1] * 63 + [3, 4]

    def negative(model: onnx.ModelProto) -> None:
        weight(model).dims[:] = [-3, -4]

    def text(model: onnx.ModelProto) -> None:
        weight(model).data_type = TensorProto.STRING

    def reference(model: onnx.ModelProto) -> None:
        model.graph.node[1].attribute.add(name="axis", type=onnx.AttributeProto.INT, ref_attr_name="alpha")

    def attribute(model: onnx.ModelProto) -> None:
        broken = onnx.TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[5], raw_data=b"1234")
        model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=broken))

    changes = (gone, short, typed, segment, axes, negative, text, reference, attribute)
    return {change.__name__: _damaged(change) for change in changes}
