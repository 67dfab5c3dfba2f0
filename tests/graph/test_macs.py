"""Multiply-adds, against counts made by hand and against loops that count each product."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from onnx_gapmil.graph.inputs import concrete_inputs
from onnx_gapmil.graph.macs import count_work, work_of
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model


def counted(model: onnx.ModelProto, batch: int = 1, size: tuple[int, int] = (8, 8)) -> int:
    inputs = concrete_inputs(ModelGraph(model), batch, size)
    return count_work(model, None, inputs).macs


def test_resnet_stem_and_head_by_hand() -> None:
    # Conv 7x7/2, 3 -> 64 channels, on 224 px: 112*112 places * 64 filters * 3*7*7 products; then 1000x64 for the head.
    model = text_model(
        "f = Conv<strides=[2,2], pads=[3,3,3,3]>(x, w)  p = GlobalAveragePool(f)  q = Flatten(p)"
        "y = Gemm<transB=1>(q, d)",
        x="float[N,3,224,224] x",
        y="float[N,1000] y",
        init={"w": np.zeros((64, 3, 7, 7), np.float32), "d": np.zeros((1000, 64), np.float32)},
    )
    assert counted(model) == 112 * 112 * 64 * 147 + 64_000
    assert counted(model, batch=4) == 4 * (112 * 112 * 64 * 147 + 64_000)


def test_the_bound_of_a_full_grid_is_one_plus_the_heads_share() -> None:
    model = text_model(
        "f = Conv<pads=[1,1,1,1]>(x, w)  p = GlobalAveragePool(f)  q = Flatten(p)  y = Gemm<transB=1>(q, d)",
        x="float[N,3,6,5] x",
        y="float[N,7] y",
        init={"w": np.ones((4, 3, 3, 3), np.float32), "d": np.ones((7, 4), np.float32)},
    )
    inputs = concrete_inputs(ModelGraph(model), 1, (6, 5))
    before = count_work(model, None, inputs)
    after = count_work(rewrite_model(model).model, None, inputs)
    assert before.macs == 6 * 5 * 4 * 27 + 7 * 4
    assert after.macs - before.macs == 6 * 5 * 7 * 4  # the head at each of 30 cells
    assert before.by_op == {"Conv": 6 * 5 * 4 * 27, "Gemm": 28}


def test_open_sizes_are_counted_at_the_size_that_is_measured() -> None:
    model = text_model(
        "f = Conv(x, w)  p = GlobalAveragePool(f)  y = Flatten(p)",
        x="float[N,3,h,v] x",
        y="float[N,2] y",
        init={"w": np.ones((2, 3, 1, 1), np.float32)},
    )
    assert counted(model, size=(10, 20)) == 200 * 6
    assert counted(model, size=(20, 20)) == 400 * 6


def test_local_functions_are_looked_into() -> None:
    model = text_model(
        "y = local.head(x, w)",
        domains='"local" : 1',
        functions='<opset_import: ["" : 17], domain: "local"> head (a, b) => (c) '
        "{ p = GlobalAveragePool(a)  q = Flatten(p)  c = MatMul(q, b) }",
        init={"w": np.ones((6, 5), np.float32)},
    )
    assert counted(model) == 30


SHAPES = {
    "image": (2, 6, 9, 7),
    "grouped": (8, 3, 3, 3),  # two groups of three channels
    "map": (2, 8, 7, 5),
    "turned": (6, 4, 2, 2),
    "up": (2, 8, 18, 14),
    "a": (3, 4),
    "at": (4, 3),
    "b": (4, 5),
    "ab": (3, 5),
    "many": (2, 3, 4),
    "products": (2, 3, 5),
    "s": (),
}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (helper.make_node("Conv", ["image", "grouped"], ["map"], group=2), 2 * 8 * 35 * 3 * 9),
        (helper.make_node("QLinearConv", ["image", "s", "s", "grouped", "s", "s", "s", "s"], ["map"]), 560 * 27),
        (helper.make_node("ConvTranspose", ["image", "turned"], ["up"], group=2), 2 * 6 * 63 * 4 * 4),
        (helper.make_node("Gemm", ["a", "b"], ["ab"]), 60),
        (helper.make_node("Gemm", ["at", "b"], ["ab"], transA=1), 60),
        (helper.make_node("MatMul", ["many", "b"], ["products"]), 2 * 60),
        (helper.make_node("Einsum", ["many", "b"], ["products"], equation="nij,jk->nik"), 2 * 60),
        (helper.make_node("Relu", ["a"], ["a2"]), 0),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)
def test_each_operator_by_hand(node: onnx.NodeProto, expected: int) -> None:
    assert work_of([node], SHAPES).macs == expected


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_a_matrix_product_has_as_many_multiply_adds_as_three_loops(n: int, i: int, j: int, k: int) -> None:
    node = helper.make_node("MatMul", ["x", "y"], ["z"])
    loops = sum(1 for _ in itertools.product(range(n), range(i), range(j), range(k)))
    assert work_of([node], {"x": (n, i, j), "y": (j, k), "z": (n, i, k)}).macs == loops


def test_an_operator_whose_shapes_are_not_known_is_told_and_not_counted_as_nothing() -> None:
    node = helper.make_node("MatMul", ["x", "y"], ["z"])
    found = work_of([node, helper.make_node("Einsum", ["a", "b"], ["c"], equation="...i,ij->...j")], SHAPES)
    assert (found.macs, found.unknown) == (0, {"MatMul": 1, "Einsum": 1})
