"""How every verb tells what went wrong: one sentence, and an exit code that a script can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from onnx_gapmil.cli import main
from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.verdict import Refusal, UnsupportedHeadError
from onnx_gapmil.rewriting.proof.report import ProofError
from tests.helpers.verbs import SAMPLES, SCENES, files, run


def bad_models(folder: Path) -> dict[str, Path]:
    """Every kind of file that is no model, by what it is."""
    whole = (SAMPLES / "digits_torch_legacy.onnx").read_bytes()
    contents = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "garbage": bytes(range(256)) * 40,
        "text": b"this is not a model\n",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        "image": (SCENES / "scene_00.png").read_bytes(),
    }
    for name, data in contents.items():
        (folder / f"{name}.onnx").write_bytes(data)
    (folder / "folder.onnx").mkdir()
    return {name: folder / f"{name}.onnx" for name in (*contents, "folder", "missing")}


@pytest.mark.parametrize("kind", ["truncated", "empty", "garbage", "text", "lfs", "image", "folder", "missing"])
@pytest.mark.parametrize("verb", ["inspect", "rewrite", "verify", "predict"])
def test_what_is_no_model_gets_one_sentence_and_exit_2(
    verb: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad_models(tmp_path)[kind]
    before = files(tmp_path)
    extra = {"verify": [path], "predict": [SCENES / "scene_00.png", "-o", tmp_path / "out"]}.get(verb, [])
    assert run(verb, path, *extra) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert streams.err.startswith("Error: ")
    assert path.name in streams.err
    assert "Traceback" not in streams.err
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["rewrite"],
        ["rewrite", "a.onnx", "--no-such-flag"],
        ["rewrite", "a.onnx", "--readout", "wrong"],
        ["no-such-verb"],
        ["predict", "a.onnx"],
        ["predict", "a.onnx", "b.png", "--batch", "0"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


REFUSED = UnsupportedHeadError(
    Refusal("class-token", "Gather_7", "it takes the class token", "A prediction grid needs a pooled head.")
)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            ModelError("m.onnx is cut off.\n  Fetch it again."),
            2,
            "Error: m.onnx is cut off. Fetch it again.\n",
        ),
        (REFUSED, 3, f"Error: {REFUSED}\n"),
        (ProofError("The residual is 0.3.", report=None), 1, "Error: The residual is 0.3.\n"),
        (PermissionError(13, "Permission denied", "out.onnx"), 2, "Error: out.onnx: Permission denied.\n"),
        (click.FileError("labels.txt", "gone"), 2, "Error: Could not open file 'labels.txt': gone\n"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(verb, capfd, error, code, line):
    verb(error)
    assert main(["probe", "m.onnx"]) == code
    assert capfd.readouterr() == ("", line)


def test_control_c_is_said_without_a_traceback(verb, capfd):
    verb(KeyboardInterrupt())
    assert main(["probe", "m.onnx"]) == 130
    assert capfd.readouterr().err.strip() == "Interrupted."


def test_a_closed_pipe_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "onnx_gapmil", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=buffered, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_unexpected_error_is_a_bug_with_a_traceback_only_on_debug(verb, capsys):
    verb(ZeroDivisionError("division by zero"))
    assert main(["probe", "m.onnx"]) == 70
    quiet = capsys.readouterr().err
    assert quiet.startswith("Bug: ZeroDivisionError: division by zero. Please report it.")
    assert "Traceback" not in quiet
    assert main(["--debug", "probe", "m.onnx"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_refusal_is_json_where_json_was_asked_for(verb, capsys):
    verb(REFUSED)
    assert main(["probe", "m.onnx", "--json"]) == 3
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report == {"schema_version": 1, "model": "m.onnx", "refusal": REFUSED.refusal.to_json()}
    assert (report["refusal"]["code"], report["refusal"]["node"]) == ("class-token", "Gather_7")
    assert printed.err == f"Error: {REFUSED}\n"
