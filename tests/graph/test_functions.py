"""Inlining of local functions that hide a head."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.functions import has_functions, inline_functions
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import cell_by_cell, images, lift, text_model, weights

INIT = {"w": weights(5, 6), "b": weights(5)}


def model_with_function(function_opset: int, opset: int = 17) -> onnx.ModelProto:
    """The pool and the dense layer stand in a function, as jax2onnx writes them."""
    return text_model(
        "y = local.head(x, w, b)",
        opset=opset,
        domains='"local" : 1',
        functions=f"""<domain: "local", opset_import: ["" : {function_opset}]>
        head (features, weight, bias) => (logits) {{
            pooled = GlobalAveragePool(features)
            flat = Flatten(pooled)
            logits = Gemm<transB=1>(flat, weight, bias)
        }}""",
        init=INIT,
    )


@pytest.mark.parametrize("function_opset", [1, 13, 17])
def test_head_in_a_function_is_found_whatever_its_operator_set(function_opset: int) -> None:
    model = model_with_function(function_opset)
    found = rewrite_model(model)
    assert found.inlined
    assert found.verdict == "exact"
    assert has_functions(model)
    assert not has_functions(found.model)
    assert found.to_json()["functions_inlined"] is True


def test_grid_of_an_inlined_head() -> None:
    model = model_with_function(17)
    x = images(model)
    found = lift(model, x)
    expected = cell_by_cell(model, x).reshape(3, 5, 3, 5)
    np.testing.assert_allclose(found.grid, expected, atol=1e-5)


def test_inlining_leaves_its_argument_alone() -> None:
    model = model_with_function(1)
    before = model.SerializeToString()
    inline_functions(model)
    assert model.SerializeToString() == before


def test_functions_that_hide_nothing_stay() -> None:
    model = text_model(
        "k = local.trunk(x)\n p = GlobalAveragePool(k)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)",
        domains='"local" : 1',
        functions='<domain: "local", opset_import: ["" : 17]>\n trunk (a) => (r) { r = Relu(a) }',
        init=INIT,
    )
    found = rewrite_model(model)
    assert not found.inlined
    assert has_functions(found.model)
    assert list(found.model.functions) == list(model.functions)


def test_nested_functions() -> None:
    model = text_model(
        "y = local.outer(x, w, b)",
        domains='"local" : 1',
        functions="""<domain: "local", opset_import: ["" : 17, "local" : 1]>
        outer (a, c, d) => (z) { p = local.pool(a)
         z = Gemm<transB=1>(p, c, d) }
        <domain: "local", opset_import: ["" : 9]>
        pool (a) => (f) { g = GlobalAveragePool(a)
         f = Flatten(g) }""",
        init=INIT,
    )
    assert rewrite_model(model).verdict == "exact"
