"""Branches that are always taken, opened up: the same outputs, and names that are for one tensor each."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from onnx_gapmil.graph.branches import splice_branches
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.rewriting.analysis import analyse
from tests.helpers.support import check_exact, images, run, weights

BODY = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,6,3,5] x) => (float[N,5] y) <float[5,6] w, float[5] b, bool yes, bool no> {
  p = GlobalAveragePool(x)
  f = Flatten(p)
  z = If (yes) <
    then_branch = one () => (float[N,5] t) { m = Gemm<transB=1>(f, w)  t = Add(m, b) },
    else_branch = two () => (float[N,5] e) { m = Gemm<transB=1>(f, w)  e = Neg(m) }>
  y = If (no) <
    then_branch = three () => (float[N,5] t) { t = Neg(z) },
    else_branch = four () => (float[N,5] e) {
      m = Add(z, b)
      e = If (yes) <
        then_branch = five () => (float[N,5] t) { t = Sub(m, b) },
        else_branch = six () => (float[N,5] u) { u = Neg(m) }> }>
}"""


def model() -> onnx.ModelProto:
    made = parser.parse_model(BODY)
    for name, value in {"w": weights(5, 6), "b": weights(5), "yes": np.array(True), "no": np.array(False)}.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return made


def test_branches_are_opened_up_however_deep_they_lie() -> None:
    made = model()
    opened = made
    for _ in range(3):
        opened = splice_branches(opened, ModelGraph(opened).value)
    assert not [node for node in opened.graph.node if node.op_type == "If"]
    onnx.checker.check_model(opened)
    names = [name for node in opened.graph.node for name in node.output]
    assert len(names) == len(set(names))
    x = images(made)
    np.testing.assert_array_equal(run(opened, x)[0], run(made, x)[0])


def test_conditions_that_the_image_decides_stay() -> None:
    made = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N,6] x, bool c) => (float[N,6] y) {'
        " y = If (c) <then_branch = a () => (float[N,6] t) { t = Neg(x) },"
        " else_branch = b () => (float[N,6] e) { e = Abs(x) }> }"
    )
    assert splice_branches(made, ModelGraph(made).value) is made


def test_a_head_in_a_branch_that_is_always_taken_is_lifted() -> None:
    made = model()
    check_exact(made)
    assert analyse(made).inlined


@pytest.mark.parametrize("name", ["w", "b"])
def test_weights_of_a_branch_are_its_own(name: str) -> None:
    """An initializer of the branch has the name of one around it."""
    made = model()
    branch = made.graph.node[2].attribute[0].g
    branch.initializer.append(onnx.numpy_helper.from_array(2 * weights(*((5, 6) if name == "w" else (5,))), f"{name}2"))
    for node in branch.node:
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = f"{name}2"
    opened = splice_branches(made, ModelGraph(made).value)
    x = images(made)
    np.testing.assert_array_equal(run(opened, x)[0], run(made, x)[0])


def by_shape(x: str, *, axis: int, length: int, made: str = "Shape(x)") -> onnx.ModelProto:
    """A head whose branch is chosen by the length of an axis of the map's shape, or of what is made of it."""
    parsed = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
g ({x}) => (float[N,5] y) <float[5,6] w, float[5] b, int64 axis, int64 length> {{
  s = {made}
  d = Gather(s, axis)
  c = Equal(d, length)
  p = GlobalAveragePool(x)
  q = Flatten(p)
  y = If (c) <
    then_branch = one () => (float[N,5] t) {{ t = Gemm<transB=1>(q, w, b) }},
    else_branch = two () => (float[N,5] e) {{ m = Gemm<transB=1>(q, w)  e = Neg(m) }}>
}}"""
    )
    init = {"w": weights(5, 6), "b": weights(5), "axis": np.array(axis), "length": np.array(length)}
    for name, value in init.items():
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return parsed


@pytest.mark.parametrize(
    ("x", "axis", "length"),
    [
        ("float[2,6,3,5] x", 3, 5),  # nothing is open
        ("float[2,6,3,5] x", 0, 7),  # and the other branch
        ("float[N,6,H,W] x", 1, 6),  # what is asked for is fixed
        ("float[N,6,3,W] x", 2, 4),
    ],
)
def test_a_branch_that_fixed_dimensions_choose_is_taken(x: str, axis: int, length: int) -> None:
    made = by_shape(x, axis=axis, length=length)
    check_exact(made)
    assert analyse(made).inlined


@pytest.mark.parametrize(
    ("x", "axis", "length", "shape"),
    [
        ("float[N,6,3,5] x", 0, 1, "Shape(x)"),
        ("float[N,6,3,W] x", 3, 7, "Shape(x)"),
        ("float[N,6,3,W] x", 0, 7, "Slice"),
    ],
)
def test_a_branch_that_an_open_dimension_chooses_is_refused_by_that_reason(
    x: str, axis: int, length: int, shape: str
) -> None:
    """The traced size would have chosen one; another size chooses the other."""
    if shape == "Slice":
        made = by_shape(x, axis=axis, length=length, made="Slice(f2, three, four)")
        place = next(place for place, node in enumerate(made.graph.node) if node.op_type == "Slice")
        made.graph.node.insert(place, onnx.helper.make_node("Shape", ["x"], ["f2"]))
        for name, value in (("three", 3), ("four", 4)):
            made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    else:
        made = by_shape(x, axis=axis, length=length, made=shape)
    found = analyse(made).search
    assert not found.heads
    refusal = found.refusals["y"]
    assert refusal.code == "unknown-operator"
    assert "the size of the input decides which of its branches runs" in refusal.message
