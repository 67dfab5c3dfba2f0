"""The examples that people copy, run as they are called, on the digit models; and short enough to be read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from examples.grid_service import service
from onnx_gapmil import read_image
from tests.helpers.compared import changed_model, write_data
from tests.helpers.scene_data import MODEL

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCENES = MODEL.parent / "scenes"


def called(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 40


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("arguments", [(), ("model.onnx", "photos", "out", "more", "and more")], ids=["none", "many"])
def test_an_example_that_is_called_wrongly_says_how(path: Path, arguments: tuple[str, ...]) -> None:
    done = called(path.name, *arguments)
    assert done.returncode == 1
    assert f"python examples/{path.name} " in done.stderr
    assert "Traceback" not in done.stderr


def test_there_are_five() -> None:
    assert len(EXAMPLES) == 5


def test_an_audit(tmp_path: Path) -> None:
    done = called("audit_a_model.py", MODEL, SCENES, tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "audit" / "summary.json").read_text("utf-8"))
    assert f"Right at top-1: {100 * summary['top1']:.1f}% of 8 images." in done.stdout
    assert (tmp_path / "audit" / "report.html").exists()


def test_a_refused_model_is_not_audited(tmp_path: Path) -> None:
    done = called("audit_a_model.py", MODEL.parent / "digits_torch_vit.onnx", SCENES, tmp_path / "audit")
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "audit").exists()


def test_a_gate_is_green_for_the_same_model_and_red_for_a_worse_one(tmp_path: Path) -> None:
    data, worse = write_data(tmp_path / "data"), changed_model(tmp_path / "new")
    same = called("gate_an_int8_model.py", MODEL, MODEL, data, tmp_path / "same")
    assert same.returncode == 0, same.stdout + same.stderr
    done = called("gate_an_int8_model.py", worse, MODEL, data, tmp_path / "worse")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed" in done.stdout
    assert (tmp_path / "worse" / "check.xml").exists()


def test_boxes_are_a_coco_data_set(tmp_path: Path) -> None:
    done = called("boxes_for_labelling.py", MODEL, SCENES, tmp_path / "boxes.coco.json")
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "boxes.coco.json").read_text("utf-8"))
    assert len(made["images"]) == 8
    truth = {scene["image"]: scene["objects"] for scene in json.loads((SCENES / "scenes.json").read_text("utf-8"))}
    names = {entry["id"]: entry["file_name"] for entry in made["images"]}
    hits = 0
    for entry in made["annotations"]:
        x, y, width, height = entry["bbox"]
        assert entry["area"] == pytest.approx(width * height)
        digits = [thing for thing in truth[names[entry["image_id"]]] if thing["class"] + 1 == entry["category_id"]]
        centre = x + width / 2, y + height / 2
        hits += any(box[0] < centre[0] < box[2] and box[1] < centre[1] < box[3] for box in (d["box"] for d in digits))
    assert hits > 15  # of 23 digits in the scenes


def test_another_pool_is_compared_under_the_models_own_preprocessing(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    shutil.copy(MODEL, tmp_path)
    for end in ("preprocess.json", "labels.txt"):
        shutil.copy(MODEL.with_suffix(f".{end}"), tmp_path)
    done = called("repool_and_compare.py", tmp_path / MODEL.name, "max", data, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "compare" / "compare.json").read_text("utf-8"))
    assert (
        f"by the mean {100 * found['accuracy']['old']:.1f}%, by max {100 * found['accuracy']['new']:.1f}%"
        in done.stdout
    )
    assert found["models"]["old"]["preprocess"] == found["models"]["new"]["preprocess"]
    assert "chance" in done.stdout


def test_a_service_answers_photos_and_not_what_is_none() -> None:
    server = service(str(MODEL), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        photo = SCENES / "scene_06.png"
        with urllib.request.urlopen(url, data=photo.read_bytes()) as response:
            answer = json.load(response)
        pixels = (read_image(photo).astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        run = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
        logits = run.run(None, {run.get_inputs()[0].name: pixels.astype(np.float32).transpose(2, 0, 1)[None]})[0][0]
        assert [entry["logit"] for entry in answer] == pytest.approx(sorted(logits, reverse=True)[:5], abs=1e-4)
        assert all(0 <= side <= 96 for entry in answer for side in entry["place"])
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(url, data=b"no image")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
