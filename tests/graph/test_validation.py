"""Structural checks: each kind of damage is named with the tensor or node that has it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.validation import MAX_ELEMENTS, validate_structure
from tests.helpers.support import text_model, weights


def whole() -> onnx.ModelProto:
    return text_model("p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w)", init={"w": weights(5, 6)})


def no_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def output_that_nothing_makes(model: onnx.ModelProto) -> None:
    model.graph.output.append(onnx.ValueInfoProto(name="lost"))


def tensor_made_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["p"], ["f"]))


def tensor_that_is_an_input_too(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["p"], ["x"]))


def input_that_nothing_makes(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "lost"


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "f"
    model.graph.node[0].name = "pool"


def weight_defined_twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def attribute_of_a_function_outside_of_one(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute.add(name="axis", type=onnx.AttributeProto.INT, ref_attr_name="alpha")


def input_of_more_elements_than_any_image(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = MAX_ELEMENTS + 1


def unknown_element_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 99


def dangling_read_in_a_branch(model: onnx.ModelProto) -> None:
    _add_if(model, reads="lost")


def _add_if(model: onnx.ModelProto, *, reads: str) -> None:
    """An If whose branches read a tensor of the graph around them."""
    branches = [
        helper.make_graph(
            [helper.make_node("Relu", [reads], [f"inner_{name}"])],
            name,
            [],
            [onnx.ValueInfoProto(name=f"inner_{name}")],
        )
        for name in ("then", "otherwise")
    ]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "which"))
    model.graph.node.append(
        helper.make_node("If", ["which"], ["branched"], then_branch=branches[0], else_branch=branches[1])
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_output, "toy has no outputs"),
        (output_that_nothing_makes, "no node makes the output 'lost'"),
        (tensor_made_twice, "the tensor 'f' is made twice"),
        (tensor_that_is_an_input_too, "the tensor 'x' is made twice"),
        (input_that_nothing_makes, "node 'Flatten' reads 'lost', which nothing makes"),
        (cycle, "the graph is cyclic at node 'pool'"),
        (weight_defined_twice, "the weight 'w' is defined twice"),
        (attribute_of_a_function_outside_of_one, "the attribute 'axis' refers to one of a function .'alpha'."),
        (input_of_more_elements_than_any_image, "the input 'x' declares an absurd shape"),
        (unknown_element_type, "99 is no element type of ONNX"),
        (dangling_read_in_a_branch, "node 'If' reads 'lost', which nothing makes"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damage_is_named(damage: Callable[[onnx.ModelProto], None], words: str) -> None:
    model = whole()
    damage(model)
    with pytest.raises(ModelError, match=words):
        validate_structure(model, "toy")


def test_a_name_that_is_no_text_is_told() -> None:
    """A flipped bit in a name leaves bytes that are no UTF-8."""
    data = whole().SerializeToString().replace(b"GlobalAveragePool", b"Global\xff\xfeeragePool")
    model = onnx.ModelProto()
    model.ParseFromString(data)
    with pytest.raises(ModelError, match="no readable text"):
        validate_structure(model, "toy")


def test_a_whole_graph_passes_whatever_the_order_of_its_nodes() -> None:
    model = whole()
    validate_structure(model, "toy")
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    validate_structure(model, "toy")


def test_a_branch_may_read_what_the_graph_around_it_makes() -> None:
    model = whole()
    _add_if(model, reads="f")
    validate_structure(model, "toy")


def test_the_largest_size_that_is_allowed_is_allowed() -> None:
    model = whole()
    model.graph.initializer[0].dims[:] = [MAX_ELEMENTS]
    validate_structure(model, "toy")


def test_a_sparse_weight_and_an_absent_input_are_known() -> None:
    model = whole()
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [3])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [6]))
    model.graph.node.append(helper.make_node("Clip", ["sparse", "", "w"], ["clipped"]))
    validate_structure(model, "toy")
