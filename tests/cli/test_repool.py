"""``onnx-gapmil repool``: what it prints, and its exit codes; and that other verbs then speak of the right pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.helpers.support import text_model, weights
from tests.helpers.verbs import SAMPLES, SCENES, run

MODEL = SAMPLES / "digits_torch_legacy.onnx"
BODY = (
    "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w)\n p1 = Softmax<axis=1>(z)\n y = Sub(one, p1)"
)


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    assert run("repool", MODEL, "--with", "lse=10", "-o", out, "--json") == 0
    found = said(capsys)
    assert list(found) == [
        "schema_version", "model", "output_path", "aggregator", "size", "heads", "refused_outputs",
        "already_repooled", "vendors_graph", "functions_inlined", "source_sha256", "proof",
    ]  # fmt: skip
    assert (found["aggregator"], found["output_path"]) == ("lse=10", str(out))
    (head,) = found["heads"]
    assert list(head) == [
        "output", "names", "outputs", "aggregator", "logits", "mean", "alone", "gives", "residual", "allowed",
    ]  # fmt: skip
    assert head["gives"] == "logits"
    assert 0 <= head["residual"] < head["allowed"]
    assert found["proof"]["passed"] is True
    assert found["proof"]["pool"]["measure"] == head["residual"]
    assert run("repool", out, "--with", "lse=10", "-o", tmp_path / "again.onnx", "--json") == 0
    again = said(capsys)
    assert (again["already_repooled"], again["output_path"], again["proof"]) == (True, None, None)
    assert run("repool", out, "--with", "mean", "-o", tmp_path / "back.onnx", "--json") == 0
    assert said(capsys)["vendors_graph"] is True
    assert (tmp_path / "back.onnx").read_bytes() == MODEL.read_bytes()


def test_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    assert run("repool", MODEL, "--with", "prob_mean", "-o", out) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "log-probabilities by 'prob_mean', equal to NumPy's to" in text
    assert "under ONNX Runtime's optimization to" in text
    assert f"Written: {out}" in text
    assert run("repool", out, "--with", "prob_mean") == 0
    assert "answers by 'prob_mean' already; nothing was done." in " ".join(capsys.readouterr().out.split())
    assert run("inspect", out) == 0
    assert "It is repooled: 'logits' answers by 'prob_mean' of the cells." in " ".join(capsys.readouterr().out.split())
    assert run("rewrite", out, "-o", tmp_path / "g.onnx") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "gapmil_pooled" in text
    assert "what the model answers by: 'prob_mean' of the cells, and not their mean" in text


@pytest.mark.parametrize("wrong", ["sum", "max=3", "lse=0", "topk=1.5", "lse=x", ""])
def test_a_wrong_name_is_one_sentence(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("repool", MODEL, "--with", wrong, "-o", tmp_path / "m.onnx") == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert len(streams.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(text_model(BODY, init={"w": weights(5, 6), "one": weights(1)}), tmp_path / "m.onnx")
    assert run("repool", tmp_path / "m.onnx", "--with", "max", "--json") == 3
    assert said(capsys)["refusal"]["code"] == "not-repoolable"
    assert run("repool", SAMPLES / "digits_torch_vit.onnx", "--with", "max", "-o", tmp_path / "o.onnx", "--json") == 3
    assert said(capsys)["refusal"]["code"] == "class-token"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_class_token_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vit, out = SAMPLES / "digits_torch_vit.onnx", tmp_path / "m.onnx"
    assert run("repool", vit, "--with", "max", "--class-token", "direct", "-o", out, "--json") == 0
    assert said(capsys)["proof"]["pool"]["passed"] is True
    assert run("rewrite", out, "-o", tmp_path / "g.onnx", "--json") == 0
    (head,) = said(capsys)["heads"]
    assert (head["pool"], head["class_token_lift"], head["placeless_share"]) == ("max", "direct", None)
    assert run("repool", out, "--with", "mean", "-o", tmp_path / "back.onnx", "--json") == 0
    assert (tmp_path / "back.onnx").read_bytes() == vit.read_bytes()


def test_an_audit_of_a_repooled_model_is_of_its_own_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, labels = tmp_path / "m.onnx", SCENES / "scenes.json"
    assert run("repool", MODEL, "--with", "max", "-o", out, "--json") == 0
    named = ["--preprocess", SAMPLES / "digits_torch_legacy.preprocess.json"]
    capsys.readouterr()
    assert run("audit", MODEL, labels, *named, "-o", tmp_path / "a", "--gallery", "0", "--json") == 0
    vendors = said(capsys)
    assert run("audit", out, labels, *named, "-o", tmp_path / "b", "--gallery", "2") == 0
    text = capsys.readouterr().out
    repooled = json.loads((tmp_path / "b" / "summary.json").read_text("utf-8"))
    assert (vendors["head"]["pool"], repooled["head"]["pool"]) == ("mean", "max")
    assert repooled["top1"] == vendors["aggregators"]["max"]["top1"]
    assert repooled["aggregators"]["mean"]["top1"] == vendors["aggregators"]["mean"]["top1"]
    assert "max (the model's own)" in text
    assert "mean (the vendor's)" in text
    page = (tmp_path / "b" / "report.html").read_text("utf-8")
    assert "The model is repooled." in page
    assert "the model&#x27;s own mean" not in page
    assert "the model's own mean" not in page


def test_a_picture_says_what_the_answer_is_made_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    assert run("repool", MODEL, "--with", "max", "-o", out, "--json") == 0
    capsys.readouterr()
    assert run("predict", out, SCENES / "scene_00.png", "-o", tmp_path / "p", "--json") == 0
    (image,) = said(capsys)["images"]
    head = image["heads"][0] if "heads" in image else image
    assert head["pool"] == "max"
