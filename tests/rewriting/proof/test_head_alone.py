"""The vendor's part of a rewritten model, field by field; `tests/end_to_end/test_big_files.py` runs heads alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_gapmil.rewriting.proof.head_alone import vendor_part_is_unchanged
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model, weights


def vendor() -> onnx.ModelProto:
    """A model with something in every field that ONNX has for a graph."""
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = local.Twice(f)\n y = Gemm<transB=1>(z, w, b)",
        domains='"local" : 1',
        functions='<domain: "local", opset_import: ["" : 17]> Twice (a) => (c) { c = Add(a, a) }',
        init={"w": weights(5, 6), "b": weights(5)},
    )
    values = helper.make_tensor("s", onnx.TensorProto.FLOAT, [1], [2.0])
    places = helper.make_tensor("s_places", onnx.TensorProto.INT64, [1], [3])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [5]))
    model.graph.quantization_annotation.add(tensor_name="y")
    return model


def rewritten(original: onnx.ModelProto) -> onnx.ModelProto:
    """The same with what a rewrite appends."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "gapmil/constant"))
    model.graph.node.append(helper.make_node("Identity", ["p"], ["gapmil_features"]))
    model.graph.output.append(helper.make_tensor_value_info("gapmil_features", 1, ["N", 6, 1, 1]))
    model.metadata_props.add(key="gapmil.heads", value="[]")
    return model


def test_what_a_rewrite_appends_is_no_change() -> None:
    assert vendor_part_is_unchanged(vendor(), rewritten(vendor()), inlined=False)


CHANGES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "operator": lambda model: setattr(model.graph.node[0], "op_type", "GlobalMaxPool"),
    "order of nodes": lambda model: model.graph.node.reverse(),
    "weight": lambda model: setattr(model.graph.initializer[0], "raw_data", bytes(120)),
    "weight left out": lambda model: model.graph.initializer.pop(0),
    "sparse weight": lambda model: model.graph.sparse_initializer[0].values.float_data.append(3.0),
    "sparse weight added": lambda model: model.graph.sparse_initializer.add(),
    "quantization": lambda model: setattr(model.graph.quantization_annotation[0], "tensor_name", "z"),
    "quantization left out": lambda model: model.graph.quantization_annotation.pop(),
    "input": lambda model: setattr(model.graph.input[0], "name", "other"),
    "input added": lambda model: model.graph.input.add(name="more"),
    "output": lambda model: setattr(model.graph.output[0], "name", "other"),
    "operator set": lambda model: setattr(model.opset_import[0], "version", 18),
    "function": lambda model: setattr(model.functions[0].node[0], "op_type", "Mul"),
    "IR version": lambda model: setattr(model, "ir_version", 9),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_the_vendors_part_is_seen(what: str) -> None:
    model = rewritten(vendor())
    CHANGES[what](model)
    assert not vendor_part_is_unchanged(vendor(), model, inlined=False)


def test_inlined_functions_are_no_change_where_that_was_needed() -> None:
    model = text_model(
        "y = local.Head(x, w)",
        domains='"local" : 1',
        functions='<domain: "local", opset_import: ["" : 17]> Head (a, v) => (c) '
        "{ p = GlobalAveragePool(a)  f = Flatten(p)  c = Gemm<transB=1>(f, v) }",
        init={"w": weights(5, 6)},
    )
    found = rewrite_model(model)
    assert found.inlined
    assert vendor_part_is_unchanged(model, found.model, inlined=True)
    assert not vendor_part_is_unchanged(model, found.model, inlined=False)
