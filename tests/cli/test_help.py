from __future__ import annotations

import subprocess
import sys

import pytest

import onnx_gapmil
from onnx_gapmil.cli import VERBS, main

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


#: The same words for the same things, in every verb that has the thing.
TAKE_A_MODEL = {"inspect", "rewrite", "verify", "predict", "audit", "compare", "check", "repool", "view", "bench"}
FLAGS = {
    "--head": TAKE_A_MODEL,
    "--class-token": TAKE_A_MODEL,
    "--limit-seconds": TAKE_A_MODEL,
    "--limit-memory": TAKE_A_MODEL,
    "--names": {"inspect", "predict", "audit", "compare", "view", "check"},
    "--labels": {"audit", "compare", "repool", "check"},
    "--preprocess": {"verify", "predict", "audit", "compare", "repool", "view", "check"},
    "--no-guess": {"verify", "predict", "audit", "compare", "repool", "view", "check"},
    "--size": {"inspect", "rewrite", "predict", "audit", "compare", "bench", "view"},
    "--quiet": set(VERBS),
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_is_spelled_alike_wherever_it_means_something(flag, capsys):
    without = []
    for verb in sorted(FLAGS[flag]):
        assert main([verb, "--help"]) == 0
        if f"{flag} " not in capsys.readouterr().out.replace("\n", " "):
            without.append(verb)
    assert without == []


def test_python_dash_m_and_version():
    done = subprocess.run(
        [sys.executable, "-m", "onnx_gapmil", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"onnx-gapmil {onnx_gapmil.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["audt", "m.onnx", "data"], "No such command 'audt'. Did you mean 'audit'?"),
        (["Comparre", "--json"], "Did you mean 'compare'?"),
        (["doctor", "--nonsense"], "No such option"),
        (["--bad"], "--bad"),
    ],
)
def test_usage_errors_are_exit_code_2(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_verbs_return_value_is_the_exit_code(verb, returned, code):
    verb(returned)
    assert main(["probe", "m.onnx"]) == code
