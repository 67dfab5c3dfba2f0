"""``inspect`` as a user meets it: what it prints, and that it writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.helpers.support import text_model, weights
from tests.helpers.verbs import EXACT, REFUSED, SAMPLES, files, run, run_json


@pytest.mark.parametrize("name", EXACT)
def test_inspect_finds_an_exact_head(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(capsys, "inspect", SAMPLES / f"{name}.onnx")
    assert (code, found["schema_version"], found["verdict"]) == (0, 1, "exact")
    assert found["heads"][0]["classes"] == 10
    assert found["heads"][0]["grid_size"] == [12, 12]


def test_inspect_calls_a_head_with_hardswish_conditional(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(capsys, "inspect", SAMPLES / "digits_torch_dynamo.onnx")
    assert (code, found["verdict"]) == (0, "conditional")
    assert [step["op"] for step in found["heads"][0]["chain"] if step["conditional"]] == ["HardSwish"]


def test_inspect_draws_the_head_from_grid_to_logits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", SAMPLES / "digits_torch_legacy.onnx") == 0
    text = capsys.readouterr().out
    places = [text.index(word) for word in ("12×12 cells", "GlobalAveragePool", "Flatten", "Gemm", "Verdict: exact")]
    assert places == sorted(places)


def test_inspect_tells_why_a_class_token_is_refused_and_how_far_the_walk_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = run_json(capsys, "inspect", SAMPLES / f"{REFUSED}.onnx")
    (refused,) = found["refused_outputs"]
    assert (code, found["verdict"], refused["code"]) == (3, "refused", "class-token")
    assert "Gather" in refused["node"]
    assert [entry.split("(")[-1].rstrip(")") for entry in refused["walked"]][:2] == ["Gemm", "Gather"]


def test_inspect_writes_nothing(model: Path) -> None:
    before = files(model.parent)
    run("inspect", model)
    assert files(model.parent) == before


def test_inspect_prints_the_weights_of_a_pool_that_has_some(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    places = np.array([[2, 0, -1], [1, 1, 3]], np.float32)
    model = text_model(
        "q = Mul(x, v)\n f = ReduceMean<axes=[2, 3], keepdims=0>(q)\n y = Gemm<transB=1>(f, w)",
        x="float[N,6,2,3] x",
        init={"v": places, "w": weights(5, 6)},
    )
    onnx.save(model, tmp_path / "m.onnx")
    assert run("inspect", tmp_path / "m.onnx") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "by position: least -1 and largest 3 of a plain mean's weight, 17 % below 0, sum 1 (of a mean 1)." in text
    assert "2×3, in % of a plain mean's weight: 200 0 -100 100 100 300" in text
    _, found = run_json(capsys, "inspect", tmp_path / "m.onnx")
    (pool,) = found["heads"][0]["pool_weights"]
    assert pool["map"] == places.tolist()
    assert pool["sums"] == [pytest.approx(1)] * 2
    _, plain = run_json(capsys, "inspect", SAMPLES / f"{EXACT[0]}.onnx")
    assert plain["heads"][0]["pool_weights"] == []
