"""The walk itself: what it asks, what it remembers, and what it hands to rules."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.lifted import Lifted
from onnx_gapmil.lift.lifting import Lifting
from onnx_gapmil.lift.rules import RULES
from onnx_gapmil.lift.verdict import HeadRefused, Refusal
from tests.helpers.support import run, text_model, weights

POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)"


def walk_over(model: onnx.ModelProto, rules: Any = RULES) -> Lifting:
    graph = ModelGraph(model)
    return Lifting(graph, trace(graph), GraphBuilder(graph), "contribution", rules)


DIAMOND = text_model(
    f"{POOL}\n a = Gemm<transB=1>(f, w)\n b = Neg(a)\n c = Add(a, b)\n y = Sub(c, b)", init={"w": weights(5, 6)}
)


def test_every_tensor_is_lifted_once_however_many_read_it() -> None:
    asked: Counter[str] = Counter()

    def counted(rule: Any) -> Any:
        def lift(node: Any, walk: Lifting) -> Lifted:
            asked[walk.output] += 1
            return rule(node, walk)

        return lift

    walk = walk_over(DIAMOND, {key: counted(rule) for key, rule in RULES.items()})
    walk.lift("y")
    assert {name: asked[name] for name in "pfabcy"} == dict.fromkeys("pfabcy", 1)


def test_chain_has_every_step_once_behind_those_that_it_needs() -> None:
    walk = walk_over(DIAMOND)
    walk.lift("y")
    assert [step.output for step in walk.chain("y")] == ["p", "f", "a", "b", "c", "y"]
    assert [step.output for step in walk.chain("b")] == ["p", "f", "a", "b"]


def test_a_refusal_tells_the_way_from_the_logits() -> None:
    model = text_model(f"{POOL}\n q = Hardmax(f)\n y = Neg(q)", y="float[N,6] y")
    walk = walk_over(model)
    found = walk.try_lift("y")
    assert isinstance(found, Refusal)
    assert (found.code, found.node) == ("unknown-operator", "Hardmax making 'q'")
    assert found.walked == ("Neg making 'y'", "Hardmax making 'q'")
    with pytest.raises(HeadRefused, match="no lift rule for Hardmax"):
        walk.lift("y")


def test_without_rules_the_walk_ends_where_it_starts() -> None:
    found = walk_over(DIAMOND, {}).try_lift("y")
    assert isinstance(found, Refusal)
    assert (found.code, found.node) == ("unknown-operator", "Sub making 'y'")


def test_the_default_domain_has_two_names() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(DIAMOND)
    for node in model.graph.node:
        node.domain = "ai.onnx"
    assert walk_over(model).lift("y").channels == 5


@pytest.mark.parametrize(
    ("operand", "out", "axis"),
    [
        pytest.param((), (2, 6), 0, id="scalar"),
        pytest.param((1, 1), (2, 6), 0, id="one_number_of_two_axes"),
        pytest.param((6,), (2, 6), 0, id="vector"),
        pytest.param((2, 1), (2, 6), 0, id="one_for_each_image"),
        pytest.param((2, 6), (2, 6), 0, id="pooled_tensor"),
        pytest.param((3, 1), (2, 3, 4), 0, id="one_axis_of_two"),
        pytest.param((4,), (2, 3, 4), 0, id="the_other_axis_of_two"),
        pytest.param((6, 1), (6, 2), 1, id="batch_last"),
        pytest.param((6, 2), (6, 2), 1, id="pooled_tensor_with_the_batch_last"),
        pytest.param((3, 1, 4), (3, 2, 4), 1, id="batch_between"),
        pytest.param((3, 4), (3, 4), None, id="no_batch"),
    ],
)
def test_operand_is_brought_to_the_grid_as_numpy_broadcasts_it(
    operand: tuple[int, ...], out: tuple[int, ...], axis: int | None
) -> None:
    """``per_cell`` beside NumPy: broadcast to the pooled tensor, then its channels row by row for each image."""
    value = weights(*operand, seed=5) if operand else np.float32(1.5)
    model = text_model(f"{POOL}\n y = Gemm<transB=1>(f, w)", init={"w": weights(5, 6), "operand": value})
    walk = walk_over(model)
    name = walk.per_cell("operand", out, axis)
    nodes = walk.build.nodes_for([name])
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    walk.build.append_to(rewritten, [name])
    rewritten.graph.output.append(onnx.ValueInfoProto(name=name))
    found = run(rewritten, np.zeros((2, 6, 3, 5), np.float32))[1] if nodes else value
    wide = np.broadcast_to(value, out)
    batch = out[axis] if axis is not None else 1
    expected = (wide if axis is None else np.moveaxis(wide, axis, 0)).reshape(batch, -1, 1, 1)
    np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)


def test_a_node_is_run_by_the_runtime_with_its_fixed_inputs() -> None:
    model = text_model(
        f"{POOL}\n n = Shape<start=1, end=2>(f)\n s = Concat<axis=0>(minus, n)\n r = Reshape(f, s)\n y = Identity(r)",
        y="float[N,6] y",
        init={"minus": np.array([-1])},
    )
    walk = walk_over(model)
    node = walk.graph.producer("r")
    assert node is not None
    (answer,) = walk.run_node(node, {"f": np.arange(12, dtype=np.int64)})
    np.testing.assert_array_equal(answer, np.arange(12).reshape(2, 6))
    assert walk.is_fixed("s")
    np.testing.assert_array_equal(walk.value("s"), [-1, 6])


def test_a_node_that_reads_the_image_twice_cannot_be_run_on_numbers() -> None:
    walk = walk_over(DIAMOND)
    node = walk.graph.producer("c")
    assert node is not None
    with pytest.raises(HeadRefused, match="its input 'b' is not fixed"):
        walk.run_node(node, {"a": np.zeros((2, 5), np.float32)})


def test_a_shape_that_could_not_be_traced_is_refused() -> None:
    with pytest.raises(HeadRefused, match="could not be traced"):
        walk_over(DIAMOND).shape("nothing")
