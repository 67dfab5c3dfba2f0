"""A predict that was stopped goes on where it was, with what still holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.prediction.predicting import PredictionRun
from onnx_gapmil.rewriting.emission.emit import Emit
from tests.helpers.held import held_at, wait_until
from tests.helpers.verbs import SAMPLES, SCENES

MODEL = SAMPLES / "digits_torch_legacy.onnx"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for scene in sorted(SCENES.glob("scene_*.png")):
        shutil.copy(scene, folder)
    return folder


def run(photos: Path, output: Path, *, stop: int | None = None, **settings: object) -> PredictionRun:
    """A run that is left after some photos, or not at all."""
    made = PredictionRun(
        MODEL, [str(photos)], output, batch=2, pictures=False, arrays=Emit.parse("grid"), **{"resume": True, **settings}
    )  # type: ignore[arg-type]
    with closing(made):
        answers = iter(made)
        for count, _ in enumerate(answers, 1):
            if count == stop:
                answers.close()  # type: ignore[attr-defined]
                break
        else:
            made.save()
    return made


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.iterdir() if path.is_file())
    return {path.name: path.read_bytes().replace(str(folder).encode(), b"out") for path in files}


def test_a_run_that_was_stopped_goes_on_and_equals_an_unbroken_one(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "broken", stop=3)
    assert (tmp_path / "broken" / ".predict").is_dir()
    again = run(photos, tmp_path / "broken")
    assert 2 <= again.done < len(again.paths)
    assert again.done % 2 == 0
    assert run(photos, tmp_path / "whole").done == 0
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert not (tmp_path / "broken" / ".predict").exists()


def test_a_photo_that_changed_is_answered_again(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "broken", stop=4)
    (photos / "scene_00.png").write_bytes((photos / "scene_05.png").read_bytes())
    assert run(photos, tmp_path / "broken").done >= 2
    run(photos, tmp_path / "whole")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_a_result_that_was_removed_is_made_again(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "broken", stop=4)
    (tmp_path / "broken" / "scene_01.npz").unlink()
    run(photos, tmp_path / "broken")
    run(photos, tmp_path / "whole")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_another_choice_begins_anew_and_says_so(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "broken", stop=4)
    again = run(photos, tmp_path / "broken", top=2)
    assert again.done == 0
    assert again.note == "An unfinished run here is not gone on with: there is another choice of results."
    run(photos, tmp_path / "whole", top=2)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


@pytest.mark.parametrize("damage", [b"", b"garbage\n", b"null\n", b"00000000 [1]\n"])
def test_damaged_lines_are_answered_again(damage: bytes, photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "broken", stop=6)
    journal = tmp_path / "broken" / ".predict" / "images.jsonl"
    first, second, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(second + damage + first[:-9] + first[-4:] + b"".join(rest)[:-5])
    run(photos, tmp_path / "broken")
    run(photos, tmp_path / "whole")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_two_runs_do_not_write_into_one_folder(photos: Path, tmp_path: Path) -> None:
    first = PredictionRun(MODEL, [str(photos)], tmp_path / "out", resume=True)
    with closing(first), pytest.raises(InputError, match="another run is writing into this folder"):
        PredictionRun(MODEL, [str(photos)], tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals as POSIX has them")
def test_a_run_that_was_killed_goes_on(photos: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(MODEL), str(photos), "--batch", "1", "--no-pictures", "--save", "npz", "-o"]
    command = held_at("scene_05", *arguments, tmp_path / "killed")
    journal = tmp_path / "killed" / ".predict" / "images.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 3, process)
        process.kill()
    again = [sys.executable, "-m", "onnx_gapmil", *arguments]
    done = subprocess.run([*again, str(tmp_path / "killed")], capture_output=True, text=True, check=True)
    assert "photos were done by an earlier run" in done.stderr
    subprocess.run([*again, str(tmp_path / "whole")], capture_output=True, check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(json.loads((tmp_path / "killed" / "predictions.json").read_text())["images"]) == 8


def test_a_run_that_began_anew_is_held_and_can_be_gone_on_with_too(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", stop=3)
    anew = run(photos, tmp_path / "out", stop=1, resume=False)
    assert anew.done == 0
    assert 0 < run(photos, tmp_path / "out").done < len(anew.paths)
    run(photos, tmp_path / "out", stop=3)
    run(photos, tmp_path / "out", resume=False)
    assert not (tmp_path / "out" / ".predict").exists()
    with locked_folder(tmp_path / "out", "another run"), pytest.raises(InputError, match="another run is writing"):
        run(photos, tmp_path / "out", resume=False)
