"""Sums of many: what is one number for each channel goes over the map once."""

from __future__ import annotations

import numpy as np
import onnx

from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.rewriting.emission.sums import collect_sums
from tests.helpers.support import run, text_model

MAP, VECTOR = (2, 4, 3, 5), (1, 4, 1, 1)


def summed(order: list[tuple[str, str]], twice: str = "") -> tuple[list[onnx.NodeProto], np.ndarray, np.ndarray]:
    """The nodes that are left of a row of additions, and their result before and after, in float64.

    Args:
        order: what is added to what; the n-th sum is called ``sN``, a map starts with m, a vector with v.
        twice: a sum that is an output, too.
    """
    model = text_model("y = Identity(m0)", x="double[2,4,3,5] m0", y="double[2,4,3,5] y")
    rng = np.random.default_rng(0)
    build, shapes, names = GraphBuilder(ModelGraph(model)), {}, {}
    for name in sorted({name for pair in order for name in pair if name[0] in "mv"}):
        shape = MAP if name[0] == "m" else VECTOR
        names[name] = "m0" if name == "m0" else build.constant(rng.standard_normal(shape))
        shapes[names[name]] = shape
    for place, pair in enumerate(order):
        names[f"s{place}"] = build.node("Add", [names[name] for name in pair])
        shapes[names[f"s{place}"]] = MAP if any(shapes[names[name]] == MAP for name in pair) else VECTOR
    last = names[f"s{len(order) - 1}"]
    if twice:
        last, shapes[last] = build.node("Mul", [last, names[twice]]), MAP
        shapes[last] = MAP
    x = rng.standard_normal(MAP)

    def result() -> np.ndarray:
        whole = onnx.ModelProto()
        whole.CopyFrom(model)
        build.append_to(whole, [last])
        whole.graph.output.append(onnx.ValueInfoProto(name=last))
        return run(whole, {"m0": x}, [last])[0]

    before = result()
    collect_sums(build, shapes, last)
    return build.nodes_for([last]), before, result()


def over_the_map(nodes: list[onnx.NodeProto]) -> int:
    """How many additions have a constant of one number for each channel beside what is none."""
    made = {node.output[0]: node for node in nodes}

    def flat(name: str) -> bool:
        return name != "m0" and (name not in made or all(flat(read) for read in made[name].input))

    return sum(node.op_type == "Add" and sum(map(flat, node.input)) == 1 for node in nodes)


def test_vectors_are_added_up_before_they_meet_the_map() -> None:
    order = [("m0", "v1"), ("v2", "s0"), ("s1", "m0"), ("s2", "v3")]
    nodes, before, after = summed(order)
    assert over_the_map(nodes) == 1
    assert [node.op_type for node in nodes] == ["Add"] * 4
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-13)


def test_a_sum_that_is_read_twice_stays_a_sum() -> None:
    nodes, before, after = summed([("m0", "v1"), ("s0", "v2"), ("s1", "v3"), ("s2", "v4")], twice="s1")
    assert over_the_map(nodes) == 2  # once before it, once behind
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-13)


def test_one_vector_is_left_where_it_is() -> None:
    nodes, before, after = summed([("m0", "v1"), ("s0", "m0")])
    assert [node.input[0] for node in nodes] == ["m0", nodes[0].output[0]]
    np.testing.assert_array_equal(after, before)
