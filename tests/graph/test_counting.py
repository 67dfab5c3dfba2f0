"""What a model would cost is counted before anything is expanded or run."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx.inliner
import pytest

from onnx_gapmil.errors import LimitError, ModelError
from onnx_gapmil.graph.counting import inlined_nodes
from onnx_gapmil.ort import limits
from onnx_gapmil.rewriting.inspection import inspect
from tests.helpers import hostile


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_nodes_are_those_of_the_inlined_graph(levels: int) -> None:
    model = hostile.function_bomb(levels)
    assert inlined_nodes(model) == len(onnx.inliner.inline_local_functions(model).graph.node) == 2**levels + 3


def test_2_to_the_39_calls_are_counted_and_not_made() -> None:
    assert inlined_nodes(hostile.function_bomb()) == 2**39 + 3


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (hostile.function_bomb, "549,755,813,891 nodes, local functions inlined.*--limit-seconds"),
        (lambda: hostile.chain(200_000), "200,003 nodes.*--limit-seconds"),
        (lambda: hostile.many_metadata(200_000), "200,000 entries of metadata.*--limit-seconds"),
        (lambda: hostile.duplicate_names(110_000), "110,00. inputs, outputs, weights.*--limit-seconds"),
        (lambda: hostile.classifier(shape=(1, 3, 30_000, 30_000)), "takes 10.8 GB of memory.*--limit-memory"),
        (lambda: hostile.classifier(shape=(1, 3, 6_000, 6_000)), "has 108,000,000 elements.*--limit-seconds"),
        (lambda: hostile.classifier(shape=(1_000_000, 3, 64, 64)), "takes 49.2 GB of memory.*--limit-memory"),
        (lambda: hostile.large_intermediate(20_000), r"node 'Expand' \(Expand\) makes takes 4.8 GB.*--limit-memory"),
    ],
    ids=["calls", "nodes", "metadata", "names", "memory", "elements", "batch", "intermediate"],
)
def test_what_costs_too_much_is_refused_with_the_limit_and_how_to_raise_it(
    monkeypatch: pytest.MonkeyPatch, model: Callable[[], onnx.ModelProto], words: str
) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 100_000_000_000)
    with pytest.raises(LimitError, match=words):
        inspect(model())


def test_a_name_that_occurs_twice_among_many_is_found_at_once() -> None:
    with pytest.raises(ModelError, match="'n49999' is defined twice"):
        inspect(hostile.duplicate_names(50_000))


@pytest.mark.parametrize(
    ("model", "words"),
    [(hostile.self_calling_function, "'f0' calls itself"), (lambda: hostile.function_chain(2_000), "101 deep")],
    ids=["itself", "deep"],
)
def test_functions_that_cannot_be_inlined_are_refused(model: Callable[[], onnx.ModelProto], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        inspect(model())


def test_a_limit_that_is_raised_lets_it_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARTS_PER_SECOND", 1)
    with pytest.raises(LimitError, match="54 nodes"):
        inspect(hostile.chain(51))
    limits.set_seconds(60)
    try:
        assert inspect(hostile.chain(51)).verdict == "exact"
    finally:
        limits.set_seconds(None)


def test_a_graph_of_thousands_of_nodes_has_the_shapes_that_it_has_traced_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from onnx_gapmil.graph import trace as tracing
    from onnx_gapmil.graph.view import ModelGraph

    graph = ModelGraph(hostile.chain(60))
    one_by_one = tracing.trace(graph)
    monkeypatch.setattr(tracing, "_MANY_NODES", 10)
    at_once = tracing.trace(graph)
    assert at_once.shapes == one_by_one.shapes
    assert at_once.measured
