"""The fresh process of a memory measurement: an order on stdin, an answer on stdout, a failure in one line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil.benchmarking.child import main
from tests.helpers.support import text_model


def ask(monkeypatch: pytest.MonkeyPatch, path: Path, **changed: Any) -> int:
    order = {"path": str(path), "folder": None, "provider": "cpu", "outputs": ["y"], "runs": 2}
    order |= {"inputs": [["x", [2, 6, 3, 5], "float32"]]} | changed
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(order)))
    return main()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = text_model("p = GlobalAveragePool(x)  y = Flatten(p)", y="float[N,6] y")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_the_answer_is_one_line_of_json(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, path) == 0
    streams = capsys.readouterr()
    answer = json.loads(streams.out)
    assert set(answer) == {"host_bytes", "device_bytes"}
    assert answer["device_bytes"] is None
    assert streams.err == ""


def test_a_graph_that_cannot_be_loaded_is_one_line_and_the_exit_code_of_its_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(b"no model")
    assert ask(monkeypatch, path) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert streams.err.startswith("The graph")


def test_a_provider_that_is_not_there_is_an_error_and_no_figure_of_another(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, path, provider="nowhere") == 2
    assert capsys.readouterr().out == ""
