"""What crosses from the device: the whole grid only where somebody needs all of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.errors import ModelError
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.prediction.describe import Describer
from onnx_gapmil.prediction.output_plan import OutputPlan, names_of
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.record import HeadRecord
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.running.grid_session import GridSession

REDUCED = {"argmax", "certainty", "peaks", "scores"}


def giving(text: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(emit=Emit.parse(text))]


def fetched(wanted: OutputPlan, activation: str = "none", gives: str | None = None, logits: int = 2) -> set[str]:
    return set(wanted.outputs(giving(gives or str(wanted.emit)), [Reading.of(activation, logits)]))


def test_on_the_cpu_the_grid_is_all_that_is_made() -> None:
    for pictures in (False, True):
        wanted = OutputPlan(pictures=pictures)
        assert str(wanted.emit) == "grid"
        assert fetched(wanted) == {"grid"}


def test_from_a_device_the_grid_does_not_cross_for_the_report_alone() -> None:
    wanted = OutputPlan(accelerated=True)
    assert set(wanted.emit.words) == {"grid", "argmax", "certainty", "peaks", "scores:max"}
    assert fetched(wanted) == fetched(wanted, "sigmoid", logits=1) == REDUCED


@pytest.mark.parametrize(
    ("wanted", "activation"),
    [
        (OutputPlan(accelerated=True), "softmax"),
        (OutputPlan(accelerated=True), "sigmoid"),
        (OutputPlan(accelerated=True, pictures=True), "none"),
        (OutputPlan(Emit.parse("grid"), accelerated=True), "none"),
    ],
)
def test_the_grid_crosses_for_a_cells_probability_a_picture_or_a_file(wanted: OutputPlan, activation: str) -> None:
    assert fetched(wanted, activation) == {"grid"}


def test_what_is_saved_is_emitted_and_fetched() -> None:
    arrays = Emit.parse("topk:5,classes:1,2,scores:lse=10,features")
    wanted = OutputPlan(arrays)
    assert wanted.emit == Emit.parse("grid,topk:5,classes:1,2,scores:lse=10,features")
    assert fetched(wanted) == {"grid", "features", "topk_classes", "topk_grid", "classes_grid", "scores"}
    assert OutputPlan(Emit.parse("scores:max,lse"), accelerated=True).emit.scores == Emit.parse("scores:max,lse").scores


def test_a_rewritten_file_that_gives_enough_is_taken_as_it_is() -> None:
    assert fetched(OutputPlan(pictures=True), gives="features,grid") == {"grid"}
    assert fetched(OutputPlan(), gives="argmax,certainty,peaks,scores:max") == REDUCED
    assert fetched(OutputPlan(), "softmax", gives="argmax,certainty,peaks,scores:max") == REDUCED


@pytest.mark.parametrize(
    ("wanted", "gives", "missing"),
    [
        (OutputPlan(), "topk:5", "argmax, certainty, peaks, scores:max"),
        (OutputPlan(pictures=True), "argmax,certainty,peaks,scores:max", "grid"),
        (OutputPlan(Emit.parse("features")), "grid", "features"),
    ],
)
def test_a_rewritten_file_that_gives_too_little_is_told(wanted: OutputPlan, gives: str, missing: str) -> None:
    with pytest.raises(ModelError, match=f"predict needs {missing} as well: give it the original"):
        wanted.outputs(giving(gives), [Reading.of("none", 2)])


def test_names_of_arrays() -> None:
    assert names_of(Emit.parse("logits")) == []
    assert names_of(Emit.parse("topk:2,argmax")) == ["argmax", "topk_classes", "topk_grid"]


@pytest.mark.parametrize(("activation", "logits"), [("none", 6), ("softmax", 6), ("sigmoid", 1), ("none", 1)])
@pytest.mark.parametrize("seed", range(4))
def test_the_report_is_the_same_from_the_grid_and_from_what_the_graph_made_of_it(
    activation: str, logits: int, seed: int
) -> None:
    """The graph's own reductions, on ONNX Runtime; a softmax is known where a class wins its best cell."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["f"], ["p"]),
            helper.make_node("Flatten", ["p"], ["q"]),
            helper.make_node("Gemm", ["q", "w", "b"], ["y"], transB=1),
        ],
        "g",
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", 3, 5, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", logits])],
        [
            numpy_helper.from_array(rng.standard_normal((logits, 3)).astype(np.float32), "w"),
            numpy_helper.from_array(rng.standard_normal(logits).astype(np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result = rewrite_model(model, emit=OutputPlan(accelerated=True).emit)
    session = GridSession(result, provider="cpu")
    batch = (3 * rng.standard_normal((1, 3, 5, 4))).astype(np.float32)
    head = HeadRecord(
        logits="logits",
        output="y",
        outputs=("y",),
        verdict="exact",
        grid_shape=("N", logits, 5, 4),
        activation=activation,
        note="",
    )
    describer = Describer(head, None, 3)
    geometry = Geometry.plan((50, 40), (50, 40), "squash")
    whole = describer.describe(session.run(batch, outputs={"grid"})[0], geometry).to_json()
    reduced = describer.describe(session.run(batch, outputs=REDUCED)[0], geometry).to_json()
    assert len(whole["winners"]) > 1 or logits == 6
    for mine, theirs in zip(reduced["winners"], whole["winners"], strict=True):
        if not np.isnan(mine["best_score"]):
            assert mine["best_score"] == pytest.approx(theirs["best_score"], rel=1e-6)
        else:
            assert activation == "softmax"
        del mine["best_score"], theirs["best_score"]
    for mine, theirs in zip(reduced["boxes"], whole["boxes"], strict=True):
        assert mine.pop("score") == pytest.approx(theirs.pop("score"), abs=2e-6)
    assert reduced == whole


def test_saved_arrays_are_those_that_were_asked_for() -> None:
    from onnx_gapmil.prediction.describe import saved_arrays
    from onnx_gapmil.running.prediction_grid import PredictionGrid

    ones = np.ones((1, 2))
    found = PredictionGrid(
        "y",
        ones,
        grid=np.ones((1, 2, 3, 3)),
        argmax=np.zeros((1, 3, 3), np.int64),
        topk_classes=np.array([[1]]),
        topk_grid=np.ones((1, 1, 3, 3)),
        scores={"max": 2 * ones, "lse=10": 3 * ones},
    )
    saved = saved_arrays(found, Emit.parse("argmax,topk:1,scores:lse=10"))
    assert {name: array.shape for name, array in saved.items()} == {
        "logits": (2,),
        "argmax": (3, 3),
        "topk_classes": (1,),
        "topk_grid": (1, 3, 3),
        "scores_lse=10": (2,),
    }
    assert saved["scores_lse=10"].tolist() == [3, 3]
