"""Each command opens each model once: what was read is handed on."""

from __future__ import annotations

import collections
import shutil
import sys
from pathlib import Path

import pytest

from onnx_gapmil.cli import main

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "sample_models" / "scenes" / "scene_00.png"


class Opened:
    """The model files that Python opens while it listens; what listens to a process cannot be taken away from it."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        if event == "open" and self.counts is not None and str(args[0]).endswith(".onnx"):
            self.counts[str(args[0])] += 1


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a vendor's model, its preprocessing, and its rewritten form."""
    from onnx_gapmil.rewriting.verbs import rewrite

    folder = tmp_path_factory.mktemp("models")
    for ending in ("onnx", "preprocess.json", "labels.txt"):
        shutil.copy(ROOT / "sample_models" / f"digits_torch_legacy.{ending}", folder / f"m.{ending}")
    (folder / "data" / "three").mkdir(parents=True)
    shutil.copy(PHOTO, folder / "data" / "three")
    rewrite(folder / "m.onnx")
    rewrite(folder / "m.onnx", folder / "few.onnx", emit="topk:2")
    return folder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param("inspect m.onnx", ["m.onnx"], id="inspect"),
        pytest.param("inspect m.gapmil.onnx", ["m.gapmil.onnx"], id="inspect_rewritten"),
        pytest.param("rewrite m.onnx -o new.onnx", ["m.onnx"], id="rewrite"),
        pytest.param("rewrite m.gapmil.onnx", ["m.gapmil.onnx"], id="rewrite_rewritten"),
        pytest.param("verify m.onnx", ["m.onnx", "m.gapmil.onnx"], id="verify"),
        pytest.param("verify m.onnx m.gapmil.onnx PHOTO", ["m.onnx", "m.gapmil.onnx"], id="verify_photo"),
        pytest.param("verify m.onnx few.onnx PHOTO", ["m.onnx", "few.onnx"], id="verify_without_grid"),
        pytest.param("predict m.onnx PHOTO -o out", ["m.onnx"], id="predict"),
        pytest.param("predict m.gapmil.onnx PHOTO -o out", ["m.gapmil.onnx"], id="predict_rewritten"),
        pytest.param("audit m.onnx data -o audit", ["m.onnx"], id="audit"),
        pytest.param("audit m.gapmil.onnx data -o audit2", ["m.gapmil.onnx"], id="audit_rewritten"),
        pytest.param("repool m.onnx --with max -o max.onnx", ["m.onnx"], id="repool"),
        pytest.param("repool m.gapmil.onnx --with max -o max2.onnx", ["m.gapmil.onnx"], id="repool_rewritten"),
        pytest.param("bench m.onnx --batch 1 --seconds 0.01 --no-memory", ["m.onnx"], id="bench"),
    ],
)
def test_each_model_is_read_once(
    models: Path, opened: Opened, arguments: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    opened.counts = collections.Counter()
    try:
        code = main(arguments.replace("PHOTO", str(PHOTO)).split())
    finally:
        counts, opened.counts = opened.counts, None
    assert code == 0
    assert counts == dict.fromkeys(expected, 1)
