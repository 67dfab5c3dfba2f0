"""``predict`` as a user meets it: its results, its options, and what is left where things go wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from onnx_gapmil.cli import main
from tests.helpers.held import held_at, wait_until
from tests.helpers.support import text_model, weights
from tests.helpers.verbs import REFUSED, SAMPLES, SCENES, files, run, run_json

MODEL = SAMPLES / "digits_torch_legacy.onnx"


def predict(*arguments: object) -> int:
    return main(["predict", str(MODEL), *(str(argument) for argument in arguments)])


def report_of(folder: Path) -> dict:
    return json.loads((folder / "predictions.json").read_text())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty photos, the fifth and the last of them damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in range(30):
        shutil.copy(SCENES / f"scene_0{place % 8}.png", folder / f"{place:02}.png")
    for place in (4, 29):
        path = folder / f"{place:02}.png"
        path.write_bytes(path.read_bytes()[:700])
    return folder


@pytest.mark.parametrize("batch", ["auto", "1", "7", "64"])
def test_every_photo_gets_the_same_answer_at_any_batch(photos: Path, tmp_path: Path, batch: str) -> None:
    out = tmp_path / "out"
    assert predict(photos, "-o", out, "--no-pictures", "--save", "npz", "--batch", batch) == 2
    report = report_of(out)
    assert [Path(entry["image"]).stem for entry in report["images"]] == [
        f"{place:02}" for place in range(30) if place not in (4, 29)
    ]
    assert [Path(entry["image"]).stem for entry in report["failed"]] == ["04", "29"]
    by_scene = {}
    for entry in report["images"]:
        heads = by_scene.setdefault(int(Path(entry["image"]).stem) % 8, entry["heads"])
        assert entry["heads"] == heads
        with np.load(entry["npz"]) as arrays:
            best = int(arrays["logits"].argmax())
            assert heads[0]["top"][0]["index"] == best
            assert heads[0]["top"][0]["logit"] == pytest.approx(float(arrays["logits"][best]))
    assert len(by_scene) == 8


def test_with_many_photos_only_failures_are_told_and_the_speed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(photos, "-o", tmp_path / "out", "--no-pictures")
    streams = capsys.readouterr()
    errors = [line for line in streams.err.splitlines() if line.startswith("Error: ")]
    assert [name in line for name, line in zip(("04.png", "29.png"), errors, strict=True)] == [True, True]
    assert "30 photos in " in streams.err
    assert "photos/s" in streams.err
    assert streams.out == f"28 of 30 photos done; in {tmp_path / 'out'}/: predictions.json\n"


def test_stdout_and_the_file_are_the_same_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert predict(SCENES, "-o", out, "--no-pictures", "--json") == 0
    assert json.loads(capsys.readouterr().out) == report_of(out)


def test_all_unreadable_is_told_one_by_one_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        (folder / name).write_bytes(b"no image")
    assert predict(folder, "-o", tmp_path / "out", "--json") == 2
    streams = capsys.readouterr()
    report = json.loads(streams.out)
    assert (report["images"], len(report["failed"])) == ([], 2)
    assert sum(line.startswith("Error: ") for line in streams.err.splitlines()) == 2
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty", "-o", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_place_of_the_folder_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: bool
) -> None:
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / "out" if below else tmp_path / "file"
    assert predict(SCENES, "-o", target) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_permission_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tests may run as root, who may write anywhere: the system's answer is replaced."""
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    assert predict(SCENES, "-o", tmp_path / "out") == 2
    assert "no permission" in capsys.readouterr().err


def full_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The disk is full after some arrays were saved."""
    real, saved, lock = np.savez, [], threading.Lock()

    def savez(stream, **arrays):
        with lock:
            saved.append(stream)
            if len(saved) > count:
                stream.write(b"half a file")
                raise OSError(28, "No space left on device")
        real(stream, **arrays)

    monkeypatch.setattr(np, "savez", savez)


def test_a_full_disk_is_one_sentence_and_leaves_whole_files(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full_after(monkeypatch, 5)
    out = tmp_path / "out"
    assert predict(photos, "-o", out, "--no-pictures", "--save", "npz") == 2
    stages = ("decode", "infer", "write")  # the session's own threads end when it is forgotten
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(stages)]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Error: ")
    assert last.endswith("cannot be written: No space left on device.")
    report = report_of(out)
    assert report["interrupted"] is True
    assert len(report["images"]) == 5
    assert files(out) == {Path(entry["npz"]).name for entry in report["images"]} | {"predictions.json", ".predict"}
    for entry in report["images"]:
        with np.load(entry["npz"]) as arrays:
            assert set(arrays) == {"logits", "grid", "cells"}


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_leaves_whole_results_behind(tmp_path: Path) -> None:
    """Interrupted when its first results are there; most of its photos are then to come."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for place in range(40):
        shutil.copy(SCENES / "scene_00.png", folder / f"{place:03}.png")
    command = held_at("012", "predict", MODEL, folder, "-o", out, "--no-pictures", "--save", "npz", "--batch", "2")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any(out.glob("*.npz")), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "Interrupted."
    report = report_of(out)
    assert report["interrupted"] is True
    assert 0 < len(report["images"]) <= 12
    assert files(out) == {Path(entry["npz"]).name for entry in report["images"]} | {"predictions.json", ".predict"}
    for entry in report["images"]:
        with np.load(entry["npz"]) as arrays:
            assert arrays["grid"].shape == (10, 12, 12)


def test_photos_of_one_name_get_numbers_in_their_order_whatever_threads_do(tmp_path: Path) -> None:
    folders = []
    for place in range(6):
        folder = tmp_path / f"folder{place}"
        folder.mkdir()
        shutil.copy(SCENES / f"scene_0{place}.png", folder / "photo.png")
        folders.append(folder)
    out = tmp_path / "out"
    assert predict(*folders, "-o", out, "--no-pictures", "--save", "npz") == 0
    names = [(Path(entry["image"]).parent.name, Path(entry["npz"]).name) for entry in report_of(out)["images"]]
    expected = ["photo.npz", *(f"photo_{number}.npz" for number in range(2, 7))]
    assert names == [(f"folder{place}", name) for place, name in enumerate(expected)]


def test_pictures_are_of_their_own_photos(tmp_path: Path) -> None:
    """Drawn in several threads, each is the picture that is drawn alone."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    assert predict(*(SCENES / f"scene_0{place}.png" for place in range(4)), "-o", together) == 0
    for place in range(4):
        assert predict(SCENES / f"scene_0{place}.png", "-o", alone) == 0
        name = f"scene_0{place}.png"
        with Image.open(together / name) as first, Image.open(alone / name) as second:
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_emit_chooses_what_the_arrays_are(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--no-pictures", "--emit", "argmax,topk:2", "--emit", "classes:3,7,scores:max,lse=10"]
    assert predict(SCENES / "scene_00.png", "-o", out, *options) == 0
    whole = tmp_path / "whole"
    assert predict(SCENES / "scene_00.png", "-o", whole, "--no-pictures", "--save", "npz") == 0
    with np.load(out / "scene_00.npz") as found, np.load(whole / "scene_00.npz") as reference:
        grid = reference["grid"]
        assert set(found) == {
            *("logits", "cells", "argmax", "topk_classes", "topk_grid", "classes_grid"),
            *("scores_max", "scores_lse=10"),
        }
        np.testing.assert_array_equal(found["argmax"], grid.argmax(0))
        np.testing.assert_array_equal(found["topk_classes"], np.argsort(-reference["logits"])[:2])
        np.testing.assert_allclose(found["topk_grid"], grid[found["topk_classes"]], atol=1e-4)
        np.testing.assert_allclose(found["classes_grid"], grid[[3, 7]], atol=1e-4)
        np.testing.assert_allclose(found["scores_max"], grid.max((1, 2)), atol=1e-4)
    assert report_of(out)["images"][0]["heads"] == report_of(whole)["images"][0]["heads"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--emit", "gird"], "'gird' is nothing that can be emitted"),
        (["--emit", "topk:99"], "topk:99 was asked for"),
        (["--batch", "none"], "'none' is neither auto nor a number from 1 to 4096"),
        (["--batch", "9999"], "'9999' is neither auto nor a number"),
        (["--cuda-graph", "--provider", "cpu"], "CUDA graphs were asked for, and the model would run on cpu"),
    ],
)
def test_options_that_will_not_do_are_told_and_write_nothing(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(SCENES / "scene_00.png", "-o", tmp_path / "out", *options) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_file_rewritten_without_a_grid_serves_the_report_and_no_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "digits_torch_legacy.gapmil.onnx"
    for name in ("digits_torch_legacy.labels.txt", "digits_torch_legacy.preprocess.json"):
        shutil.copy(SAMPLES / name, tmp_path / name)
    assert main(["rewrite", str(MODEL), "-o", str(target), "--emit", "argmax,certainty,peaks,scores:max"]) == 0
    scene = SCENES / "scene_03.png"
    assert main(["predict", str(target), str(scene), "-o", str(tmp_path / "a"), "--no-pictures"]) == 0
    assert predict(scene, "-o", tmp_path / "b", "--no-pictures") == 0
    first, second = report_of(tmp_path / "a")["images"][0], report_of(tmp_path / "b")["images"][0]
    assert [box["box"] for box in first["heads"][0]["boxes"]] == [box["box"] for box in second["heads"][0]["boxes"]]
    assert [entry["cells"] for entry in first["heads"][0]["winners"]] == [
        entry["cells"] for entry in second["heads"][0]["winners"]
    ]
    capsys.readouterr()
    assert main(["predict", str(target), str(scene), "-o", str(tmp_path / "c")]) == 2
    assert "predict needs grid as well" in capsys.readouterr().err


def test_the_report_says_which_provider_ran_how_many_nodes(tmp_path: Path) -> None:
    predict(SCENES / "scene_00.png", "-o", tmp_path / "out", "--no-pictures")
    provider = report_of(tmp_path / "out")["provider"]
    assert (provider["requested"], provider["used"]) == ("auto", provider["used"])
    assert all(count > 0 for count in provider["nodes"].values())


# --- the results ---------------------------------------------------------------------------------------------------


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
    assert files(out) == {"scene_00.png", "scene_01.png", "predictions.json", ".predict"}
    assert len(report["images"]) == 2


# --- arrays ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def signals(tmp_path: Path) -> tuple[Path, Path]:
    """A model of signals (N, 2, 32), and a folder of three of them and of three files that will not do."""
    body = "c = Conv<strides=[4], kernel_shape=[4]>(x, w)  m = Relu(c)  p = GlobalAveragePool(m)  f = Flatten(p)"
    init = {"w": weights(4, 2, 4), "k": weights(5, 4), "b": weights(5)}
    model = text_model(body + "  y = Gemm<transB=1>(f, k, b)", x="float[N,2,32] x", init=init)
    path, folder = tmp_path / "signals.onnx", tmp_path / "signals"
    path.write_bytes(model.SerializeToString())
    folder.mkdir()
    for place in range(3):
        np.save(folder / f"{place}.npy", weights(2, 32, seed=place))
    np.save(folder / "3.npy", np.zeros((2, 32)))
    np.save(folder / "4.npy", np.zeros((2, 7), np.float32)[:, :3])
    (folder / "5.npz").write_bytes(b"junk")
    return path, folder


def test_arrays_give_grids_and_no_pictures(signals: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    model, folder = signals
    out = tmp_path / "out"
    assert main(["predict", str(model), str(folder), "-o", str(out)]) == 2
    told = capsys.readouterr()
    assert "preprocessing  none: arrays go into the model as they are" in told.err
    assert "none: arrays are no photos" in told.err
    assert "1×8 cells" in told.out
    assert "3 of 6 arrays done" in told.out
    assert "box" not in told.out
    assert sorted(path.name for path in out.iterdir()) == ["0.npz", "1.npz", "2.npz", "predictions.json"]
    report = report_of(out)
    assert (report["preprocess"], report["preprocess_source"][:12]) == (None, "none: arrays")
    assert [Path(entry["image"]).name for entry in report["failed"]] == ["3.npy", "4.npy", "5.npz"]
    assert "Make it one by .astype('float32')" in report["failed"][0]["error"]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for place, entry in enumerate(report["images"]):
        (logits,) = session.run(None, {"x": weights(2, 32, seed=place)[None]})
        with np.load(entry["npz"]) as arrays:
            assert set(arrays) == {"logits", "grid"}
            np.testing.assert_allclose(arrays["logits"], logits[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(arrays["grid"].mean(axis=(1, 2)), logits[0], rtol=1e-4, atol=1e-5)
        (head,) = entry["heads"]
        assert (entry["picture"], entry["size"], entry["inputs"]) == (None, None, {"x": [1, 2, 32]})
        assert (head["boxes"], head["grid_shape"], head["arranged"]) == ([], [1, 8], False)
        assert head["places"]["columns"] == {"first": 2.0, "step": 4.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preprocess", "imagenet"], "a preprocessing is for photos"),
        ([str(SCENES / "scene_00.png")], "run them one after the other"),
    ],
)
def test_arrays_take_no_preprocessing_and_no_photos_beside(
    signals: tuple[Path, Path], tmp_path: Path, capsys, arguments: list[str], words: str
) -> None:
    model, folder = signals
    assert main(["predict", str(model), str(folder / "0.npy"), *arguments, "-o", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_photo_for_a_model_of_signals_is_told(signals: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    assert main(["predict", str(signals[0]), str(SCENES / "scene_00.png"), "-o", str(tmp_path / "out")]) == 2
    assert "Photos cannot be given to it; an array (.npy) of that shape can" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
