"""``rewrite`` as a user meets it: what it writes and says, and what it will not do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.helpers.verbs import LIFTED, REFUSED, SAMPLES, files, run, run_json


def digits_input(count: int, shape: list[int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", LIFTED)
def test_rewrite_gives_a_grid_whose_mean_is_the_original_models_logits(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original, target = SAMPLES / f"{name}.onnx", tmp_path / "out.onnx"
    code, report = run_json(capsys, "rewrite", original, "-o", target)
    assert code == 0
    assert report["originals_unchanged"] is True
    assert report["output_path"] == str(target)
    (head,) = report["heads"]
    assert {"output", "verdict", "logits", "features", "grid", "grid_shape", "residual", "chain"} <= set(head)
    before, after = onnxruntime.InferenceSession(str(original)), onnxruntime.InferenceSession(str(target))
    feed = {before.get_inputs()[0].name: digits_input(3, before.get_inputs()[0].shape)}
    (expected,) = before.run(None, feed)
    outputs = dict(zip([value.name for value in after.get_outputs()], after.run(None, feed), strict=True))
    np.testing.assert_allclose(outputs[before.get_outputs()[0].name], expected, rtol=1e-5, atol=1e-5)
    logits = outputs["gapmil_logits"]
    assert outputs["gapmil_grid"].shape == (3, 10, 12, 12)
    assert np.abs(outputs["gapmil_grid"].mean((2, 3)) - logits).max() <= 2e-5 * np.abs(logits).max()
    if name == "digits_keras":
        exp = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(expected, exp / exp.sum(1, keepdims=True), atol=1e-6)


def test_rewrite_writes_beside_the_model_by_default_and_passes_the_full_checker(model: Path) -> None:
    assert run("rewrite", model) == 0
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    onnx.checker.check_model(str(target), full_check=True)
    assert target.stat().st_size < 1.01 * model.stat().st_size


def test_rewriting_a_rewritten_model_says_so_and_does_nothing(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("rewrite", model)
    capsys.readouterr()
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    before = (files(model.parent), target.read_bytes())
    assert run("rewrite", target) == 0
    assert "already" in capsys.readouterr().out
    assert (files(model.parent), target.read_bytes()) == before


def test_rewrite_emits_what_it_is_told_and_lists_it(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rewrite", model, "--emit", "topk:3,argmax", "--emit", "scores:max,lse=10") == 0
    printed = capsys.readouterr().out
    for line in (
        r"gapmil_logits +\(batch, 10\) +one score for each class",
        r"gapmil_argmax +\(batch, 12, 12\) +best class of each cell",
        r"gapmil_topk_classes +\(batch, 3\) +the image's best classes",
        r"gapmil_topk_grid +\(batch, 3, 12, 12\) +their prediction grid",
        r"gapmil_scores_max +\(batch, 10\) +scores of each class by max",
        r"gapmil_scores_lse=10 +\(batch, 10\) +scores of each class by lse=10",
        r"5 reductions equal NumPy's of the whole grid to \d",
    ):
        assert re.search(line, " ".join(printed.split())), line
    assert "gapmil_grid" not in printed
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    assert run("verify", model, target) == 0
    assert "Proved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("emit", "said"),
    [
        ("topk:11", "topk:11 was asked for, and the head of 'logits' has 10 classes"),
        ("classes:10", "class 10 was asked for, and the head of 'logits' has 10 classes"),
        ("everything", "'everything' is nothing that can be emitted"),
        ("scores:average", "there is no aggregator 'average'"),
    ],
)
def test_rewrite_says_what_cannot_be_emitted(
    emit: str, said: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(model.parent)
    assert run("rewrite", model, "--emit", emit) == 2
    assert said in capsys.readouterr().err
    assert files(model.parent) == before


def test_rewriting_a_rewritten_model_with_another_emission_asks_for_the_original(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("rewrite", model)
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    assert run("rewrite", target, "--emit", "features,grid") == 0
    capsys.readouterr()
    assert run("rewrite", target, "--emit", "topk:5") == 2
    assert "for topk:5 rewrite the original" in capsys.readouterr().err


def test_a_refused_head_exits_3_with_the_reason_as_json_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SAMPLES / f"{REFUSED}.onnx", tmp_path / "vit.onnx")
    code, report = run_json(capsys, "rewrite", tmp_path / "vit.onnx")
    assert code == 3
    assert report["schema_version"] == 1
    assert report["model"] == str(tmp_path / "vit.onnx")
    assert {"code", "node", "message", "advice"} <= set(report["refusal"])
    assert report["refusal"]["code"] == "class-token"
    assert files(tmp_path) == {"vit.onnx"}


def test_the_instance_readout_of_a_conditional_head_is_the_head_on_each_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.onnx"
    code, report = run_json(
        capsys, "rewrite", SAMPLES / "digits_torch_dynamo.onnx", "-o", target, "--readout", "instance"
    )
    assert code == 0
    assert report["heads"][0]["residual"] > 1e-3  # a nonlinear head of the mean is not the mean of the head
    session = onnxruntime.InferenceSession(str(target))
    feed = {session.get_inputs()[0].name: digits_input(1, session.get_inputs()[0].shape)}
    features, grid = session.run(["gapmil_features", "gapmil_grid"], feed)
    proto = onnx.load(str(SAMPLES / "digits_torch_dynamo.onnx"))
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in proto.graph.initializer}
    first, second = [node for node in proto.graph.node if node.op_type == "Gemm"]
    cell = features[0, :, 4, 7].astype(np.float64)
    hidden = weights[first.input[1]] @ cell + weights[first.input[2]]
    hidden = hidden * np.clip(hidden / 6 + 0.5, 0, 1)
    expected = weights[second.input[1]] @ hidden + weights[second.input[2]]
    np.testing.assert_allclose(grid[0, :, 4, 7], expected, rtol=1e-4, atol=1e-4)


def test_rewrite_does_not_overwrite_the_original(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = model.read_bytes()
    assert run("rewrite", model, "-o", model) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert model.read_bytes() == before
