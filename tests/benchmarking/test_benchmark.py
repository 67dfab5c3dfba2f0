"""A whole benchmark on a tiny model: what it contains, and how it ends early. No time is looked at."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_gapmil.benchmarking import benchmark, variants
from onnx_gapmil.benchmarking.benchmark import bench
from onnx_gapmil.benchmarking.plan import EMISSIONS, BenchPlan
from onnx_gapmil.benchmarking.runs import BoundRun
from onnx_gapmil.benchmarking.timing import MIN_ROUNDS, Spread, interleave
from onnx_gapmil.errors import InputError, ModelError, ProviderError
from onnx_gapmil.graph.inputs import concrete_inputs
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model, weights

BODY = "f = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(f)  p = GlobalAveragePool(r)  q = Flatten(p)  y = Gemm<transB=1>(q, d)"
QUICK = BenchPlan(emissions=("features,grid",), batches=(2, 1), providers=("cpu",), seconds=0.001, memory=False)


def model(x: str = "float[N,3,6,5] x") -> onnx.ModelProto:
    init = {"w": weights(4, 3, 3, 3), "d": weights(7, 4)}
    return text_model(BODY, x=x, y="float[N,7] y", init=init)


def changed(**changes: Any) -> BenchPlan:
    return BenchPlan(**{**{name: getattr(QUICK, name) for name in BenchPlan.__dataclass_fields__}, **changes})


def test_every_graph_at_every_batch_with_its_bound_and_its_nodes() -> None:
    report = bench(model(), QUICK)
    (series,) = report.series
    assert [(entry.graph, entry.batch) for entry in series.measurements] == [
        ("original", 2),
        ("features,grid", 2),
        ("original", 1),
        ("features,grid", 1),
    ]
    conv, head = 6 * 5 * 4 * 27, 7 * 4
    original, grid = series.measurements[:2]
    assert (original.macs, original.bound, original.ratio) == (conv + head, 1.0, None)
    assert grid.macs == conv + head + 30 * head
    assert grid.bound == pytest.approx(1 + 30 * head / (conv + head))
    assert grid.ratio is not None
    assert grid.ratio.count == grid.seconds.count >= MIN_ROUNDS
    assert grid.images_per_second == pytest.approx(2 / grid.seconds.median)
    assert series.nodes.keys() == {"original", "features,grid"}
    for counts in series.nodes.values():
        assert list(counts) == ["CPUExecutionProvider"]
        assert (counts["CPUExecutionProvider"] or 0) > 2
    assert (report.verdict, report.interrupted) == ("exact", False)


def test_the_json_has_milliseconds_and_a_schema_version() -> None:
    report = bench(model(), QUICK)
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["schema_version"] == 1
    (series,) = data["series"]
    assert series["provider"]["used"] == "cpu"
    assert (series["precision"], series["converted"]) == ("fp32", False)
    assert series["inputs"] == [{"name": "x", "shape": [2, 3, 6, 5], "dtype": "float32"}]
    entry, kept = series["measurements"][1], report.series[0].measurements[1]
    assert entry["milliseconds"]["median"] == pytest.approx(1e3 * kept.seconds.median)
    assert entry["flop_bound"] == kept.bound
    assert entry["ratio"]["interval_95"] == [kept.ratio.low, kept.ratio.high]
    assert entry["peak_memory"] is None
    assert series["measurements"][0]["ratio"] is None


def test_one_head_of_several_alone() -> None:
    init = {"w": weights(4, 3, 3, 3), "d": weights(7, 4), "e": weights(5, 4)}
    two = text_model(
        f"{BODY}  z = Gemm<transB=1>(q, e)", x="float[N,3,6,5] x", y="float[N,7] y, float[N,5] z", init=init
    )
    both = bench(two, changed(batches=(1,))).series[0].measurements[1].macs
    assert both - bench(two, changed(batches=(1,), head="z")).series[0].measurements[1].macs == 30 * 7 * 4
    with pytest.raises(InputError, match="has no head 'nonsense'; its heads are 'y', 'z'"):
        bench(two, changed(head="nonsense"))


def test_memory_is_measured_for_every_graph() -> None:
    report = bench(model(), changed(batches=(1,), memory=True))
    assert all((entry.memory.host_bytes or 0) > 10e6 for entry in report.series[0].measurements)
    assert any("fresh process" in sentence for sentence in report.method)


def test_half_precision_is_a_series_of_its_own() -> None:
    report = bench(model(), changed(batches=(1,), precisions=("fp32", "fp16")))
    assert [(series.precision, series.converted) for series in report.series] == [("fp32", False), ("fp16", True)]
    assert [series.size[0][2] for series in report.series] == ["float32", "float16"]
    assert [series.measurements[1].bound for series in report.series] == [
        report.series[0].measurements[1].bound,
    ] * 2


def test_a_half_precision_file_is_measured_as_it_is() -> None:
    half = bench(model(), changed(precisions=("fp16",)))
    assert half.series[0].converted
    init = {"w": weights(4, 3, 3, 3, dtype=np.float16), "d": weights(7, 4, dtype=np.float16)}
    file = text_model(BODY, x="float16[N,3,6,5] x", y="float16[N,7] y", init=init)
    (series,) = bench(file, changed(precisions=("fp16",))).series
    assert (series.precision, series.converted) == ("fp16", False)
    with pytest.raises(InputError, match="--precision fp32: g is fp16 and is measured as it is"):
        bench(file, changed(precisions=("fp32",)))


def test_by_default_batches_are_1_and_8_or_the_one_that_the_graph_fixes() -> None:
    open_batch = bench(model(), changed(batches=()))
    assert {entry.batch for entry in open_batch.series[0].measurements} == {1, 8}
    fixed = bench(model("float[3,3,6,5] x"), changed(batches=()))
    assert {entry.batch for entry in fixed.series[0].measurements} == {3}
    assert fixed.series[0].measurements[0].macs == 3 * open_batch.series[0].measurements[0].macs


def test_auto_and_the_provider_that_it_means_are_measured_once() -> None:
    report = bench(model(), changed(batches=(1,), providers=("cpu", "auto")))
    assert len({series.provider["used"] for series in report.series}) == len(report.series)


@pytest.mark.parametrize(
    ("proto", "changes", "error", "said"),
    [
        (model("float[1,3,6,5] x"), {}, InputError, "takes batches of 1 only"),
        (model(), {"providers": ("nonsense",)}, ProviderError, "'nonsense' is not part of"),
        (rewrite_model(model()).model, {}, InputError, "is a rewritten model already"),
        (model(), {"emissions": ("nonsense",)}, InputError, "nonsense"),
    ],
    ids=["batch", "provider", "rewritten", "emission"],
)
def test_what_cannot_be_measured_is_said(proto: onnx.ModelProto, changes: dict, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        bench(proto, changed(**changes))


def test_a_refused_head_is_refused() -> None:
    refused = text_model(
        "a = Constant<value_ints=[0]>()  g = Gather<axis=1>(x, a)  t = Squeeze(g, a1)  y = MatMul(t, w)",
        x="float[N,9,6] x",
        y="float[N,5] y",
        init={"w": weights(6, 5), "a1": np.array([1])},
    )
    with pytest.raises(UnsupportedHeadError):
        bench(refused, QUICK)


def test_control_c_gives_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))

    def second_is_interrupted(runs: Any, *, seconds: float) -> Any:
        times, _ = interleave(runs, seconds=seconds)
        if next(calls) == 0:
            return times, False
        return [[] for _ in runs], True

    monkeypatch.setattr(benchmark, "interleave", second_is_interrupted)
    report = bench(model(), QUICK)
    assert report.interrupted
    assert [entry.batch for entry in report.series[0].measurements] == [2, 2]


def test_control_c_in_the_middle_of_a_batch_keeps_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "interleave", lambda runs, *, seconds: ([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], True))
    report = bench(model(), changed(memory=True))
    assert report.interrupted
    assert [entry.batch for entry in report.series[0].measurements] == [2, 2]
    assert report.series[0].measurements[1].ratio == Spread(2.0, 2.0, 2.0, 2.0, 2.0, 3)
    assert report.series[0].measurements[1].memory is None


def test_control_c_before_anything_was_measured_is_just_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "interleave", lambda runs, *, seconds: ([[], []], True))
    with pytest.raises(KeyboardInterrupt):
        bench(model(), QUICK)


def test_what_is_timed_gives_the_vendors_outputs_and_the_grid() -> None:
    original = model()
    built, _, _ = variants.build_variants(benchmark.load_model(original), ("features,grid",))
    assert built[0].outputs == ("y",)
    assert built[1].outputs == ("y", "gapmil_logits", "gapmil_features", "gapmil_grid")
    inputs = concrete_inputs(ModelGraph(original), 2, (6, 5))
    choice = choose_providers("cpu")
    run = BoundRun(built[1].session(choice), inputs, built[1].outputs, "cpu", "a run")
    run()
    logits, _, features, grid = (value.numpy() for value in run.values())
    assert (features.shape, grid.shape) == ((2, 4, 6, 5), (2, 7, 6, 5))
    np.testing.assert_allclose(grid.mean((2, 3)), logits, atol=1e-5)


def test_a_graph_that_fixes_its_batch_inside_fails_with_its_name() -> None:
    body = "f = Conv(x, w)  p = GlobalAveragePool(f)  y = Reshape(p, s)"
    init = {"w": weights(4, 3, 1, 1), "s": np.array([1, 4])}
    proto = text_model(body, x="float[N,3,6,5] x", y="float[M,4] y", init=init)
    with pytest.raises(ModelError, match=r"'original' at batch 2 failed"):
        bench(proto, QUICK)


def few_classes(count: int) -> onnx.ModelProto:
    body = "f = Conv(x, w)  p = GlobalAveragePool(f)  q = Flatten(p)  y = Gemm<transB=1>(q, k, b)"
    init = {"w": weights(4, 3, 1, 1), "k": weights(count, 4), "b": weights(count)}
    return text_model(body, x="float[N,3,6,5] x", y=f"float[N,{count}] y", init=init)


@pytest.mark.parametrize(("count", "asked"), [(1, "topk:1"), (3, "topk:3"), (5, "topk:5"), (7, "topk:5")])
def test_by_default_no_more_classes_are_asked_for_than_there_are(count: int, asked: str) -> None:
    (series,) = bench(few_classes(count), changed(emissions=EMISSIONS, batches=(1,))).series
    assert [entry.graph for entry in series.measurements] == ["original", "features,grid", "grid", asked, "argmax"]


def test_more_classes_than_there_are_by_name_is_an_error() -> None:
    with pytest.raises(InputError, match="topk:5 was asked for, and the head of 'y' has 3 classes"):
        bench(few_classes(3), changed(emissions=("topk:5",), batches=(1,)))


def test_the_default_emissions_are_measured() -> None:
    (series,) = bench(model(), changed(emissions=EMISSIONS, batches=(1,))).series
    bounds = {entry.graph: entry.bound for entry in series.measurements}
    assert list(bounds) == ["original", *EMISSIONS]
    assert bounds["grid"] == bounds["features,grid"] == bounds["argmax"]
    assert 1 < bounds["topk:5"] < bounds["grid"]
