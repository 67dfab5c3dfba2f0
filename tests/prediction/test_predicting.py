"""`PredictionRun`: the same answers with and without a folder, and what is left of a run that stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil import Emit
from onnx_gapmil.errors import ImageError, InputError
from onnx_gapmil.prediction.predicting import PredictionRun
from tests.helpers.scene_data import MODEL, SCENES


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos, the third of them damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in range(4):
        shutil.copy(SCENES / f"scene_0{place}.png", folder / f"{place}.png")
    (folder / "2.png").write_bytes(b"no image")
    return folder


def test_without_a_folder_nothing_is_written(photos: Path) -> None:
    run = PredictionRun(MODEL, [str(photos)], None, pictures=False)
    before = {path.name for path in photos.parent.rglob("*")}
    found = run.all()
    assert {path.name for path in photos.parent.rglob("*")} == before
    assert (run.results, found.report) == (None, None)
    assert [Path(str(image.image)).name for image in found] == ["0.png", "1.png", "3.png"]
    ((failed),) = found.failed
    assert (failed.image.name, type(failed.error)) == ("2.png", ImageError)
    with pytest.raises(ValueError, match="nothing is written"):
        _ = run.report
    run.close()


def test_the_folder_holds_what_the_answers_say(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = PredictionRun(MODEL, [str(photos)], out, pictures=False, arrays=Emit.parse("grid"))
    found = run.all()
    run.close()
    alone = PredictionRun(MODEL, [str(photos)], None, pictures=False).all()
    assert found.report == out / "predictions.json"
    written = json.loads((out / "predictions.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(found.to_json()))
    for image, same in zip(found, alone, strict=True):
        assert image.heads[0].to_json() == same.heads[0].to_json()
        assert image.npz is not None
        with np.load(image.npz) as arrays:
            np.testing.assert_array_equal(arrays["logits"], image.logits)


def test_a_run_that_is_left_early_has_reported_what_was_done(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = PredictionRun(MODEL, [str(photos)], out, batch=1, pictures=False, arrays=Emit.parse("grid"))
    answers = iter(run)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    run.close()
    report = json.loads((out / "predictions.json").read_text("utf-8"))
    assert report["interrupted"] is True
    assert report["images"]
    assert {Path(entry["npz"]).name for entry in report["images"]} == {path.name for path in out.glob("*.npz")}


def test_what_will_not_do_is_told_before_a_model_is_read(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        PredictionRun(tmp_path / "no_model.onnx", [str(tmp_path / "nowhere")], None)
    with pytest.raises(InputError, match="is a file; name a folder"):
        PredictionRun(tmp_path / "no_model.onnx", [str(photos)], photos / "0.png")


def test_a_table_of_the_run_has_a_row_for_each_photo(photos: Path) -> None:
    found = PredictionRun(MODEL, [str(photos)], None, pictures=False).all()
    rows = found.table().to_pylist()
    assert [row["index"] for row in rows] == [int(image.logits.argmax()) for image in found]
    assert [row["winner_cells"] for row in rows] == [
        np.bincount(image.grid.argmax(axis=0).ravel()).max() if image.grid is not None else None for image in found
    ]
