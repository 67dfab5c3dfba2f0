"""``onnx-gapmil bench`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.benchmarking import benchmark
from onnx_gapmil.cli import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
MODEL = SAMPLES / "digits_torch_legacy.onnx"
QUICK = ("--provider", "cpu", "--batch", "1", "--seconds", "0.01", "--no-memory")


def run(*arguments: object) -> int:
    return main(["bench", *map(str, arguments)])


def test_the_table_names_graphs_and_provider(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MODEL, *QUICK, "--emit", "features,grid", "--emit", "topk:3") == 0
    shown = capsys.readouterr()
    for word in ("original", "features,grid", "topk:3", "CPUExecutionProvider", "FLOP bound", "images/s"):
        assert word in shown.out
    assert shown.err == ""


def test_json_on_stdout_and_in_a_file_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "bench.json"
    assert run(MODEL, *QUICK, "--emit", "grid", "--json", "-o", place) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(place.read_text(encoding="utf-8"))
    assert (printed["schema_version"], printed["model"]) == (1, str(MODEL))
    assert [entry["graph"] for entry in printed["series"][0]["measurements"]] == ["original", "grid"]
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.onnx",), "missing.onnx: no such file, and an ONNX model was expected"),
        ((MODEL, "--batch", "x"), "'x' is no whole number"),
        ((MODEL, "--batch", "0"), "--batch 0"),
        ((MODEL, "--size", "big"), "--size 'big'"),
        ((MODEL, "--size", "0"), "--size"),
        ((MODEL, "--precision", "int4"), "'int4' is not known"),
        ((MODEL, "--seconds", "-1"), "--seconds -1"),
        ((MODEL, "--emit", "nonsense"), "nonsense"),
        ((MODEL, "--provider", "nonsense"), "'nonsense' is not part of the installed ONNX Runtime"),
        ((MODEL, "-o", "no/such/folder/x.json"), "is no folder"),
        ((MODEL, "-o", SAMPLES), "is a folder; name the file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[object, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_a_refused_head_is_exit_code_3_with_its_reason_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SAMPLES / "digits_torch_vit.onnx", *QUICK, "--json") == 3
    assert json.loads(capsys.readouterr().out)["refusal"]["code"] == "class-token"


def test_a_provider_that_is_not_really_used_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx_gapmil.benchmarking import sessions
    from onnx_gapmil.ort.providers import ProviderChoice

    pretended = ProviderChoice("cuda", "cuda", (("CPUExecutionProvider", {}),), "CUDA, as asked for.")
    monkeypatch.setattr(benchmark, "choose_providers", lambda name: pretended)
    monkeypatch.setattr(sessions, "nodes_per_provider", lambda session: {"Other": 9})
    assert run(MODEL, *QUICK) == 2
    assert "was asked for, and no node of the model runs on it" in capsys.readouterr().err


def test_an_interrupted_report_is_printed_and_leaves_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [[1.0, 1.0, 1.0], [1.5, 1.5, 1.5]]
    monkeypatch.setattr(benchmark, "interleave", lambda runs, *, seconds: (times, True))
    assert run(MODEL, *QUICK, "--emit", "grid") == 130
    shown = capsys.readouterr()
    assert "1.500 (1.500 to 1.500)" in shown.out
    assert "Interrupted" in shown.out
    assert shown.err.strip() == "Interrupted."
