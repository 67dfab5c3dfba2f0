"""Where results lie: as the photos did; and what else lies there is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePath

import numpy as np
import pytest

from onnx_gapmil.errors import InputError
from onnx_gapmil.prediction.naming import older_results, require_places, result_stems
from tests.helpers.verbs import SAMPLES, SCENES, run, run_json

MODEL = SAMPLES / "digits_torch_legacy.onnx"


def stems(*names: str) -> list[str]:
    return result_stems([PurePath(name) for name in names])


def test_subfolders_are_mirrored_and_one_name_in_one_folder_gets_numbers() -> None:
    assert stems("a/x.png", "b/x.png", "x.png", "a/x.jpg") == ["a/x", "b/x", "x", "a/x_2"]
    assert stems("a/x.png", "a/x_2.png", "a/x.jpg") == ["a/x", "a/x_2", "a/x_2_2"]


def test_nothing_leaves_the_folder() -> None:
    assert stems("../x.png", "a/../../y.png") == ["x", "y"]


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """Two photos of one name in two subfolders, one deeper, one beside them."""
    folder = tmp_path / "photos"
    for place, name in enumerate(("day/cam1/shot.png", "night/shot.png", "night/cam1/shot.png", "shot.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SCENES / f"scene_0{place}.png", folder / name)
    return folder


def made(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_results_lie_as_the_photos_did(nested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, report = run_json(capsys, "predict", MODEL, nested, "-o", out, "--save", "npz")
    assert code == 0
    stems = ("day/cam1/shot", "night/shot", "night/cam1/shot", "shot")
    assert made(out) == {f"{stem}{end}" for stem in stems for end in (".png", ".npz")} | {"predictions.json"}
    for entry in report["images"]:
        inside = Path(entry["image"]).relative_to(nested).with_suffix("")
        assert Path(entry["npz"]) == out / f"{inside}.npz"
        assert Path(entry["picture"]) == out / f"{inside}.png"
        with np.load(entry["npz"]) as arrays:
            assert int(arrays["logits"].argmax()) == entry["heads"][0]["top"][0]["index"]
    assert report["older_results"] == []


def test_a_glob_mirrors_from_where_it_starts(nested: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("predict", MODEL, nested / "n*" / "**" / "*.png", "-o", out, "--no-pictures", "--save", "npz") == 0
    assert made(out) == {"night/shot.npz", "night/cam1/shot.npz", "predictions.json"}


def test_results_inside_the_photos_are_not_taken_for_photos(nested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        code, report = run_json(capsys, "predict", MODEL, nested, "-o", nested / "seen")
        assert (code, len(report["images"])) == (0, 4)
    assert not (nested / "seen" / "seen").exists()


def test_what_an_earlier_run_left_is_named(nested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("predict", MODEL, nested, "-o", out) == 0
    (out / "own").mkdir()
    (out / "own" / "notes.txt").write_text("mine")
    capsys.readouterr()
    assert run("predict", MODEL, nested / "night", "-o", out, "--no-pictures", "--save", "npz") == 0
    said = capsys.readouterr().err
    older = ["day/cam1/shot.png", "night/cam1/shot.png", "night/shot.png", "shot.png"]
    # Of night/ the photos' own names are cam1/shot and shot.
    assert json.loads((out / "predictions.json").read_text())["older_results"] == older
    assert f"Note: 4 files are in {out}/ not of this run: " in said
    assert made(out) >= {*older, "cam1/shot.npz", "shot.npz", "own/notes.txt"}


def test_the_picture_of_a_photo_that_fails_now_is_an_earlier_one(
    nested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("predict", MODEL, nested, "-o", out) == 0
    (nested / "night" / "shot.png").write_bytes(b"no image any more")
    assert run("predict", MODEL, nested, "-o", out) == 2
    assert json.loads((out / "predictions.json").read_text())["older_results"] == ["night/shot.png"]


def test_photos_and_pictures_of_several_heads_are_no_leftovers(tmp_path: Path) -> None:
    for name in ("a.png", "a.aux_1.png", "photo.png", "b.png", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    found = older_results(tmp_path, ["a", "b"], [".png"], [tmp_path / "photo.png"])
    assert found == ["b.npz"]


def test_places_that_will_not_do_are_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("mine")
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    require_places(tmp_path / "out", ["new/x", "x"], [".png"])
    with pytest.raises(InputError, match="is a file, where a folder of results belongs"):
        require_places(tmp_path / "out", ["file/x"], [".png"])
    with pytest.raises(InputError, match="is a link to"):
        require_places(tmp_path / "out", ["link/x"], [".png"])
