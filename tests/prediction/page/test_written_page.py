"""``predict --page``: one file of all photos, whole or not at all, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from onnx_gapmil import InputError, predict
from onnx_gapmil.cli import main
from onnx_gapmil.prediction.page.written import MOST_PHOTOS, PageWish
from onnx_gapmil.prediction.predicting import PredictionRun
from tests.helpers.view_pages import DIGITS, SCENES


def data_of(path: Path) -> dict:
    text = path.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_command_line_writes_all_photos_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(DIGITS), *SCENES, "-o", str(out), "--page", "--no-pictures"]) == 0
    assert {path.name for path in out.iterdir()} == {"predictions.html", "predictions.json"}
    assert "predictions.html" in capsys.readouterr().out
    data = data_of(out / "predictions.html")
    assert [photo["name"] for photo in data["photos"]] == [Path(scene).name for scene in SCENES]
    assert data["live"] is None
    assert str(DIGITS.parent) not in (out / "predictions.html").read_text("utf-8")


def test_photos_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(SCENES[0], tmp_path / "in" / folder / "p.png")
    shutil.copy(SCENES[0], tmp_path / "in" / "q.png")
    for given in ([tmp_path / "in"], sorted((tmp_path / "in").rglob("*.png"))):
        predict(DIGITS, given, tmp_path / "out", page=True, pictures=False)
        text = (tmp_path / "out" / "predictions.html").read_text("utf-8")
        assert [photo["name"] for photo in data_of(tmp_path / "out" / "predictions.html")["photos"]] == [
            "a/p.png",
            "b/p.png",
            "q.png",
        ]
        assert str(tmp_path) not in text


def test_photos_in_shards_are_named_with_them_and_are_no_files(tmp_path: Path) -> None:
    for place, scene in enumerate(SCENES[:2]):
        with tarfile.open(tmp_path / f"s-{place}.tar", "w") as shard:
            shard.add(scene, "0.png")
    predict(DIGITS, [*sorted(tmp_path.glob("*.tar")), SCENES[0]], tmp_path / "out", page=True, pictures=False)
    photos = data_of(tmp_path / "out" / "predictions.html")["photos"]
    assert [photo["name"] for photo in photos] == ["s-0.tar#0.png", "s-1.tar#0.png", Path(SCENES[0]).name]
    assert [photo["within"] for photo in photos] == [True, True, False]


def test_a_page_of_an_earlier_run_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["predict", str(DIGITS), SCENES[0], "-o", str(tmp_path), "--no-pictures"]
    assert main([*arguments, "--page"]) == 0
    assert "not of this run" not in capsys.readouterr().err
    assert main([*arguments, "--size", "64"]) == 0
    assert "not of this run: predictions.html." in capsys.readouterr().err
    assert json.loads((tmp_path / "predictions.json").read_text())["older_results"] == ["predictions.html"]


def test_a_page_of_photos_decoded_small_says_so(tmp_path: Path) -> None:
    for fast in (False, True):
        predict(DIGITS, SCENES[0], tmp_path / "out", page=True, pictures=False, fast_decode=fast)
        (model,) = data_of(tmp_path / "out" / "predictions.html")["models"]
        assert any("decoded smaller" in warning for warning in model["warnings"]) is fast


def test_a_number_of_classes_implies_a_page(tmp_path: Path) -> None:
    arguments = ["predict", str(DIGITS), SCENES[0], "-o", str(tmp_path), "--page-classes", "3", "--no-pictures"]
    assert main([*arguments, "--quiet"]) == 0
    (answer,) = data_of(tmp_path / "predictions.html")["photos"][0]["answers"][0]
    assert len(answer["values"]["classes"]) == 3


def test_the_library_writes_it_too_and_a_photo_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    found = predict(DIGITS, [SCENES[0], broken, SCENES[1]], tmp_path / "out", page=True, pictures=False)
    assert len(found.failed) == 1
    photos = data_of(tmp_path / "out" / "predictions.html")["photos"]
    assert [photo["name"] for photo in photos] == [Path(scene).name for scene in SCENES]


def test_arrays_have_no_page(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.zeros((1, 3, 96, 96), np.float32))
    with pytest.raises(InputError, match="A page shows photos"):
        PredictionRun(DIGITS, [str(tmp_path / "x.npy")], tmp_path / "out", page=PageWish())


def test_more_photos_than_a_browser_opens_are_refused_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for place in range(MOST_PHOTOS + 1):
        shutil.copy(SCENES[0], tmp_path / "many" / f"{place}.png")
    with pytest.raises(InputError, match=f"holds {MOST_PHOTOS} photos at the most, and {MOST_PHOTOS + 1} were given"):
        PredictionRun(DIGITS, [str(tmp_path / "many")], tmp_path / "out", page=PageWish())
    assert not (tmp_path / "out" / "predictions.html").exists()


def test_a_folder_in_the_page_s_place_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out" / "predictions.html").mkdir(parents=True)
    with pytest.raises(InputError, match=r"predictions\.html"):
        PredictionRun(DIGITS, [SCENES[0]], tmp_path / "out", page=PageWish())
