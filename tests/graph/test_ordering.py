"""Files whose nodes stand in no order, as ONNX Runtime's float16 converter writes them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.graph.ordering import is_in_order, put_in_order
from tests.helpers.support import assert_close, dense, images, lift, text_model, weights

BODY = "c = Cast<to=10>(x)\n f = ReduceMean<axes=[2, 3], keepdims=0>(c)\n z = Gemm<transB=1>(f, w)\n y = Cast<to=1>(z)"


def half_model(order: list[int]) -> onnx.ModelProto:
    """A float16 head between two Casts, its nodes in any order."""
    model = text_model(BODY, init={"w": weights(5, 6, dtype=np.float16)})
    nodes = [model.graph.node[place] for place in order]
    shuffled = onnx.GraphProto(node=nodes)
    del model.graph.node[:]
    model.graph.node.extend(shuffled.node)
    return model


@pytest.mark.parametrize("order", [[1, 2, 0, 3], [3, 2, 1, 0]])
def test_a_head_is_lifted_whatever_the_order_of_its_nodes(order: list[int]) -> None:
    model = half_model(order)
    before = model.SerializeToString()
    found = lift(model, images(model), check=False)  # onnx's checker wants order, and the vendor's file has none
    assert found.verdict == "exact"
    half = found.x.astype(np.float16)
    np.testing.assert_array_equal(found.features, half)
    assert_close(found.grid, dense(weights(5, 6, dtype=np.float16))(half.astype(np.float64)), 5e-3)
    assert model.SerializeToString() == before
    assert [node.op_type for node in load_model(model).proto.graph.node] == ["Cast", "ReduceMean", "Gemm", "Cast"]


def test_a_file_in_order_is_left_as_it_is() -> None:
    model = half_model([0, 1, 2, 3])
    assert is_in_order(model.graph)
    assert load_model(model).proto is model


def test_what_a_body_captures_counts_and_bodies_are_sorted_too() -> None:
    branch = "{ a = Add(c, o)\n q = Identity(b)\n b = Mul(a, o) }"
    branch = branch.replace("{", "then_branch = g1 () => (float[N,6,3,5] q) {")
    other = branch.replace("then_branch = g1", "else_branch = g2")
    model = text_model(
        f"m = If(flag) <{branch}, {other}>\n c = Relu(x)\n f = ReduceMean<axes=[2, 3], keepdims=0>(m)\n"
        " y = Gemm<transB=1>(f, w)",
        init={"w": weights(5, 6), "o": np.float32(2), "flag": np.bool_(True)},
    )
    assert not is_in_order(model.graph)
    put_in_order(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Relu", "If", "ReduceMean", "Gemm"]
    bodies = [attribute.g for attribute in model.graph.node[1].attribute]
    assert [[node.op_type for node in body.node] for body in bodies] == [["Add", "Mul", "Identity"]] * 2
    assert is_in_order(model.graph)
