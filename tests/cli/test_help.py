from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest

import onnx_gapmil
from onnx_gapmil import cli
from onnx_gapmil.cli import VERBS, main
from onnx_gapmil.errors import ModelError
from onnx_gapmil.lift.verdict import Refusal, UnsupportedHeadError
from onnx_gapmil.rewriting.proof.report import ProofError

HEAVY = {"numpy", "onnx", "onnxruntime", "cv2", "PIL", "rich", "onnx_graphsurgeon"}


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from onnx_gapmil.cli import main; code = main(['--help']); "
        "print(code, sorted(sys.modules.keys() & set(sys.argv[1].split())))"
    )
    done = subprocess.run([sys.executable, "-c", script, " ".join(HEAVY)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert done.stderr == ""


def test_help_lists_every_verb_in_order(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.split("Verbs:")[1].splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in VERBS] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_and_json(verb, capsys):
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: onnx-gapmil {verb}")
    assert "--json" in out


def test_python_dash_m_and_version():
    done = subprocess.run(
        [sys.executable, "-m", "onnx_gapmil", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"onnx-gapmil {onnx_gapmil.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["doctor", "--nonsense"], "No such option"),
        (["--bad"], "--bad"),
    ],
)
def test_usage_errors_are_exit_code_2(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


REFUSED = UnsupportedHeadError(
    Refusal("class-token", "Gather_7", "it takes the class token", "A prediction grid needs a pooled head.")
)


@pytest.fixture
def verb(monkeypatch):
    """Install a verb "probe MODEL [--json]" that raises, or returns, what it is given."""

    def install(outcome):
        @click.command("probe")
        @click.argument("model")
        @click.option("--json", "as_json", is_flag=True)
        def command(model, as_json):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setitem(VERBS, "probe", cli.Verb("probe_module:command", "Probe."))
        monkeypatch.setitem(sys.modules, "probe_module", SimpleNamespace(command=command))

    return install


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


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_verbs_return_value_is_the_exit_code(verb, returned, code):
    verb(returned)
    assert main(["probe", "m.onnx"]) == code
