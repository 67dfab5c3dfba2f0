"""``verify`` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.helpers.verbs import SCENES, run, run_json


def test_verify_proves_a_rewritten_model_on_random_inputs_and_photos(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("rewrite", model)
    capsys.readouterr()
    rewritten = model.with_name("digits_torch_legacy.gapmil.onnx")
    code, report = run_json(capsys, "verify", model, rewritten, SCENES / "scene_00.png", SCENES / "scene_01.png")
    assert code == 0
    assert report["passed"] is True
    assert sum("scene_0" in trial["inputs"] for trial in report["trials"]) == 2
    assert all(residual < 2e-5 for residual in report["residuals"].values())
    deployed = report["proof"].pop("as_deployed")
    assert (deployed["passed"], deployed["measure"], deployed["allowed"]) == (True, 0.0, 0.0)
    assert set(report["proof"]) == {"sum", "cell", "place"}
    for proof in report["proof"].values():
        assert proof["passed"] is True
        assert 0 < proof["measure"] < proof["allowed"]
        assert proof["skipped"] is None


def test_verify_fails_with_exit_1_where_the_grid_was_tampered_with(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("rewrite", model)
    capsys.readouterr()
    rewritten = model.with_name("digits_torch_legacy.gapmil.onnx")
    proto = onnx.load(str(rewritten))
    conv = next(node for node in reversed(proto.graph.node) if node.op_type == "Conv")
    del conv.input[2]  # the bias
    onnx.save(proto, str(rewritten))
    assert run("verify", model, rewritten) == 1
    assert "mean over cells differs" in capsys.readouterr().out


def test_verify_says_what_to_do_with_a_model_that_was_not_rewritten(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", model, model) == 2
    assert "onnx-gapmil rewrite" in capsys.readouterr().err
