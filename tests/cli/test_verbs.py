"""The verbs as a user meets them: what they print, what they write, how they fail."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from onnx_gapmil.cli import main

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
SCENES = SAMPLES / "scenes"
EXACT = ["digits_torch_legacy", "digits_keras", "digits_paddle", "digits_jax"]
LIFTED = [*EXACT, "digits_torch_dynamo"]
REFUSED = "digits_torch_vit"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sample model with its labels and preprocessing, in a folder of its own."""
    for name in ("digits_torch_legacy.onnx", "digits_torch_legacy.labels.txt", "digits_torch_legacy.preprocess.json"):
        shutil.copy(SAMPLES / name, tmp_path / name)
    return tmp_path / "digits_torch_legacy.onnx"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:
    code = run(*arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def digits_input(count: int, shape: list[int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *shape[1:])).astype(np.float32)


# --- inspect ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
def test_inspect_finds_an_exact_head(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(capsys, "inspect", SAMPLES / f"{name}.onnx")
    assert (code, found["schema_version"], found["verdict"]) == (0, 1, "exact")
    assert found["heads"][0]["classes"] == 10
    assert found["heads"][0]["grid_size"] == [12, 12]


def test_inspect_calls_a_head_with_hardswish_conditional(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(capsys, "inspect", SAMPLES / "digits_torch_dynamo.onnx")
    assert (code, found["verdict"]) == (0, "conditional")
    assert [step["op"] for step in found["heads"][0]["chain"] if step["conditional"]] == ["HardSwish"]


def test_inspect_draws_the_head_from_grid_to_logits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", SAMPLES / "digits_torch_legacy.onnx") == 0
    text = capsys.readouterr().out
    places = [text.index(word) for word in ("12×12 cells", "GlobalAveragePool", "Flatten", "Gemm", "Verdict: exact")]
    assert places == sorted(places)


def test_inspect_tells_why_a_class_token_is_refused_and_how_far_the_walk_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = run_json(capsys, "inspect", SAMPLES / f"{REFUSED}.onnx")
    (refused,) = found["refused_outputs"]
    assert (code, found["verdict"], refused["code"]) == (3, "refused", "class-token")
    assert "Gather" in refused["node"]
    assert [entry.split("(")[-1].rstrip(")") for entry in refused["walked"]][:2] == ["Gemm", "Gather"]


def test_inspect_writes_nothing(model: Path) -> None:
    before = files(model.parent)
    run("inspect", model)
    assert files(model.parent) == before


# --- rewrite ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIFTED)
def test_rewrite_gives_a_grid_whose_mean_is_the_original_models_logits(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original, target = SAMPLES / f"{name}.onnx", tmp_path / "out.onnx"
    code, report = run_json(capsys, "rewrite", original, "-o", target)
    assert code == 0
    assert report["originals_unchanged"] is True
    assert report["output_path"] == str(target)
    (head,) = report["heads"]
    assert {"output", "verdict", "logits", "features", "grid", "grid_shape", "residual", "chain"} <= set(head)
    before, after = onnxruntime.InferenceSession(str(original)), onnxruntime.InferenceSession(str(target))
    feed = {before.get_inputs()[0].name: digits_input(3, before.get_inputs()[0].shape)}
    (expected,) = before.run(None, feed)
    outputs = dict(zip([value.name for value in after.get_outputs()], after.run(None, feed), strict=True))
    np.testing.assert_allclose(outputs[before.get_outputs()[0].name], expected, rtol=1e-5, atol=1e-5)
    logits = outputs["gapmil_logits"]
    assert outputs["gapmil_grid"].shape == (3, 10, 12, 12)
    assert np.abs(outputs["gapmil_grid"].mean((2, 3)) - logits).max() <= 2e-5 * np.abs(logits).max()
    if name == "digits_keras":
        exp = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(expected, exp / exp.sum(1, keepdims=True), atol=1e-6)


def test_rewrite_writes_beside_the_model_by_default_and_passes_the_full_checker(model: Path) -> None:
    assert run("rewrite", model) == 0
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    onnx.checker.check_model(str(target), full_check=True)
    assert target.stat().st_size < 1.01 * model.stat().st_size


def test_rewriting_a_rewritten_model_says_so_and_does_nothing(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("rewrite", model)
    capsys.readouterr()
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    before = (files(model.parent), target.read_bytes())
    assert run("rewrite", target) == 0
    assert "already" in capsys.readouterr().out
    assert (files(model.parent), target.read_bytes()) == before


def test_rewrite_emits_what_it_is_told_and_lists_it(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rewrite", model, "--emit", "topk:3,argmax", "--emit", "scores:max,lse=10") == 0
    printed = capsys.readouterr().out
    for line in (
        r"gapmil_logits +\(batch, 10\) +scores before softmax",
        r"gapmil_argmax +\(batch, 12, 12\) +best class of each cell",
        r"gapmil_topk_classes +\(batch, 3\) +the image's best classes",
        r"gapmil_topk_grid +\(batch, 3, 12, 12\) +their prediction grid",
        r"gapmil_scores_max +\(batch, 10\) +scores of each class by max",
        r"gapmil_scores_lse=10 +\(batch, 10\) +scores of each class by lse=10",
        r"5 reductions equal NumPy's of the whole grid to \d",
    ):
        assert re.search(line, " ".join(printed.split())), line
    assert "gapmil_grid" not in printed
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    assert run("verify", model, target) == 0
    assert "Proved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("emit", "said"),
    [
        ("topk:11", "topk:11 was asked for, and the head of 'logits' has 10 classes"),
        ("classes:10", "class 10 was asked for, and the head of 'logits' has 10 classes"),
        ("everything", "'everything' is nothing that can be emitted"),
        ("scores:average", "there is no aggregator 'average'"),
    ],
)
def test_rewrite_says_what_cannot_be_emitted(
    emit: str, said: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(model.parent)
    assert run("rewrite", model, "--emit", emit) == 2
    assert said in capsys.readouterr().err
    assert files(model.parent) == before


def test_rewriting_a_rewritten_model_with_another_emission_asks_for_the_original(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("rewrite", model)
    target = model.with_name("digits_torch_legacy.gapmil.onnx")
    assert run("rewrite", target, "--emit", "features,grid") == 0
    capsys.readouterr()
    assert run("rewrite", target, "--emit", "topk:5") == 2
    assert "for topk:5 rewrite the original" in capsys.readouterr().err


def test_a_refused_head_exits_3_with_the_reason_as_json_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SAMPLES / f"{REFUSED}.onnx", tmp_path / "vit.onnx")
    code, report = run_json(capsys, "rewrite", tmp_path / "vit.onnx")
    assert code == 3
    assert report["schema_version"] == 1
    assert report["model"] == str(tmp_path / "vit.onnx")
    assert {"code", "node", "message", "advice"} <= set(report["refusal"])
    assert report["refusal"]["code"] == "class-token"
    assert files(tmp_path) == {"vit.onnx"}


def test_the_instance_readout_of_a_conditional_head_is_the_head_on_each_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.onnx"
    code, report = run_json(
        capsys, "rewrite", SAMPLES / "digits_torch_dynamo.onnx", "-o", target, "--readout", "instance"
    )
    assert code == 0
    assert report["heads"][0]["residual"] > 1e-3  # a nonlinear head of the mean is not the mean of the head
    session = onnxruntime.InferenceSession(str(target))
    feed = {session.get_inputs()[0].name: digits_input(1, session.get_inputs()[0].shape)}
    features, grid = session.run(["gapmil_features", "gapmil_grid"], feed)
    proto = onnx.load(str(SAMPLES / "digits_torch_dynamo.onnx"))
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in proto.graph.initializer}
    first, second = [node for node in proto.graph.node if node.op_type == "Gemm"]
    cell = features[0, :, 4, 7].astype(np.float64)
    hidden = weights[first.input[1]] @ cell + weights[first.input[2]]
    hidden = hidden * np.clip(hidden / 6 + 0.5, 0, 1)
    expected = weights[second.input[1]] @ hidden + weights[second.input[2]]
    np.testing.assert_allclose(grid[0, :, 4, 7], expected, rtol=1e-4, atol=1e-4)


def test_rewrite_does_not_overwrite_the_original(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = model.read_bytes()
    assert run("rewrite", model, "-o", model) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert model.read_bytes() == before


# --- verify -----------------------------------------------------------------------------------------------------


def test_verify_proves_a_rewritten_model_on_random_inputs_and_photos(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("rewrite", model)
    capsys.readouterr()
    rewritten = model.with_name("digits_torch_legacy.gapmil.onnx")
    code, report = run_json(capsys, "verify", model, rewritten, SCENES / "scene_00.png", SCENES / "scene_01.png")
    assert code == 0
    assert report["passed"] is True
    assert sum("scene_0" in trial["inputs"] for trial in report["trials"]) == 2
    assert all(residual < 2e-5 for residual in report["residuals"].values())


def test_verify_fails_with_exit_1_where_the_grid_was_tampered_with(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("rewrite", model)
    capsys.readouterr()
    rewritten = model.with_name("digits_torch_legacy.gapmil.onnx")
    proto = onnx.load(str(rewritten))
    conv = next(node for node in reversed(proto.graph.node) if node.op_type == "Conv")
    del conv.input[2]  # the bias
    onnx.save(proto, str(rewritten))
    assert run("verify", model, rewritten) == 1
    assert "mean over cells differs" in capsys.readouterr().out


def test_verify_says_what_to_do_with_a_model_that_was_not_rewritten(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", model, model) == 2
    assert "onnx-gapmil rewrite" in capsys.readouterr().err


# --- predict ----------------------------------------------------------------------------------------------------


def test_predict_finds_the_digits_of_a_scene_in_their_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = json.loads((SCENES / "scenes.json").read_text())
    model = SAMPLES / "digits_torch_legacy.onnx"
    code, report = run_json(capsys, "predict", model, SCENES, "-o", tmp_path / "out", "--save", "npz")
    assert code == 0
    assert len(report["images"]) == len(truth)
    found = total = 0
    for image in report["images"]:
        arrays = np.load(image["npz"])
        np.testing.assert_allclose(arrays["grid"].mean((1, 2)), arrays["logits"], atol=1e-4)
        (objects,) = [entry["objects"] for entry in truth if entry["image"] == Path(image["image"]).name]
        for thing in objects:
            x0, y0, x1, y1 = thing["box"]
            cells = arrays["cells"]
            centre_x, centre_y = (cells[..., 0] + cells[..., 2]) / 2, (cells[..., 1] + cells[..., 3]) / 2
            inside = (centre_x > x0) & (centre_x < x1) & (centre_y > y0) & (centre_y < y1)
            total += 1
            found += bool((arrays["grid"].argmax(0)[inside] == thing["class"]).any())
    assert found >= 0.9 * total


def test_predict_writes_one_picture_for_each_photo_and_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("predict", SAMPLES / "digits_keras.onnx", SCENES / "scene_0[01].png", "-o", out) == 0
    assert files(out) == {"scene_00.png", "scene_01.png", "predictions.json"}
    with Image.open(out / "scene_00.png") as picture:
        assert picture.width == 1680
    streams = capsys.readouterr()
    assert "preprocessing" in streams.err
    assert "whole image" in streams.out


def test_predict_takes_a_rewritten_model_as_it_is(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("rewrite", model)
    capsys.readouterr()
    rewritten = model.with_name("digits_torch_legacy.gapmil.onnx")
    _, first = run_json(capsys, "predict", model, SCENES / "scene_00.png", "-o", tmp_path / "a", "--no-pictures")
    _, second = run_json(capsys, "predict", rewritten, SCENES / "scene_00.png", "-o", tmp_path / "b", "--no-pictures")
    assert first["rewritten_in_memory"] is True
    assert second["rewritten_in_memory"] is False
    assert first["images"][0]["heads"] == second["images"][0]["heads"]


def test_photos_of_one_name_from_two_folders_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(SCENES / "scene_00.png", tmp_path / name / "photo.png")
    model = SAMPLES / "digits_torch_legacy.onnx"
    assert run("predict", model, tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == {"photo.png", "photo_2.png", "predictions.json"}


def test_an_unreadable_photo_alone_exits_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes((SCENES / "scene_00.png").read_bytes()[:900])
    assert run("predict", SAMPLES / "digits_torch_legacy.onnx", bad, "-o", tmp_path / "out") == 2
    assert str(bad) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unreadable_photo_among_others_is_named_and_the_others_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SCENES / "scene_00.png", tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    code, report = run_json(
        capsys, "predict", SAMPLES / "digits_torch_legacy.onnx", tmp_path / "*.png", "-o", tmp_path / "out"
    )
    assert code == 2
    assert [Path(entry["image"]).name for entry in report["images"]] == ["good.png"]
    assert [Path(entry["image"]).name for entry in report["failed"]] == ["bad.png"]


def test_predict_refuses_a_model_without_a_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict", SAMPLES / f"{REFUSED}.onnx", SCENES / "scene_00.png", "-o", tmp_path / "out") == 3
    assert "class-token" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- what goes wrong --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--labels", "no_such.txt"], "no_such.txt"),
        (["--preprocess", "no_such_preset"], "no_such_preset"),
        (["--provider", "no_such_provider"], "no_such_provider"),
    ],
)
def test_wrong_labels_preprocessing_or_provider_exits_2_and_writes_nothing(
    options: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = SAMPLES / "digits_torch_legacy.onnx"
    assert run("predict", model, SCENES / "scene_00.png", "-o", tmp_path / "out", *options) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_cuda_asked_for_by_name_and_not_there_is_an_error_that_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx_gapmil.ort import providers

    if providers.cuda_status().problem is None:
        pytest.skip("CUDA works here")
    model = SAMPLES / "digits_torch_legacy.onnx"
    assert run("predict", model, SCENES / "scene_00.png", "-o", tmp_path / "out", "--provider", "cuda") == 2
    assert "cuda" in capsys.readouterr().err.lower()
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_the_photos_that_were_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnx_gapmil.prediction.classifier import Classifier

    real = Classifier.stream

    def interrupted(self, images, **options):
        for place, found in enumerate(real(self, images, **options)):
            if place == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Classifier, "stream", interrupted)
    out = tmp_path / "out"
    assert run("predict", SAMPLES / "digits_torch_legacy.onnx", SCENES, "-o", out) == 130
    report = json.loads((out / "predictions.json").read_text())
    assert report["interrupted"] is True
    assert files(out) == {"scene_00.png", "scene_01.png", "predictions.json"}
    assert len(report["images"]) == 2
