"""Tables of rules are values: nothing is registered, and a caller's own rule reaches one walk alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.heads import lift_heads
from onnx_gapmil.lift.lifted import Lifted
from onnx_gapmil.lift.lifting import Lifting
from onnx_gapmil.lift.rules import RULES, affine
from onnx_gapmil.lift.table import rule, rule_table, rules_in
from tests.helpers.support import run, text_model, weights

#: No rule is for Det: of the 1x1 matrices that a pooled map is made of it is the identity.
MODEL = text_model(
    "p = GlobalAveragePool(x)\n d = Det(p)\n y = Gemm<transB=1>(d, w)",
    init={"w": weights(5, 6)},
)


@rule("Det")
def lift_det(node: Any, walk: Lifting) -> Lifted:
    lifted = walk.lift(node.inputs[0].name)
    return walk.result(node, lifted.name, [lifted], "shape", "of 1x1 matrices")


def searched(**rules: Any) -> tuple[ModelGraph, GraphBuilder, Any]:
    graph = ModelGraph(MODEL)
    build = GraphBuilder(graph)
    return graph, build, lift_heads(graph, trace(graph), build, **rules)


def test_a_rule_that_is_handed_in_lifts_its_operator_in_that_walk_only() -> None:
    assert searched()[2].refusals["y"].code == "unknown-operator"
    _, build, search = searched(rules=RULES | rule_table([lift_det]))
    grid = search.heads[0].lifted.name
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(MODEL)
    build.append_to(rewritten, [grid])
    rewritten.graph.output.append(onnx.ValueInfoProto(name=grid))
    x = weights(2, 6, 3, 5, seed=3)
    expected = np.einsum("kc,nchw->nkhw", weights(5, 6), x)
    np.testing.assert_allclose(run(rewritten, x)[1], expected, rtol=1e-5, atol=1e-5)
    assert searched()[2].refusals["y"].code == "unknown-operator"


def test_two_rules_for_one_operator_are_an_error() -> None:
    with pytest.raises(ValueError, match="two lift rules for ::Neg"):
        rule_table([affine.lift_neg, affine.lift_neg])


def test_a_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        RULES["", "Det"] = lift_det  # type: ignore[index]


def test_a_function_marked_twice_is_the_rule_of_both_lists() -> None:
    twice = rule("B", "C", domain="other")(rule("A")(lift_det.function))
    assert twice.operators == (("other", "B"), ("other", "C"), ("", "A"))
    assert set(rule_table([twice]).values()) == {lift_det.function}


def test_rules_that_a_module_only_imports_are_not_its_own() -> None:
    import types

    module = types.ModuleType(__name__)
    module.mine, module.theirs = lift_det, affine.lift_neg  # type: ignore[attr-defined]
    assert rules_in(module) == [lift_det]


def test_every_operator_of_the_table_is_one_of_onnx_or_of_onnx_runtime() -> None:
    own = {schema.name for schema in onnx.defs.get_all_schemas()}
    by_domain: dict[str, set[str]] = {}
    for domain, operator in RULES:
        by_domain.setdefault(domain, set()).add(operator)
    assert by_domain[""] - own == {"SimplifiedLayerNormalization"}  # ONNX Runtime keeps it in ONNX's domain
    # Two that stand in no file: what an attention brings a class token, and where the head takes it.
    assert by_domain.pop("gapmil.tokens") == {"Attend", "Round", "Take"}
    assert set(by_domain) == {"", "ai.onnx.ml", "com.microsoft"}
