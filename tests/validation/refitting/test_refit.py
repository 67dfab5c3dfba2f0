"""``repool --fit``, from labelled images to a file: what is judged is what is written, or nothing is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from rich.console import Console

from onnx_gapmil import inspect
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.errors import DataError, InputError
from onnx_gapmil.fitting.pooling.wish import parse_fit
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.resolve import load_preprocess
from onnx_gapmil.validation.refitting import collecting
from onnx_gapmil.validation.refitting import refit as module
from onnx_gapmil.validation.refitting.refit import refit
from onnx_gapmil.validation.refitting.request import FitRequest
from onnx_gapmil.validation.refitting.text import fit_note
from tests.helpers.verbs import SAMPLES, run, run_json

if TYPE_CHECKING:
    from tests.validation.refitting.conftest import Scenes

MODEL = SAMPLES / "digits_torch_legacy.onnx"
PREPROCESS = SAMPLES / "digits_torch_legacy.preprocess.json"


def asked(data: Path, fit: str, output: Path | None, *, several: bool = True, **more: Any) -> FitRequest:
    levels = "0.5" if several else None
    request = Request(model=MODEL, data=data, preprocess=str(PREPROCESS), thresholds=levels)
    return FitRequest(data=request, wish=parse_fit(fit), output=output, **more)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def said_of(note: Any) -> str:
    screen = Console(width=400)
    with screen.capture() as capture:
        screen.print(note)
    return capture.get()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def answers(model: Path, images: list[Path]) -> np.ndarray:
    """(N, 10) of a file, by ONNX Runtime and the preprocessing alone."""
    preprocess = load_preprocess(PREPROCESS)
    batch = np.stack([preprocess.apply(read_image(path))[0] for path in images])
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


@pytest.mark.parametrize("fit", ["topk=0.05", "mix", "flex", "head:topk=0.05"])
def test_what_is_written_answers_as_was_judged(
    fit: str, scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
    real = module.judge

    def judge(given: dict[str, np.ndarray], likelihood: Any, rows: np.ndarray, *others: Any) -> Any:
        judged.append((given, rows))
        return real(given, likelihood, rows, *others)

    monkeypatch.setattr(module, "judge", judge)
    out = tmp_path / "m.onnx"
    found = refit(asked(scenes.several, fit, out, ridge=0.01))
    ((given, rows),) = judged
    assert (found.data.images, found.data.fitted, len(rows)) == (80, 40, 40)
    records = rows_of(scenes.several)
    images = [scenes.folder / records[row]["image"] for row in rows]
    np.testing.assert_allclose(answers(MODEL, images), given["vendor"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answers(out, images), given["fitted"], rtol=1e-4, atol=1e-4)
    truth = np.zeros((40, 10), dtype=bool)
    for place, row in enumerate(rows):
        truth[place, records[row]["labels"]] = True
    right = ((answers(out, images) > 0) == truth).all(axis=1)
    assert found.held_out.figures["fitted"].accuracy == right.mean()
    assert inspect(out).repooled[0].aggregator == found.pool


def test_of_several_labels_the_best_cells_beat_the_mean(scenes: Scenes, tmp_path: Path) -> None:
    found = refit(asked(scenes.several, "topk=0.05", tmp_path / "m.onnx", require_better=True))
    assert found.held_out.difference("log_likelihood").interval[0] > 0
    figures = found.held_out.figures
    assert figures["fitted"].log_likelihood > figures["calibrated"].log_likelihood > figures["vendor"].log_likelihood
    assert found.held_out.main == "mean_average_precision"
    assert (found.fit, found.under) == ("topk=0.05", "mean")


def test_no_fit_or_tuning_sees_the_held_out_half(scenes: Scenes, tmp_path: Path) -> None:
    """Other labels and other pixels there change no number of the pool."""
    first = refit(asked(scenes.several, "mix", tmp_path / "a.onnx"))
    seen = _fitted_rows(scenes)
    rows = rows_of(scenes.several)
    labels = [row["labels"] for place, row in enumerate(rows) if place not in seen]
    rolled = labels[1:] + labels[:1]
    turned = [row if place in seen else row | {"labels": rolled.pop()} for place, row in enumerate(rows)]
    # The strata are the first labels: dealt by hand, so that the halves stay what they are.
    with pytest.MonkeyPatch.context() as patch:
        parts = np.array([0 if place in seen else 1 for place in range(len(rows))])
        patch.setattr("onnx_gapmil.validation.refitting.images.deal", lambda *_: parts)
        path = write_rows(scenes.folder / "turned.jsonl", turned)
        second = refit(asked(path, "mix", tmp_path / "b.onnx", force=True))
    assert second.pool.digest == first.pool.digest
    assert second.held_out.figures != first.held_out.figures


def _fitted_rows(scenes: Scenes) -> set[int]:
    found: list[Any] = []
    real = module.fit_images

    def kept(*arguments: Any) -> Any:
        found.append(real(*arguments))
        raise DataError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit_images", kept)
        with pytest.raises(DataError, match="enough"):
            refit(asked(scenes.several, "mix", scenes.folder / "unwritten.onnx"))
    return set(np.flatnonzero(~found[0].held_out).tolist())


def test_folds_answer_each_image_by_a_fit_to_the_others(scenes: Scenes, tmp_path: Path) -> None:
    found = refit(asked(scenes.one, "mix", tmp_path / "m.onnx", several=False, folds=4, ridge=1.0))
    assert found.folds is not None
    assert (found.folds.images, found.folds.main) == (80, "accuracy")
    rows = rows_of(scenes.one)
    logits = answers(MODEL, [scenes.folder / row["image"] for row in rows])
    hits = logits.argmax(axis=1) == [row["label"] for row in rows]
    assert found.folds.figures["vendor"].accuracy == pytest.approx(hits.mean())


def test_a_retrained_head_says_what_it_does_to_classes_that_it_has_not_seen(scenes: Scenes, tmp_path: Path) -> None:
    found = refit(asked(scenes.one, "head", tmp_path / "m.onnx", several=False, ridge=0.001, force=True))
    assert found.unseen is not None
    assert found.unseen.images == 40
    # A class whose images are left out loses to those that are there.
    assert found.unseen.fitted < found.unseen.vendor
    assert found.to_json()["unseen_classes"]["images"] == 40


def test_groups_stay_in_one_half(scenes: Scenes, tmp_path: Path) -> None:
    request = asked(scenes.one, "mix", tmp_path / "m.onnx", several=False, group="camera", ridge=1.0)
    found = refit(request)
    assert (found.data.groups, found.data.group_column) == (30, "camera")
    assert found.held_out.groups == found.to_json()["held_out"]["groups"] == 15
    said = said_of(fit_note(found))
    assert "The intervals draw the 15 groups of column 'camera', and not the images." in said
    with pytest.raises(DataError, match=r"no image has a column 'lens'.*columns are: camera"):
        refit(replace(request, group="lens"))


def test_the_same_picture_under_two_names_is_one_group(scenes: Scenes, tmp_path: Path) -> None:
    rows = rows_of(scenes.one)[:40]
    for place, row in enumerate(rows[:15]):
        copy = tmp_path / f"copy{place}.png"
        copy.write_bytes((scenes.folder / row["image"]).read_bytes())
        row["image"] = copy.name
    for row in rows[15:]:
        (tmp_path / row["image"]).write_bytes((scenes.folder / row["image"]).read_bytes())
    again = [row | {"image": f"again{place}.png"} for place, row in enumerate(rows[:15])]
    for place, row in enumerate(again):
        (tmp_path / row["image"]).write_bytes((tmp_path / f"copy{place}.png").read_bytes())
    path = write_rows(tmp_path / "twice.jsonl", rows + again)
    out = tmp_path / "out"
    out.mkdir()
    found = refit(asked(path, "mix", out / "m.onnx", several=False, ridge=1.0, force=True))
    assert (found.data.images, found.data.groups) == (55, 40)


def test_what_exceeds_memory_lies_in_a_file_and_gives_the_same(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    in_memory = refit(asked(scenes.several, "flex", tmp_path / "a.onnx", ridge=0.1, force=True))
    on_disk = refit(asked(scenes.several, "flex", tmp_path / "b.onnx", ridge=0.1, force=True, budget=0))
    assert on_disk.pool.digest == in_memory.pool.digest
    assert list(scratch.iterdir()) == []


# --- written or not -------------------------------------------------------------------------------------------------


def test_a_model_that_is_worse_is_not_written(
    scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The labels of the fitted half are turned, so that the fit learns what is not so."""
    seen = _fitted_rows(scenes)
    rows = rows_of(scenes.several)
    wrong = [
        row | {"labels": sorted(set(range(10)) - set(row["labels"]))} if place in seen else row
        for place, row in enumerate(rows)
    ]
    path = write_rows(scenes.folder / "wrong.jsonl", wrong)
    out = tmp_path / "m.onnx"
    with pytest.MonkeyPatch.context() as patch:
        parts = np.array([0 if place in seen else 1 for place in range(len(rows))])
        patch.setattr("onnx_gapmil.validation.refitting.images.deal", lambda *_: parts)
        arguments = ["repool", MODEL, "--fit", "head", "--ridge", "0.001", "--data", path, "--thresholds", "0.5"]
        arguments += ["--preprocess", PREPROCESS, "-o", out]
        code, document = run_json(capsys, *arguments)
        assert code == 1
        assert document["output_path"] is None
        assert "lies below 0" in document["reason"]
        assert list(tmp_path.iterdir()) == []
        assert run(*arguments) == 1
        assert "Not written: the 95 % interval of the mean average precision" in capsys.readouterr().out
        assert run(*arguments, "--force", "--quiet") == 0
    assert out.is_file()


def test_require_better_wants_more_than_no_worse(scenes: Scenes, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    found = refit(asked(scenes.one, "mean", out, several=False, require_better=True))
    assert "does not lie above 0, which --require-better asks for" in found.reason
    assert list(tmp_path.iterdir()) == []
    assert refit(asked(scenes.one, "mean", out, several=False)).written
    assert out.is_file()


def test_the_document(scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    code, found = run_json(
        capsys, "repool", MODEL, "--fit", "--data", scenes.several, "--thresholds", "0.5", "--ridge", "1", "-o", out
    )
    assert code == 0
    assert list(found) == [
        "schema_version", "model", "output_path", "fit", "under", "reason", "ridge", "costs", "converged", "data",
        "held_out", "folds", "unseen_classes", "pool", "repool",
    ]  # fmt: skip
    assert (found["fit"], found["output_path"], found["ridge"]) == ("mix", str(out), 1.0)
    assert found["repool"]["proof"]["passed"] is True
    assert found["pool"]["aggregators"][0] == "mean"
    assert len(found["pool"]["scale"]) == len(found["pool"]["aggregators"])
    assert {entry["figure"] for entry in found["held_out"]["differences"]} == {
        "accuracy", "log_likelihood", "mean_average_precision",
    }  # fmt: skip


# --- what cannot be fitted ------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    """The one sentence of a fit that is refused; nothing is written."""
    before = sorted(out.parent.iterdir())
    assert run("repool", MODEL, "--fit", *arguments, "-o", out, "--quiet") == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert len(streams.err.strip().splitlines()) == 1
    assert sorted(out.parent.iterdir()) == before
    return streams.err


def test_bad_data_is_one_sentence(scenes: Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    rows, several = rows_of(scenes.one), rows_of(scenes.several)
    path = scenes.folder / "bad.jsonl"
    write_rows(path, rows[:3])
    assert "3 images can be used, and a fit needs at least 20" in refused(capsys, out, "mix", "--data", path)
    write_rows(path, [row | {"label": 7} for row in rows])
    assert "are all of one class" in refused(capsys, out, "mix", "--data", path)
    write_rows(path, [row | {"labels": list(range(10))} for row in several])
    said = refused(capsys, out, "mix", "--data", path, "--thresholds", "0.5")
    assert "every class labels all images or none" in said
    write_rows(path, [row | {"camera": "one"} for row in rows])
    assert "80 images in 1 group can be used" in refused(capsys, out, "mix", "--data", path, "--group", "camera")
    assert "needs --data" in _usage(capsys, "--fit", "mix")
    assert "either --with AGGREGATOR or --fit" in _usage(capsys)
    assert "--ridge is for --fit" in _usage(capsys, "--with", "max", "--ridge", "1")
    assert "there is no fit 'nonsense'" in refused(capsys, out, "nonsense", "--data", scenes.one)
    assert "a head is fitted under mean, max" in refused(capsys, out, "head:median", "--data", scenes.one)


def _usage(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run("repool", MODEL, *arguments) == 2
    return capsys.readouterr().err


def test_many_weights_by_few_images_are_refused(scenes: Scenes, tmp_path: Path) -> None:
    for fit in ("flex:channel", "flex:softmax"):
        with pytest.raises(InputError, match=r"fits 9,216 weights, and 40 images.*--force"):
            refit(asked(scenes.one, fit, tmp_path / "m.onnx", several=False))
    with pytest.raises(InputError, match="fits 144 weights"):
        refit(asked(scenes.one, "flex", tmp_path / "m.onnx", several=False, ridge=0.0))
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_the_model_gives_no_number_for_is_named(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = collecting.iterate_batches

    def torn(*arguments: Any, **named: Any) -> Any:
        for place, answered in enumerate(real(*arguments, **named)):
            if place == 2:
                answered.grids[0].grid[1] = np.nan
            yield answered

    monkeypatch.setattr(collecting, "iterate_batches", torn)
    with pytest.raises(DataError, match=r"s017\.png: the model gives what is no number"):
        refit(asked(scenes.one, "topk", tmp_path / "m.onnx", several=False))
    assert list(tmp_path.iterdir()) == []


def test_images_that_cannot_be_read_are_kept_out_and_said(scenes: Scenes, tmp_path: Path) -> None:
    (scenes.folder / "torn.png").write_bytes(b"\x89PNG")
    path = write_rows(scenes.folder / "torn.jsonl", [*rows_of(scenes.one), {"image": "torn.png", "label": 1}])
    found = refit(asked(path, "topk", tmp_path / "m.onnx", several=False, ridge=1.0, force=True))
    assert found.data.images == 80
    assert len(found.data.unreadable) == 1
    assert "torn.png" in found.data.unreadable[0]


def test_without_scipy_the_extra_is_named_before_any_image_is_run(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    ran: list[int] = []
    with pytest.raises(InputError, match=r"pip install 'onnx-gapmil\[fit\]'"):
        refit(asked(scenes.one, "mix", tmp_path / "m.onnx", several=False), progress=ran.append)
    assert not ran


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a signal is another thing there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_fit_that_is_ended_leaves_nothing(name: str, scenes: Scenes, tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    command = [sys.executable, "-m", "onnx_gapmil", "repool", MODEL, "--fit", "flex", "--folds", "20"]
    command += ["--data", scenes.several, "--thresholds", "0.5", "--preprocess", PREPROCESS, "-o", out / "m.onnx"]
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith("Fold 1") for line in process.stderr)
        process.send_signal(signal.Signals[name])
        process.stderr.read()
        code = process.wait(60)
    assert code == {"SIGINT": 130, "SIGKILL": -9}[name]
    _until(lambda: not list(out.iterdir()) and not list(scratch.glob("gapmil*")))


def _until(holds: Any) -> None:
    """What the system does with a killed parent's child takes a moment."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
