"""What a file states, and `--no-guess`, as a user meets them on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from tests.helpers.scene_data import SCENES, write_scenes
from tests.helpers.support import text_model
from tests.helpers.verbs import SAMPLES, run, run_json

#: Pixels are divided by 255 in the graph; two classes, of the red and of the blue.
BODY = (
    "k = Constant<value = float {255.0}>() d = Div(x, k) "
    "w = Constant<value = float[2, 3, 1, 1] {1, 0, 0, 0, 0, 1}>() f = Conv(d, w) "
    "a = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(f) p = GlobalAveragePool(a) y = Flatten(p)"
)


@pytest.fixture
def stated(tmp_path: Path) -> Path:
    """A model that states its values in its first nodes, its names in its metadata, and not the order of colours."""
    model = text_model(BODY, x="float[N,3,32,32] x", y="float[N,2] y")
    onnx.helper.set_model_props(model, {"names": "{0: 'rot', 1: 'blau'}", "threshold_of_ours": "0.5"})
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def guessed(tmp_path: Path) -> Path:
    """The digits' model without anything beside it, so that its preprocessing is a guess."""
    shutil.copy(SAMPLES / "digits_torch_legacy.onnx", tmp_path / "digits.onnx")
    return tmp_path / "digits.onnx"


def labelled(folder: Path, ending: str = ".npy", depth: type[np.generic] = np.uint16, highest: int = 65535) -> Path:
    """A folder of two classes: pictures with a red or a blue square."""
    for place, name in enumerate(("rot", "blau")):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((32, 32, 3), highest // 10, depth)
            pixels[8 * number : 8 * number + 8, 8:16, 2 * place] = highest
            if ending == ".npy":
                np.save(folder / name / f"{number}.npy", pixels)
            else:
                assert cv2.imwrite(str(folder / name / f"{number}{ending}"), pixels[:, :, ::-1])
    return folder


def test_inspect_says_what_is_stated_by_what_and_what_is_not_read(
    stated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run_json(capsys, "inspect", stated)
    assert code == 0
    assert found["preprocess"]["scale"] == 1.0
    assert found["preprocess_guessed"] == ["color"]
    assert found["preprocess_parts"]["values"] == "the graph's own first nodes (Div 255)"
    assert found["class_names"]["y"]["names"] == ["rot", "blau"]
    assert found["metadata_unknown"] == ["threshold_of_ours"]
    assert run("inspect", stated) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "partly stated: values (pixels from 0 to 255 as they are)" in text
    assert "rot, blau" in text
    assert "not read here: 'threshold_of_ours'" in text


def test_inspect_of_a_model_that_takes_no_photo_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = text_model("p = ReduceMean<axes = [2], keepdims = 0>(x)  y = Gemm(p, w)", x="float[N,6,40] x", opset=13)
    weights = np.ones((6, 5), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "m.onnx")
    _, found = run_json(capsys, "inspect", tmp_path / "m.onnx")
    assert found["preprocess"] is None
    assert "Input 'x'" in found["preprocess_source"]


@pytest.mark.parametrize("verb", ["predict", "audit", "compare", "verify", "check"])
def test_no_guess_is_exit_2_in_every_verb(
    verb: str, guessed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_scenes(tmp_path / "data")
    policy = tmp_path / "gapmil.toml"
    policy.write_text('schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.1\n')
    scene = SCENES / "scene_00.png"
    words: dict[str, list[Any]] = {
        "predict": [guessed, scene, "-o", tmp_path / "o"],
        "audit": [guessed, data, "-o", tmp_path / "o"],
        "compare": [guessed, guessed, data, "-o", tmp_path / "o"],
        "verify": [guessed, guessed, scene],
        "check": [guessed, "--policy", policy, "--data", data, "-o", tmp_path / "o"],
    }
    assert run(verb, *words[verb], "--no-guess") == 2
    said = capsys.readouterr().err
    assert "--no-guess forbids" in said
    assert "Traceback" not in said
    assert not (tmp_path / "o" / "summary.json").exists()


def test_check_refuses_an_audit_whose_preprocessing_was_guessed(
    guessed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_scenes(tmp_path / "data")
    policy = tmp_path / "gapmil.toml"
    policy.write_text('schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.0\n')
    assert run("audit", guessed, data, "-o", tmp_path / "o") == 0
    assert run("check", guessed, "--policy", policy, "--audit", tmp_path / "o") == 0
    assert run("check", guessed, "--policy", policy, "--audit", tmp_path / "o", "--no-guess") == 2
    assert "guessed" in capsys.readouterr().err


def test_no_guess_lets_through_what_is_stated_and_what_is_measured(
    guessed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_scenes(tmp_path / "data")
    assert run("audit", guessed, data, "-o", tmp_path / "o", "--no-guess", "--preprocess", "auto") == 0
    assert (
        run("predict", guessed, SCENES / "scene_00.png", "-o", tmp_path / "p", "--no-guess", "--preprocess", "unit")
        == 0
    )
    shutil.copy(SAMPLES / "digits_torch_legacy.preprocess.json", tmp_path / "digits.preprocess.json")
    capsys.readouterr()
    code, found = run_json(capsys, "predict", guessed, SCENES / "scene_00.png", "-o", tmp_path / "q", "--no-guess")
    assert (code, found["preprocess_guessed"]) == (0, [])


@pytest.mark.parametrize("ending", [".npy", ".png", ".tif"])
def test_images_of_sixteen_bits_are_audited(
    stated: Path, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "data", ending)
    code, found = run_json(capsys, "audit", stated, data, "-o", tmp_path / "o", "--preprocess", "raw")
    assert (code, found["images"], found["failed"], found["top1"]) == (0, 6, 0, 1.0)
    assert (tmp_path / "o" / "report.html").stat().st_size > 10_000


def test_an_audit_announces_twelve_bits_in_sixteen(
    stated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "data", highest=4000)
    _, dark = run_json(capsys, "audit", stated, data, "-o", tmp_path / "o", "--preprocess", "raw")
    assert "none above 4,000" in dark["preprocess_source"]
    recipe = tmp_path / "p.json"
    base = {"layout": "NCHW", "color": "RGB", "size": [32, 32], "scale": 1, "dtype": "float32", "full_scale": 4095}
    recipe.write_text(json.dumps(base))
    _, bright = run_json(capsys, "audit", stated, data, "-o", tmp_path / "o", "--preprocess", recipe)
    assert "none above" not in bright["preprocess_source"]
    assert bright["preprocess"]["full_scale"] == 4095


def test_an_audit_says_which_parts_were_guessed(
    stated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "data", ".png", np.uint8, 255)
    _, found = run_json(capsys, "audit", stated, data, "-o", tmp_path / "o")
    assert (found["preprocess_assumed"], found["preprocess_guessed"]) == (True, ["color"])
    _, both = run_json(capsys, "compare", stated, stated, data, "-o", tmp_path / "c")
    assert both["models"]["new"]["preprocess_guessed"] == ["color"]


def test_predict_writes_pictures_of_deep_arrays_and_notes_them(
    stated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "data", highest=4000)
    assert run("predict", stated, data / "rot" / "1.npy", "-o", tmp_path / "o", "--preprocess", "raw") == 0
    said = capsys.readouterr().out
    assert (tmp_path / "o" / "1.png").exists()
    assert "note" in said
    assert "none above 4,000" in said
    report = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert "none above 4,000" in report["images"][0]["note"]


@pytest.mark.parametrize("shape", ["1,12,500", "N,3,500", "3,500,1"])
def test_a_signal_is_no_picture(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three axes of which one has the length of an image's colours."""
    channels = int(shape.split(",")[1])
    body = "p = ReduceMean<axes = [2], keepdims = 0>(x)  y = MatMul(p, w)"
    model = text_model(body, x=f"float[{shape}] x", opset=13, init={"w": np.ones((channels, 5), np.float32)})
    onnx.save(model, tmp_path / "m.onnx")
    _, found = run_json(capsys, "inspect", tmp_path / "m.onnx")
    assert found["preprocess"] is None


def test_photos_are_proved_on_a_graph_that_takes_one_without_a_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = (
        "t = Transpose<perm = [2,0,1]>(x) o = Constant<value = int64[1] {0}>() u = Unsqueeze(t, o) c = Cast<to = 1>(u) "
        "p = GlobalAveragePool(c) y = Flatten(p)"
    )
    onnx.save(text_model(body, x="uint8[H,W,3] x", y="float[1,3] y"), tmp_path / "m.onnx")
    assert run("rewrite", tmp_path / "m.onnx") == 0
    capsys.readouterr()
    code, found = run_json(capsys, "verify", tmp_path / "m.onnx", tmp_path / "m.gapmil.onnx", SCENES / "scene_00.png")
    assert code == 0
    assert found["passed"] is True
