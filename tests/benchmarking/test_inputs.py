"""Which size and batch a model is measured at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_gapmil.benchmarking.inputs import bench_inputs, choose_size, fixed_batch
from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import text_model

BODY = "f = Conv(x, w)  p = GlobalAveragePool(f)  y = Flatten(p)"
WEIGHTS = {"w": np.ones((5, 3, 1, 1), np.float32)}


def model(x: str) -> onnx.ModelProto:
    return text_model(BODY, x=f"{x} x", init=WEIGHTS)


def size_of(proto: onnx.ModelProto, wanted: tuple[int, int] | None = None, folder: Path | None = None):
    if folder is None:
        loaded = load_model(proto)
    else:
        (folder / "m.onnx").write_bytes(proto.SerializeToString())
        loaded = load_model(folder / "m.onnx")
    graph = ModelGraph(loaded.proto)
    return choose_size(graph, loaded, trace(graph), wanted)


def test_a_size_that_the_graph_fixes_needs_no_choice() -> None:
    found = size_of(model("float[N,3,48,64]"))
    assert (found.size, found.source) == (None, "fixed by the graph")
    assert size_of(model("float[N,3,48,64]"), wanted=(48, 64)).size is None


def test_a_size_against_the_graph_is_refused() -> None:
    with pytest.raises(InputError, match=r"--size 224x224: the graph of g fixes its input to 48x64"):
        size_of(model("float[N,3,48,64]"), wanted=(224, 224))


def test_an_open_size_is_as_asked_for() -> None:
    assert size_of(model("float[N,3,h,v]"), wanted=(40, 56)).size == (40, 56)


def test_an_open_size_comes_from_the_preprocessing_beside_the_model(tmp_path: Path) -> None:
    stated = {
        "layout": "NCHW",
        "color": "RGB",
        "size": [40, 56],
        "resize": "squash",
        "crop": 1.0,
        "interpolation": "bilinear",
        "scale": 1.0,
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "dtype": "float32",
    }
    (tmp_path / "m.preprocess.json").write_text(json.dumps(stated), encoding="utf-8")
    found = size_of(model("float[N,3,h,v]"), folder=tmp_path)
    assert found.size == (40, 56)
    assert "preprocessing" in found.source


def test_an_open_size_that_nothing_states_is_the_one_it_was_traced_at() -> None:
    found = size_of(model("float[N,3,h,v]"))
    assert found.size == (224, 224)
    assert found.source.startswith("assumed")


def test_a_feature_map_as_input_has_a_size_too() -> None:
    body = "p = GlobalAveragePool(x)  y = Flatten(p)"
    assert size_of(text_model(body, x="float[N,6,h,v] x", y="float[N,6] y")).size == (224, 224)


def test_inputs_have_the_batch_and_the_size() -> None:
    graph = ModelGraph(model("float[N,3,h,64]"))
    (entry,) = bench_inputs(graph, 8, (40, 56), "m")
    assert entry.traced == (8, 3, 40, 64)
    assert fixed_batch(trace(graph)) is None


def test_another_batch_than_the_graphs_is_refused() -> None:
    graph = ModelGraph(model("float[2,3,8,8]"))
    assert fixed_batch(trace(graph)) == 2
    with pytest.raises(InputError, match=r"--batch 8: the graph of m takes batches of 2 only"):
        bench_inputs(graph, 8, None, "m")
