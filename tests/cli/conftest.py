"""A sample model for the verbs, and a verb that does what a test wants."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from onnx_gapmil import cli
from onnx_gapmil.cli import VERBS
from tests.helpers.verbs import SAMPLES


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sample model with its labels and preprocessing, in a folder of its own."""
    for name in ("digits_torch_legacy.onnx", "digits_torch_legacy.labels.txt", "digits_torch_legacy.preprocess.json"):
        shutil.copy(SAMPLES / name, tmp_path / name)
    return tmp_path / "digits_torch_legacy.onnx"


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
