"""What is said before Ray is asked for, and where it is not installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from onnx_gapmil import InputError, audit, compare, predict
from tests.helpers.scene_data import MODEL, SCENES
from tests.helpers.verbs import run, run_json

VERBS = {"audit": (MODEL, SCENES), "compare": (MODEL, MODEL, SCENES), "predict": (MODEL, SCENES)}


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("verb", VERBS)
def test_without_the_extra_it_is_named(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, *VERBS[verb], "-o", tmp_path / "out", "--ray", "auto") == 2
    said = capsys.readouterr().err.strip()
    assert said == "Error: --ray runs on Ray, which is not installed: pip install 'onnx-gapmil[ray]'."
    code, document = run_json(capsys, verb, *VERBS[verb], "-o", tmp_path / "out", "--ray")
    assert (code, document["error"]["code"]) == (2, "input")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_ray")
def test_the_library_says_the_same(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pip install 'onnx-gapmil\[ray\]'"):
        audit(MODEL, SCENES, tmp_path / "out", ray="auto")
    with pytest.raises(InputError, match=r"pip install 'onnx-gapmil\[ray\]'"):
        compare(MODEL, MODEL, SCENES, tmp_path / "out", ray="auto")
    with pytest.raises(InputError, match=r"pip install 'onnx-gapmil\[ray\]'"):
        predict(MODEL, SCENES, tmp_path / "out", ray="auto")


@pytest.mark.parametrize("address", ["photo.jpg", "head", "head:", "head:port", "http://head/x:1"])
def test_what_is_no_address_is_told(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", MODEL, SCENES, "-o", tmp_path / "out", "--ray", address) == 2
    assert f"'{address}' is no address of a Ray cluster: auto" in capsys.readouterr().err


def test_shards_and_pages_are_not_asked_for_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("audit", MODEL, SCENES, "-o", out, "--ray", "auto", "--shard", "0/2") == 2
    assert "give --ray or --shard, not both" in capsys.readouterr().err
    assert run("predict", MODEL, SCENES, "-o", out, "--ray", "auto", "--page") == 2
    assert "leave --page, or --ray" in capsys.readouterr().err
    assert run("audit", MODEL, SCENES, "-o", out, "--ray", "auto", "--size", "96,128") == 2
    assert "several sizes" in capsys.readouterr().err
    with pytest.raises(InputError, match="give ray or shard, not both"):
        predict(MODEL, SCENES, out, ray="auto", shard="0/2")
    with pytest.raises(InputError, match="needs a folder for its results"):
        predict(MODEL, SCENES, None, ray="auto")  # type: ignore[call-overload]
    assert not out.exists()


def test_a_folder_of_a_shard_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out" / "shard").mkdir(parents=True)
    (tmp_path / "out" / "shard.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match=r"Ray, which is not installed|holds a shard of another run"):
        audit(MODEL, SCENES, tmp_path / "out", ray="auto")
