"""The command line called as a function, and the sample models that it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil.cli import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"

SCENES = SAMPLES / "scenes"

EXACT = ["digits_torch_legacy", "digits_keras", "digits_paddle", "digits_jax"]

LIFTED = [*EXACT, "digits_torch_dynamo"]

REFUSED = "digits_torch_vit"


def run(*arguments: object) -> int:
    """``onnx-gapmil ARGUMENTS``; the exit code."""
    return main([str(argument) for argument in arguments])


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """The same with ``--json``: the exit code and what was printed."""
    code = run(*arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def files(folder: Path) -> set[str]:
    """Names of what lies in a folder."""
    return {path.name for path in folder.iterdir()}
