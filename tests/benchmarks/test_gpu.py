"""The pieces of ``benchmarks/gpu.py`` that no card is needed for."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu, gpu_page, gpu_steps

ROOT = Path(__file__).resolve().parents[2]

RATIO = {"median": 1.021, "p10": 1.0, "p90": 1.1, "interval_95": [1.01, 1.03], "count": 9}


def test_floats_are_compared_by_the_largest_value_and_integers_by_their_share() -> None:
    expected = {"grid": np.array([[1.0, -4.0]], np.float32), "argmax": np.arange(200)}
    near = {"grid": expected["grid"] + np.float32(4e-5), "argmax": expected["argmax"].copy()}
    near["argmax"][0] = 7
    found = gpu_steps.compare(expected, near)
    assert found["grid"]["difference"] == pytest.approx(1e-5, rel=0.02)
    assert found["grid"]["passed"]
    assert found["argmax"] == {"equal": 0.995, "passed": True}
    far = {"grid": expected["grid"] + np.float32(4e-3), "argmax": expected["argmax"] + 1}
    assert [entry["passed"] for entry in gpu_steps.compare(expected, far).values()] == [False, False]


def test_half_precision_is_compared_without_overflow() -> None:
    large = {"grid": np.array([60000.0], np.float16)}
    assert gpu_steps.compare(large, {"grid": np.array([-60000.0], np.float16)})["grid"]["difference"] == 2.0


def test_grids_of_best_classes_are_compared_where_the_classes_are_the_same() -> None:
    classes = np.array([[4, 9], [1, 2]])
    grid = np.arange(8.0).reshape(2, 2, 2, 1)
    other_classes, other_grid = classes.copy(), grid.copy()
    other_classes[1], other_grid[1] = [2, 1], 100.0
    found = gpu_steps.compare(
        {"gapmil_topk_classes": classes, "gapmil_topk_grid": grid},
        {"gapmil_topk_classes": other_classes, "gapmil_topk_grid": other_grid},
    )
    assert found["gapmil_topk_grid"] == {"difference": 0.0, "passed": True}
    assert found["gapmil_topk_classes"]["equal"] == 0.5


def test_a_step_that_fails_leaves_the_others_and_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Any:
        raise RuntimeError("out of memory")

    place = tmp_path / "gpu.json"
    results = gpu.run({"first": lambda: {"a": 1}, "second": broken, "third": lambda: {"b": 2}}, place, 100.0)
    assert results == {"first": {"a": 1}, "second": {"error": "RuntimeError: out of memory"}, "third": {"b": 2}}
    assert json.loads(place.read_text(encoding="utf-8")) == results
    assert gpu.failures(results) == ["second: RuntimeError: out of memory"]
    assert "second: failed" in capsys.readouterr().err


def test_no_step_is_begun_after_the_limit(tmp_path: Path) -> None:
    results = gpu.run({"first": dict}, tmp_path / "gpu.json", -1.0)
    assert results == {"first": {"error": "not begun: the time was up"}}


def test_outputs_that_differ_are_a_failure() -> None:
    outputs = {"gapmil_grid": {"difference": 0.5, "passed": False}, "logits": {"difference": 0.0, "passed": True}}
    results = {"equality resnet50": {"outputs": outputs, "passed": False}}
    assert gpu.failures(results) == ["equality resnet50: gapmil_grid differ from the CPU's"]


def test_every_kind_of_step_is_planned_and_none_for_half_precision_on_the_cpu() -> None:
    options = argparse.Namespace(provider="cuda", seconds=1.0, quick=False, models=[])
    names = list(gpu.plan(options))
    assert names[0] == "machine"
    assert {name.rsplit(" ", 1)[0] for name in names[1:]} == {
        "nodes", "equality", "bench", "copies", "cuda graphs", "tf32", "predict",
    }  # fmt: skip
    assert sum(name.startswith("bench") for name in names) == len(gpu.MODELS)


def test_the_page_has_a_section_for_each_kind_of_result() -> None:
    measurement = {
        "graph": "grid",
        "batch": 8,
        "milliseconds": {"median": 2.5},
        "images_per_second": 3200.0,
        "ratio": RATIO,
        "flop_bound": 1.025,
        "peak_memory": {"host_bytes": 1, "device_bytes": 250_000_000},
    }
    results = {
        "machine": {"cuda": {"devices": [{"name": "A Card", "memory_bytes": 80 * 2**30}]}},
        "made by": ["Generated."],
        "bench resnet50": {"series": [{"precision": "fp16", "measurements": [measurement]}]},
        "nodes resnet50": {"grid": {"nodes": {"CUDA": 60}, "without_cpu": False, "why": "Shape"}},
        "equality resnet50": {"outputs": {"g": {"difference": 1e-6, "passed": True}}, "passed": True},
        "copies resnet50": {
            "upload_bytes": 600_000,
            "upload_ms": 0.1,
            "graphs": {"grid": {"kept_ms": 1.0, "fetched_ms": 1.5, "ratio": RATIO, "bytes": 2e6}},
        },
        "cuda graphs resnet50": {
            "grid": {"plain_ms": 1.0, "replayed_ms": 0.5, "ratio": RATIO},
            "topk:5": {"refused": "nodes on the CPU"},
        },
        "tf32 resnet50": {"float32_ms": 2.0, "tf32_ms": 1.0, "ratio": RATIO, "difference": {"g": 1e-3}},
        "predict resnet50": {
            "bare_images_per_second": 4000.0,
            "npz and JSON": {"images_per_second": 3800.0, "of_bare": 0.95},
        },
        "bench vit_b16_gap": {"error": "RuntimeError: out of memory"},
    }
    text = "\n".join(gpu_page.markdown(results))
    for line in (
        "Card: A Card, 80 GiB.",
        "| ResNet-50 | fp16 | 8 | grid | 2.50 | 3,200 | 1.021 (1.010 to 1.030) | 1.025 | 250 MB |",
        "| ResNet-50 | grid | CUDA 60 | no: Shape |",
        "| ResNet-50 | `g` | 1.0e-06 | yes |",
        "| ResNet-50 | grid | 2.00 | 1.000 | 1.500 | 1.021 (1.010 to 1.030) |",
        "| ResNet-50 | topk:5 |  |  | nodes on the CPU |",
        "| ResNet-50 | 2.000 | 1.000 | 1.021 (1.010 to 1.030) | 1.0e-03 |",
        "| ResNet-50 | npz and JSON | 3,800 | 4,000 | 0.95 |",
        "- bench vit_b16_gap: RuntimeError: out of memory",
    ):
        assert line in text.splitlines()


def test_a_machine_without_cuda_is_said_and_ends_with_2() -> None:
    from onnx_gapmil.ort.providers import cuda_status

    if cuda_status().problem is None:
        pytest.skip("CUDA works here")
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Not measured: CUDA cannot be used: ")
