"""``--json``: one document on stdout, whatever becomes of the call; ``--quiet``: stderr has only errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil.cli import VERBS, main
from onnx_gapmil.errors import InputError
from onnx_gapmil.viewing.server import ViewServer
from tests.helpers.held import held_at, wait_until
from tests.helpers.verbs import SAMPLES, SCENES, run

MODEL = SAMPLES / "digits_torch_legacy.onnx"
LABELLED = SCENES / "scenes.json"


def document(text: str) -> dict[str, Any]:
    """The one document, and nothing else."""
    found, end = json.JSONDecoder().raw_decode(text)
    assert text[end:].strip() == ""
    assert found["schema_version"] == 1
    return found  # type: ignore[no-any-return]


WRONG: list[list[object]] = [
    [],
    ["no-such-verb"],
    *([verb, "--no-such-flag"] for verb in VERBS),
    *([verb] for verb in VERBS if verb != "doctor"),
    ["inspect", "a", "b"],
    ["predict", MODEL, SCENES, "--top", "0"],
    ["predict", MODEL, SCENES, "--batch", "many"],
    ["audit", MODEL, LABELLED, "--gallery", "x"],
    ["rewrite", MODEL, "--readout", "none"],
    ["bench", MODEL, "--seconds", "soon"],
    ["repool", MODEL, "--with", "sum"],
    ["repool", MODEL, "--with", "max=3"],
    ["check", MODEL, "--against", MODEL],
    ["verify", "--certificate"],
    ["inspect", MODEL, "--limit-seconds", "never"],
    ["inspect", MODEL, "--limit-memory", "much"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda found: " ".join(Path(str(word)).name for word in found) or "-")
@pytest.mark.parametrize("first", [True, False])
def test_wrong_usage_is_a_document(arguments: list[object], first: bool, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*arguments, "--json"] if not first or not arguments else [arguments[0], "--json", *arguments[1:]]
    assert run(*words) == 2
    streams = capsys.readouterr()
    error = document(streams.out)["error"]
    assert set(error) == {"code", "message", "advice"}
    assert error["message"]
    assert streams.err.strip()


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["inspect", "no.onnx"], 2, "model"),
        (["inspect", SAMPLES / "digits_torch_vit.onnx"], 3, None),
        (["rewrite", SAMPLES / "digits_torch_vit.onnx"], 3, "refusal"),
        (["rewrite", MODEL, "-o", "no/such/x.onnx"], 2, "input"),
        (["verify", MODEL, MODEL], 2, "model"),
        (["predict", MODEL, "no.png"], 2, "image"),
        (["audit", MODEL, "no.json"], 2, "data"),
        (["compare", MODEL, MODEL, "no.json"], 2, "data"),
        (["check", MODEL, "--policy", "no.toml"], 2, "input"),
        (["bench", MODEL, "--batch", "x"], 2, "input"),
    ],
)
def test_what_goes_wrong_is_a_document(
    arguments: list[object], code: int, kind: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--json") == code
    found = document(capsys.readouterr().out)
    if kind == "refusal":
        assert found["refusal"]["code"] == "class-token"
    elif kind is not None:
        assert found["error"]["code"] == kind


@pytest.mark.parametrize(
    ("error", "code", "kind"), [(KeyboardInterrupt(), 130, "interrupted"), (OSError(5, "x"), 2, "")]
)
def test_an_interrupt_is_a_document(
    verb: Any, capsys: pytest.CaptureFixture[str], error: Any, code: int, kind: str
) -> None:
    verb(error)
    assert main(["probe", "m.onnx", "--json"]) == code
    assert document(capsys.readouterr().out)["error"]["code"].startswith(kind)


def test_behind_a_document_no_other_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What fails when the result is printed already is told on stderr, and by the exit code."""
    from onnx_gapmil.cli import inspect

    real = inspect.print_json

    def printed_and_failed(data: dict[str, Any]) -> None:
        real(data)
        raise InputError("the lamp went out.")

    monkeypatch.setattr(inspect, "print_json", printed_and_failed)
    assert run("inspect", MODEL, "--json") == 2
    streams = capsys.readouterr()
    assert document(streams.out)["verdict"] == "exact"
    assert streams.err == "Error: the lamp went out.\n"


@pytest.mark.parametrize("value", ["no/folder/summary.md", "."])
def test_a_step_summary_that_cannot_be_written_is_the_only_document(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    policy = tmp_path / "p.toml"
    policy.write_text('schema_version = 1\n[model]\nverdict = ["exact"]\n')
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / value))
    assert run("check", MODEL, "--policy", policy, "--json") == 2
    assert "step's summary" in document(capsys.readouterr().out)["error"]["message"]


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="supervised on Linux")
@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "stopped", 143), (signal.SIGHUP, "stopped", 129)],
)
def test_a_stopped_process_leaves_one_document(number: int, kind: str, code: int, tmp_path: Path) -> None:
    """The program as it is started, kept busy by many photos."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for place in range(400):  # copies: links to one file are one photo
        shutil.copyfile(SCENES / f"scene_0{place % 8}.png", photos / f"{place}.png")
    command = [sys.executable, "-m", "onnx_gapmil", "predict", MODEL, photos, "-o", tmp_path / "out", "--json"]
    heard = partial(signal.signal, number, signal.SIG_DFL)  # whatever the tests were started by: nohup ignores SIGHUP
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        wait_until(lambda: any((tmp_path / "out").glob("*.png")), process)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert document(out)["error"]["code"] == kind
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_in_predict_is_one_document_and_the_run_goes_on(tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for place in range(40):
        shutil.copy(SCENES / "scene_00.png", folder / f"{place:03}.png")
    arguments = ["predict", MODEL, folder, "-o", out, "--no-pictures", "--save", "npz", "--batch", "2", "--json"]
    command = held_at("012", *arguments)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # A run goes on behind whole batches; the third photo's file is there once the first two are noted.
    wait_until(lambda: len(list(out.glob("*.npz"))) > 2, process)
    process.send_signal(signal.SIGINT)
    printed, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert document(printed)["error"]["code"] == "interrupted"
    again = subprocess.run(
        [sys.executable, "-m", "onnx_gapmil", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    found = document(again.stdout)
    assert len(found["images"]) == 40
    assert "were done by an earlier run" in again.stderr
    assert found == json.loads((out / "predictions.json").read_text())


# --- --quiet ---------------------------------------------------------------------------------------------------------


def policy_of(folder: Path) -> Path:
    path = folder / "p.toml"
    path.write_text('schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.0\n')
    return path


@pytest.mark.parametrize("verb", list(VERBS))
@pytest.mark.parametrize("as_json", [True, False])
def test_quiet_says_only_the_result(
    verb: str, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ViewServer, "serve_forever", lambda server, poll_interval: None)
    out = tmp_path / "out"
    arguments: dict[str, list[object]] = {
        "inspect": [MODEL],
        "rewrite": [MODEL, "-o", tmp_path / "m.onnx"],
        "verify": [MODEL, tmp_path / "m.onnx"],
        "predict": [MODEL, SCENES, "-o", out, "--no-pictures"],
        "audit": [MODEL, LABELLED, "-o", out],
        "compare": [MODEL, MODEL, LABELLED, "-o", out],
        "check": [MODEL, "--policy", policy_of(tmp_path), "--data", LABELLED, "-o", out],
        "repool": [MODEL, "--with", "max", "-o", tmp_path / "max.onnx"],
        "bench": [MODEL, "--provider", "cpu", "--batch", "1", "--seconds", "0.01", "--no-memory", "--emit", "grid"],
        "merge": [tmp_path / "part", "-o", out],
        "view": [MODEL, "--provider", "cpu", "--no-browser"],
        "doctor": [],
    }
    if verb == "merge":
        part = ["--shard", "0/1", "-o", tmp_path / "part", "--quiet"]
        assert run("audit", MODEL, LABELLED, *part) == 0
        capsys.readouterr()
    if verb == "verify":
        assert run("rewrite", MODEL, "-o", tmp_path / "m.onnx", "--quiet") == 0
        capsys.readouterr()
    assert run(verb, *arguments[verb], "--quiet", *(["--json"] if as_json else [])) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    assert streams.out.strip()
    if as_json:
        document(streams.out)


def test_quiet_keeps_errors_and_ends_with_its_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    shutil.copy(SCENES / "scene_00.png", tmp_path / "good.png")
    arguments = [MODEL, tmp_path / "*.png", "-o", tmp_path / "out", "--no-pictures"]
    assert run("predict", *arguments, "--quiet") == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    assert run("predict", *arguments) == 2
    assert "running on" in capsys.readouterr().err


def test_results_of_an_earlier_run_are_named_until_they_are_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    told = []
    for _ in range(2):
        assert run("audit", MODEL, LABELLED, "-o", out, "--gallery", "0") == 0
        told.append("of an earlier run until this one ends" in capsys.readouterr().err)
    assert told == [False, True]


# --- text in a pipe --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", MODEL],
        ["inspect", SAMPLES / "digits_torch_vit.onnx"],
        ["rewrite", MODEL, "-o", "OUT/m.onnx"],
        ["audit", MODEL, LABELLED, "-o", "OUT"],
        ["compare", MODEL, MODEL, LABELLED, "-o", "OUT", "--aggregator-new", "max"],
        ["doctor"],
    ],
    ids=lambda found: str(found[0]),
)
def test_text_in_a_pipe_is_plain_lines(
    arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither coloured, where the environment forces colours, nor wrapped in a narrow window, nor filled up."""
    words = [str(word).replace("OUT", str(tmp_path)) for word in arguments]
    monkeypatch.setenv("COLUMNS", "500")
    main(words)
    wide = capfd.readouterr().out
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "20", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    main(words)
    done = capfd.readouterr()
    for text in done:
        assert "\x1b" not in text
        assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert len(done.out.splitlines()) == len(wide.splitlines())
    assert max(map(len, done.out.splitlines())) > 60


def test_so_it_is_in_a_process_of_its_own() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "20", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "onnx_gapmil", "inspect", str(MODEL)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) > 60


def test_a_long_sentence_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", SAMPLES / "digits_torch_vit.onnx") == 3
    advice = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  advice"))
    assert advice.endswith("by what each attention brought the token from each patch.")
