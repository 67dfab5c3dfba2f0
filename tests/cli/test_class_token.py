"""``--class-token`` on the command line, on the class-token sample model and on one without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.cli import main
from onnx_gapmil.validation.checking.measuring import DataRequest

ROOT = Path(__file__).resolve().parents[2]
VIT = ROOT / "sample_models" / "digits_torch_vit.onnx"
PLAIN = ROOT / "sample_models" / "digits_torch_legacy.onnx"
SCENE = ROOT / "sample_models" / "scenes" / "scene_00.png"


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    return capsys.readouterr().out


def test_rewrite_proves_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "vit.onnx"
    found = json.loads(said(capsys, "rewrite", str(VIT), "-o", str(out), "--class-token", "direct", "--json"))
    (head,) = found["heads"]
    assert (head["class_token"], head["class_token_lift"], head["verdict"]) == (True, "direct", "conditional")
    assert 0 < head["placeless_share"] < 1
    assert found["proof"]["sum"]["passed"] is True
    assert found["proof"]["place"]["passed"] is True
    assert found["proof"]["cell"]["passed"] is None
    assert found["proof"]["as_deployed"]["passed"] is True
    # A rewritten file decides by itself.
    text = said(capsys, "predict", str(out), str(SCENE), "-o", str(tmp_path / "p"), "--preprocess", "unit")
    assert "of the answer has no place" in text
    assert "Proved" in said(capsys, "verify", str(VIT), str(out))
    assert main(["verify", str(VIT), str(out), "--class-token", "through"]) == 0
    assert "record says how" in capsys.readouterr().err


def test_predict_says_the_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(
        capsys, "predict", str(VIT), str(SCENE), "-o", str(tmp_path / "p"), "--class-token", "through", "--no-pictures"
    )
    found = json.loads((tmp_path / "p" / "predictions.json").read_text("utf-8"))
    assert found["class_token"] is True
    assert [found[key] for key in ("class_token_lift",)] == ["through"]
    (head,) = found["images"][0]["heads"]
    assert 0 < head["placeless_share"] < 1


BENCH = ("--provider", "cpu", "--batch", "1", "--seconds", "0.01", "--no-memory", "--emit", "grid")


@pytest.mark.parametrize("wish", ["direct", "through"])
def test_bench_measures_what_the_lift_costs(wish: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "bench", str(VIT), *BENCH, "--class-token", wish, "--json"))
    assert (found["class_token"], found["class_token_lift"], found["verdict"]) == (True, wish, "conditional")
    original, grid = found["series"][0]["measurements"]
    assert grid["macs"] > original["macs"]


def test_bench_of_a_head_without_class_token_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "bench", str(PLAIN), *BENCH, "--class-token", "auto")
    assert "no lifted head reads a class token" in text


def test_without_it_a_class_token_is_refused_with_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(VIT)]) == 3
    assert "--class-token auto" in " ".join(capsys.readouterr().out.split())


def test_a_head_without_class_token_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "inspect", str(PLAIN), "--class-token", "auto")
    assert "no lifted head reads a class token" in text
    found = json.loads(said(capsys, "inspect", str(PLAIN), "--class-token", "auto", "--json"))
    assert found["heads"][0]["class_token"] is None


def test_check_measures_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the audit and the comparison that it runs are asked for with it."""
    from onnx_gapmil.validation.checking import measuring

    seen: list[object] = []
    monkeypatch.setattr("onnx_gapmil.auditing.audit", lambda request, *_, **__: seen.append(request.class_token))
    monkeypatch.setattr(
        "onnx_gapmil.validation.comparing.compare.compare",
        lambda request, *_, **__: seen.extend((request.old.class_token, request.new.class_token)),
    )
    request = DataRequest(model=VIT, data=tmp_path, output=tmp_path, class_token="through")  # noqa: S106
    measuring._audit(request, lambda *_: None)
    measuring._compare(request, VIT, lambda *_: None)
    assert seen == ["through"] * 3
