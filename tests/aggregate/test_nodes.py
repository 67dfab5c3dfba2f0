"""The aggregators as ONNX nodes equal those in NumPy, on every operator set, in every type, at every size."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from scipy.special import expit

from onnx_gapmil.aggregate import AGGREGATORS, parse_aggregator
from onnx_gapmil.aggregate.nodes import CellNodes
from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.builder import GraphBuilder
from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import session, text_model

KEYS = [
    *AGGREGATORS,
    "lse=10",
    "lse=0.05",
    "topk=0.5",
    "topk=1",
    "topk=3",
    "topk=999",
    "softmax_weighted=0.2",
    "generalized_mean=1",
]
OPSETS = [7, 8, 9, 10, 11, 13, 17, 18, 20, 23]
ELEMENTS = {"float": np.float32, "float16": np.float16, "double": np.float64}


def graph_of(classes: int, size: str, opset: int, element: str) -> tuple[onnx.ModelProto, GraphBuilder]:
    ir = 3 if opset < 9 else 8
    model = text_model(
        "y = Identity(x)",
        x=f"{element}[N,{classes},{size}] x",
        y=f"{element}[N,{classes},{size}] y",
        opset=opset,
        ir=ir,
    )
    return model, GraphBuilder(ModelGraph(model))


def finished(model: onnx.ModelProto, build: GraphBuilder, names: list[str]) -> onnx.ModelProto:
    build.append_to(model, names)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model


@functools.cache
def runner(classes: int, size: str, opset: int = 17, element: str = "float", optimize: bool = False):
    """All aggregators of one grid in one graph; gives the scores by key."""
    model, build = graph_of(classes, size, opset, element)
    cells = None if "H" in size else int(np.prod([int(axis) for axis in size.split(",")]))
    nodes = CellNodes(build, "x", channels=classes, dtype=np.dtype(ELEMENTS[element]), cells=cells)
    keys = KEYS if cells or opset >= 10 else [key for key in KEYS if not key.startswith(("topk", "median"))]
    names = [nodes.scores(parse_aggregator(key)) for key in keys]
    made = session(finished(model, build, names), optimize=optimize)
    return lambda grid: dict(zip(keys, made.run(None, {"x": grid}), strict=True))


def assert_scores(got: dict[str, np.ndarray], grid: np.ndarray) -> None:
    """Equal to NumPy's up to rounding relative to what went in; probabilities as their logarithms are."""
    wide = grid.astype(np.float64)
    limit = 1e-12 if grid.dtype == np.float64 else 3e-6
    scale = max(1.0, float(np.abs(wide).max()))
    for key, array in got.items():
        expected = parse_aggregator(key)(wide)
        assert array.shape == expected.shape
        assert array.dtype == (np.float64 if grid.dtype == np.float64 else np.float32)
        assert np.isfinite(array).all(), key
        sums = grid.shape[2] * grid.shape[3] if key == "noisy_or" else 1
        sharp = 20 if key == "lse=0.05" else 1  # its logarithm is divided by r
        np.testing.assert_allclose(array, expected, rtol=limit * scale, atol=limit * scale * sums * sharp, err_msg=key)


@st.composite
def grids(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    shape = draw(st.sampled_from([(1, 1, 1), (1, 3, 2), (2, 2, 2), (3, 1, 5), (5, 3, 3), (4, 1, 1)]))
    values = draw(
        st.lists(
            st.sampled_from([-1e4, 1e4, 9999.0, 0.0, 1.0, -1.0]) | st.floats(-30, 30, width=16),
            min_size=int(2 * np.prod(shape)),
            max_size=int(2 * np.prod(shape)),
        )
    )
    return np.array(values).reshape(2, *shape), f"{shape[1]},{shape[2]}"


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("element", ["float", "float16"])
@pytest.mark.parametrize("opset", [7, 11, 13, 17, 20])
@given(case=grids())
@settings(max_examples=40)
def test_nodes_equal_numpy(opset: int, element: str, optimize: bool, case: tuple[np.ndarray, str]) -> None:
    grid, size = case
    array = grid.astype(ELEMENTS[element])
    assert_scores(runner(grid.shape[1], size, opset, element, optimize)(array), array)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 5), (7, 7)])
def test_nodes_equal_numpy_where_the_size_is_open(opset: int, size: tuple[int, int]) -> None:
    grid = np.random.default_rng(3).normal(0, 4, (2, 6, *size)).astype(np.float32)
    assert_scores(runner(6, "H,W", opset)(grid), grid)


@pytest.mark.parametrize("opset", [11, 17])
def test_float64_stays_float64(opset: int) -> None:
    grid = np.random.default_rng(3).normal(0, 40, (2, 6, 3, 4))
    assert_scores(runner(6, "3,4", opset, "double")(grid), grid)


def test_share_of_an_open_number_of_cells_is_rounded_as_in_numpy() -> None:
    """0.2 of 5 cells is one cell, and a little more than one in float32; 0.1 of 5 is half a cell, and rounds up."""
    for cells in range(1, 60):
        grid = np.arange(cells, dtype=np.float32).reshape(1, 1, 1, cells) ** 2
        got = runner(1, "H,W")(grid)
        for key in ("topk", "topk=0.5", "topk=1", "topk=3", "topk=999", "median"):
            np.testing.assert_allclose(got[key], parse_aggregator(key)(grid), rtol=1e-6, err_msg=f"{key} of {cells}")


@pytest.mark.parametrize("optimize", [False, True])
def test_order_of_unlikely_classes_is_kept(optimize: bool) -> None:
    """Where one class wins every cell by far, the others' noisy-or scores are 1e-20, and still in their order."""
    grid = np.zeros((1, 6, 2, 2), np.float32)
    grid[:, 0] = 60
    grid[0, 1:] += np.arange(5, dtype=np.float32)[:, None, None]
    got = runner(6, "2,2", optimize=optimize)(grid)["noisy_or"][0]
    expected = AGGREGATORS["noisy_or"](grid)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert (np.diff(got[1:]) > 0).all()


@pytest.mark.parametrize("opset", [7, 11, 13, 17, 20])
@pytest.mark.parametrize("classes", [1, 5])
def test_reference_evaluator_agrees(opset: int, classes: int) -> None:
    model, build = graph_of(classes, "3,4", opset, "float")
    nodes = CellNodes(build, "x", channels=classes, dtype=np.dtype(np.float32), cells=12)
    keys = [key for key in KEYS if opset > 7 or not key.startswith(("topk", "median"))]
    names = [nodes.scores(parse_aggregator(key)) for key in keys]
    extra = [nodes.argmax, nodes.certainty, nodes.peaks]
    finished(model, build, [*names, *extra])
    grid = np.random.default_rng(5).normal(0, 5, (2, classes, 3, 4)).astype(np.float32)
    grid[0, 0, 0, 0] = 80
    *scores, argmax, certainty, peaks = ReferenceEvaluator(model).run(None, {"x": grid})
    assert_scores(dict(zip(keys, scores, strict=True)), grid)
    np.testing.assert_array_equal(argmax, grid.argmax(axis=1))
    np.testing.assert_array_equal(peaks, grid.reshape(2, classes, -1).argmax(axis=2))
    assert certainty.max() <= 1


@pytest.mark.parametrize("element", ["float", "float16", "double"])
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_what_cells_say(opset: int, classes: int, element: str) -> None:
    model, build = graph_of(classes, "2,3", opset, element)
    nodes = CellNodes(build, "x", channels=classes, dtype=np.dtype(ELEMENTS[element]))
    made = session(finished(model, build, [nodes.argmax, nodes.certainty, nodes.peaks]))
    rng = np.random.default_rng(classes)
    grid = rng.integers(-2, 3, (3, classes, 2, 3)).astype(ELEMENTS[element])  # many ties
    grid[0, 0, 1, 2] = 1e4
    argmax, certainty, peaks = made.run(None, {"x": grid})
    assert argmax.dtype == peaks.dtype == np.int64
    np.testing.assert_array_equal(argmax, grid.argmax(axis=1))
    np.testing.assert_array_equal(peaks, grid.reshape(3, classes, 6).argmax(axis=2))
    wide = grid.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    expected = 1 / (1 + np.exp(-wide[:, 0])) if classes == 1 else 1 / np.exp(shifted).sum(axis=1)
    np.testing.assert_allclose(certainty, expected, rtol=1e-6)


@pytest.mark.parametrize("key", ["topk", "median"])
def test_sorting_an_open_number_of_cells_needs_a_newer_operator_set(key: str) -> None:
    _, build = graph_of(3, "H,W", 9, "float")
    with pytest.raises(InputError, match="operator set 9 cannot where the input's size is open"):
        CellNodes(build, "x", channels=3, dtype=np.dtype(np.float32)).scores(parse_aggregator(key))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 40))
def test_classes_that_are_read_alone_have_their_own_sigmoid(seed: int, scale: float) -> None:
    """Of several sigmoids no class takes anything from another: each scores as a model of it alone does."""
    grid = (np.random.default_rng(seed).standard_normal((2, 5, 3, 4)) * scale).astype(np.float32)
    got = alone_runner()(grid)
    for place in range(5):
        own = grid[:, place : place + 1]
        assert_scores({key: got[key][:, place : place + 1] for key in KEYS}, own)
    np.testing.assert_allclose(got["certainty"], expit(grid.astype(np.float64)).max(axis=1), rtol=1e-5, atol=1e-6)


@functools.cache
def alone_runner():
    model, build = graph_of(5, "3,4", 17, "float")
    nodes = CellNodes(build, "x", channels=5, dtype=np.dtype(np.float32), cells=12, alone=True)
    names = [*(nodes.scores(parse_aggregator(key)) for key in KEYS), nodes.certainty]
    made = session(finished(model, build, names), optimize=False)
    return lambda grid: dict(zip([*KEYS, "certainty"], made.run(None, {"x": grid}), strict=True))
