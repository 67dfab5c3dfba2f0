"""Whether the vendor's part of a rewritten model is compared in every part that decides what it answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_gapmil.rewriting.proof.head_alone import vendor_part_is_unchanged
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model, weights

Damage = Callable[[onnx.ModelProto], object]


def vendors() -> onnx.ModelProto:
    """A dense layer behind a pool; a sparse initializer, a quantization annotation and a local function beside it."""
    model = text_model(
        "p = GlobalAveragePool(x)  q = Flatten(p)  y = Gemm<transB=1>(q, w, b)",
        init={"w": weights(5, 6), "b": weights(5)},
    )
    values = numpy_helper.from_array(np.array([1.5, -2.5], np.float32), "sparse")
    places = numpy_helper.from_array(np.array([0, 7], np.int64), "sparse_places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3, 4]))
    annotation = model.graph.quantization_annotation.add(tensor_name="x")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    return model


def rewritten() -> onnx.ModelProto:
    made = rewrite_model(vendors()).model
    assert len(made.graph.node) > len(vendors().graph.node)
    return made


def change_sparse_value(model: onnx.ModelProto) -> None:
    values = np.array([1.5, -2.0], np.float32)
    model.graph.sparse_initializer[0].values.raw_data = values.tobytes()


def change_sparse_place(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer[0].indices.raw_data = np.array([0, 8], np.int64).tobytes()


def change_weight(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "b")
    tensor.CopyFrom(numpy_helper.from_array(weights(5, seed=1), "b"))


def change_annotation(model: onnx.ModelProto) -> None:
    model.graph.quantization_annotation[0].quant_parameter_tensor_names[0].value = "b"


def swap_nodes(model: onnx.ModelProto) -> None:
    nodes = [model.graph.node[place] for place in (1, 0, *range(2, len(model.graph.node)))]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


#: By what is damaged in the rewritten model, which was right before.
DAMAGES: dict[str, Damage] = {
    "a sparse initializer's value": change_sparse_value,
    "a sparse initializer's place": change_sparse_place,
    "a sparse initializer is gone": lambda model: model.graph.sparse_initializer.pop(),
    "a sparse initializer more": lambda model: model.graph.sparse_initializer.append(model.graph.sparse_initializer[0]),
    "a quantization annotation's tensor": change_annotation,
    "a quantization annotation is gone": lambda model: model.graph.quantization_annotation.pop(),
    "a quantization annotation more": lambda model: model.graph.quantization_annotation.add(tensor_name="y"),
    "a weight": change_weight,
    "a weight is gone": lambda model: model.graph.initializer.pop(0),
    "the nodes' order": swap_nodes,
    "an attribute": lambda model: model.graph.node[2].attribute[0].__setattr__("i", 0),
    "an input": lambda model: model.graph.input[0].__setattr__("name", "z"),
    "an output": lambda model: model.graph.output.pop(0),
    "an operator set": lambda model: model.opset_import[0].__setattr__("version", 18),
    "the format's version": lambda model: model.__setattr__("ir_version", model.ir_version + 1),
    "a local function more": lambda model: model.functions.add(name="f", domain="d"),
}


def test_new_nodes_weights_and_outputs_at_the_end_change_nothing() -> None:
    assert vendor_part_is_unchanged(vendors(), rewritten(), inlined=False)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_change_to_what_the_vendor_wrote_is_noticed(damage: str) -> None:
    changed = rewritten()
    DAMAGES[damage](changed)
    assert not vendor_part_is_unchanged(vendors(), changed, inlined=False)


def test_a_model_with_functions_is_compared_as_it_is_after_inlining() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)  q = Flatten(p)  y = mine.dense(q, w, b)",
        domains='"mine" : 1',
        functions='<domain: "mine", opset_import: ["" : 17]>\ndense (a, k, c) => (o) { o = Gemm<transB=1>(a, k, c) }',
        init={"w": weights(5, 6), "b": weights(5)},
    )
    made = rewrite_model(model)
    assert made.inlined
    assert vendor_part_is_unchanged(model, made.model, inlined=True)
    assert not vendor_part_is_unchanged(model, made.model, inlined=False)
