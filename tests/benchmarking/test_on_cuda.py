"""What only a CUDA device can show. These tests run where ONNX Runtime really uses one."""

from __future__ import annotations

import pytest

from benchmarks import gpu_steps
from onnx_gapmil.benchmarking.benchmark import bench
from onnx_gapmil.benchmarking.plan import BenchPlan
from tests.helpers.support import text_model, weights

pytestmark = pytest.mark.gpu

BODY = "f = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(f)  p = GlobalAveragePool(r)  q = Flatten(p)  y = Gemm<transB=1>(q, d)"


def test_bench_runs_on_the_device_and_reads_its_memory() -> None:
    init = {"w": weights(64, 3, 3, 3), "d": weights(100, 64)}
    proto = text_model(BODY, x="float[N,3,64,64] x", y="float[N,100] y", init=init)
    plan = BenchPlan(("grid", "topk:5"), (1, 8), ("cuda",), ("fp32", "fp16"), seconds=0.05)
    for series in bench(proto, plan).series:
        assert series.provider["used"] == "cuda"
        assert series.provider["device"]
        for counts in series.nodes.values():
            assert (counts["CUDAExecutionProvider"] or 0) >= 3
        for entry in series.measurements:
            assert entry.memory is not None
            assert (entry.memory.device_bytes or 0) > 0


def test_every_emission_is_the_cpus_within_tolerance() -> None:
    found = gpu_steps.equality("mobilenetv2", "cuda", batch=2)
    assert found["passed"], found["outputs"]


def test_the_grid_needs_no_node_on_the_cpu_and_can_be_replayed_as_a_cuda_graph() -> None:
    alone = gpu_steps.whole_on_provider("mobilenetv2", "cuda")
    assert alone["grid"]["without_cpu"], alone["grid"]["why"]
    replayed = gpu_steps.cuda_graphs("mobilenetv2", "cuda", 1, 0.05)["grid"]
    assert all(entry["passed"] for entry in replayed["outputs"].values())


def test_outputs_kept_on_the_device_come_back_the_same() -> None:
    found = gpu_steps.copies("mobilenetv2", "cuda", 2, 0.05)
    assert found["graphs"]["features,grid"]["bytes"] == 2 * 4 * (1000 + 1000 + 1280 * 49 + 1000 * 49)
