"""One small model of each exporter that the samples are made with, by the same check that `make zoo` uses for hundreds.

Nothing here needs a framework: the files lie in ``sample_models``. The whole suite is ``make zoo``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from benchmarks.zoo import check
from onnx_gapmil.ort.limits import set_seconds

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "sample_models"

#: By sample: the verdict that its head must get.
VERDICTS = {
    "digits_jax": "exact",
    "digits_keras": "exact",
    "digits_paddle": "exact",
    "digits_torch_dynamo": "conditional",
    "digits_torch_flex_channel": "exact",
    "digits_torch_flex_channel_sac": "exact",
    "digits_torch_flex_position": "exact",
    "digits_torch_legacy": "exact",
    "digits_torch_vit": "refused",
    "digits_torch_vit_dynamo": "refused",
}


@pytest.mark.parametrize("name", VERDICTS)
def test_sample_is_lifted_right_or_refused(name: str) -> None:
    found = check.check({"file": f"{name}.onnx"}, SAMPLES)
    assert found["got"] == VERDICTS[name], found["why"]
    if found["got"] == "refused":
        assert found["code"] == "class-token"
        return
    heads = len(onnx.load(SAMPLES / f"{name}.onnx").graph.output)
    assert found["cells"] == heads * check.CELLS
    assert found["mean_residual"] < 2e-5
    assert found["cell_residual"] < 2e-5
    head = json.loads((SAMPLES / f"{name}.card.json").read_text("utf-8"))["head"]
    assert head.removesuffix(", Softmax").endswith(", ".join(found["chain"]))


def test_every_sample_is_checked() -> None:
    assert {path.stem for path in SAMPLES.glob("*.onnx") if not path.stem.endswith(".gapmil")} == set(VERDICTS)


def test_max_pool_in_its_place_is_conditional_and_a_file_nobody_can_open_is_its_exporters(tmp_path: Path) -> None:
    model = onnx.load(SAMPLES / "digits_torch_legacy.onnx")
    pool = next(node for node in model.graph.node if node.op_type == "GlobalAveragePool")
    pool.op_type = "GlobalMaxPool"
    onnx.save(model, tmp_path / "spoilt.onnx")
    assert check.check({"file": "spoilt.onnx"}, tmp_path)["got"] == "conditional"
    pool.op_type = "NoSuchPool"
    onnx.save(model, tmp_path / "spoilt.onnx")
    assert check.check({"file": "spoilt.onnx"}, tmp_path)["got"] == "export failed"


def test_a_case_says_how_long_lifting_it_may_take() -> None:
    try:
        found = check.check({"file": "digits_torch_legacy.onnx", "seconds": 0.001}, SAMPLES)
    finally:
        set_seconds(None)
    assert found["got"] == "unreadable"
    assert "limit of 0.001 s" in found["why"]


def test_script_answers_each_line_with_one_line_and_errors_as_such(tmp_path: Path) -> None:
    cases = [{"file": "digits_torch_legacy.onnx"}, {"no": "file"}]
    (tmp_path / "in").write_text("".join(f"{json.dumps(case)}\n" for case in cases), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.zoo.check", "--serve", str(SAMPLES)]
    with (tmp_path / "in").open(encoding="utf-8") as lines:
        done = subprocess.run(command, cwd=ROOT, stdin=lines, capture_output=True, text=True, check=True, timeout=300)
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert good["got"] == "exact"
    assert bad["error"].startswith("KeyError")


def test_timm_list_has_every_module_once() -> None:
    command = [sys.executable, "-m", "benchmarks.zoo.export_timm", "--list"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    cases = [json.loads(line) for line in listed.stdout.splitlines()]
    modules = [case["group"] for case in cases if case["exporter"] == "torch legacy"]
    assert len(modules) == len(set(modules)) == 98
    assert sorted(modules) == sorted(case["group"] for case in cases if case["exporter"] == "torch dynamo")
