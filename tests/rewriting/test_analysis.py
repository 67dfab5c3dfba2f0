"""A model read, traced and searched: once, and with the vendor's graph untouched where that will do."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.rewriting.analysis import analyse
from tests.helpers.support import text_model, weights

INIT = {"w": weights(5, 6), "b": weights(5)}
POOLED = "p = GlobalAveragePool(a)  f = Flatten(p)  c = Gemm<transB=1>(f, v, d)"
FUNCTION = '<domain: "local", opset_import: ["" : 17]> Head (a, v, d) => (c) {{ {body} }}'


def with_function(body: str, graph: str = "y = local.Head(x, w, b)") -> onnx.ModelProto:
    return text_model(graph, domains='"local" : 1', functions=FUNCTION.format(body=body), init=INIT)


def test_functions_are_inlined_where_they_hide_the_head() -> None:
    analysis = analyse(with_function(POOLED))
    assert analysis.inlined
    assert [head.output for head in analysis.search.heads] == ["y"]
    assert len(analysis.graph.proto.functions) == 0
    assert len(analysis.source.proto.functions) == 1


def test_functions_are_left_alone_where_the_head_is_seen_without() -> None:
    graph = "t = local.Head(x, w, b)\n p = GlobalAveragePool(t)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"
    analysis = analyse(with_function("c = Relu(a)", graph))
    assert not analysis.inlined
    assert analysis.graph.proto is analysis.source.proto
    assert len(analysis.search.heads) == 1


def test_functions_are_left_alone_where_inlining_finds_no_more() -> None:
    analysis = analyse(with_function("g = ReduceMax<axes=[1], keepdims=0>(a)  c = Flatten(g)"))
    assert not analysis.inlined
    assert analysis.search.heads == ()


def test_a_model_that_was_read_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(with_function(POOLED), path)
    loaded = load_model(path)
    path.unlink()
    assert analyse(loaded).source is loaded


def test_a_model_that_does_not_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(text_model("y = Add(x, w)", init=INIT), path)
    with pytest.raises(ModelError, match=r"m\.onnx: "):
        analyse(path)
