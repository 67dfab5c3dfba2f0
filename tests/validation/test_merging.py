"""Shards put together are the whole run, byte by byte; what does not belong together is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil import InputError, MergedPredictions, audit, compare, merge, predict
from onnx_gapmil.cli import main
from onnx_gapmil.running.shards import Shard
from tests.helpers.compared import changed_model
from tests.helpers.folders import contents, same
from tests.helpers.held import held_at, wait_until
from tests.helpers.scene_data import MODEL, SCENES, write_scenes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 scenes, one of which is damaged."""
    path = write_scenes(tmp_path_factory.mktemp("data"), copies=3, camera="a")
    (path.parent / "01_scene_03.png").write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def parts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An audit in three shards."""
    folder = tmp_path_factory.mktemp("parts")
    for index in (1, 2, 0):
        audit(MODEL, data, folder / str(index), batch=2, shard=f"{index}/3")
    return [folder / str(index) for index in range(3)]


def test_an_audit_in_shards_is_the_whole_audit(data: Path, parts: list[Path], tmp_path: Path) -> None:
    summary = audit(MODEL, data, tmp_path / "whole", batch=2)
    merged = merge([parts[2], parts[0], parts[1]], tmp_path / "merged")
    assert merged == summary
    assert summary.failed == 1
    assert sorted(contents(tmp_path / "merged")) == ["classes.parquet", "images.parquet", "report.html", "summary.json"]
    assert same(tmp_path / "whole", tmp_path / "merged")


def test_what_the_images_decide_is_decided_on_all_of_them(data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch": 4, "preprocess": "auto", "gallery": 3}
    audit(MODEL, data, tmp_path / "whole", **settings)
    for index in range(2):
        audit(MODEL, data, tmp_path / str(index), shard=f"{index}/2", **settings)
    merge([tmp_path / "1", tmp_path / "0"], tmp_path / "merged", gallery=3)
    assert same(tmp_path / "whole", tmp_path / "merged")


def test_more_shards_than_batches_leave_some_empty(data: Path, tmp_path: Path) -> None:
    audit(MODEL, data, tmp_path / "whole", batch=16)
    done = [audit(MODEL, data, tmp_path / str(index), batch=16, shard=Shard(index, 3)).done for index in range(3)]
    assert sorted(done) == [0, 8, 16]
    merge([tmp_path / str(index) for index in range(3)], tmp_path / "merged")
    assert same(tmp_path / "whole", tmp_path / "merged")


def test_a_finished_shard_does_nothing_a_second_time(data: Path, tmp_path: Path) -> None:
    first = audit(MODEL, data, tmp_path / "0", batch=2, shard="0/3")
    before = contents(tmp_path / "0")
    told: list[int] = []
    again = audit(MODEL, data, tmp_path / "0", batch=2, shard="0/3", progress=lambda done, _: told.append(done))
    assert (again, told) == (first, [])
    assert contents(tmp_path / "0") == before


def test_a_shard_that_was_killed_goes_on(data: Path, tmp_path: Path) -> None:
    names = [json.loads(line)["image"] for line in data.read_text().splitlines()]
    last = names[Shard.parse("0/2").places(names)[-1]].removesuffix(".png")
    arguments = ["audit", str(MODEL), str(data), "--batch", "1", "--shard", "0/2", "-o", str(tmp_path / "0")]
    with subprocess.Popen(
        held_at(last, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        journal = tmp_path / "0" / "shard" / "batches.jsonl"
        wait_until(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 1, process)
        process.kill()
    audit(MODEL, data, tmp_path / "1", batch=1, shard="1/2")
    with pytest.raises(InputError, match="its shard is not finished"):
        merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
    again = [sys.executable, "-m", "onnx_gapmil", *arguments]
    done = subprocess.run(again, capture_output=True, text=True, check=True)
    assert "measured by an earlier run" in done.stderr
    merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
    audit(MODEL, data, tmp_path / "whole", batch=1)
    assert same(tmp_path / "whole", tmp_path / "merged")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"preprocess": "unit"}, "another preprocessing"),
        ({"batch": 4}, "another number of images in a batch"),
        ({"label_offset": 0}, "another label offset"),
        ({"model": True}, "another model file"),
        ({"data": True}, "another data set"),
    ],
)
def test_a_shard_of_another_run_is_refused(
    changed: dict[str, Any], said: str, data: Path, parts: list[Path], tmp_path: Path
) -> None:
    model = changed_model(tmp_path) if changed.pop("model", False) else MODEL
    settings: dict[str, Any] = {"batch": 2, "names": MODEL.with_suffix(".labels.txt"), **changed}
    settings.setdefault("preprocess", MODEL.with_suffix(".preprocess.json"))
    other = data
    if settings.pop("data", False):
        lines = [json.loads(line) for line in data.read_text().splitlines()]
        other = data.with_name("other.jsonl")
        other.write_text("".join(json.dumps({**line, "camera": "b"}) + "\n" for line in lines))
    audit(model, other, tmp_path / "2", shard="2/3", **settings)
    with pytest.raises(InputError, match=said):
        merge([*parts[:2], tmp_path / "2"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_is_no_longer_there_is_refused(data: Path, parts: list[Path], tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(data.parent, moved)
    lines = (moved / data.name).read_text().splitlines(keepends=True)
    merge(parts, tmp_path / "merged", data=moved / data.name)
    (moved / data.name).write_text("".join(lines[1:]))
    with pytest.raises(InputError, match="another data set than there is here"):
        merge(parts, tmp_path / "merged", data=moved / data.name)
    with pytest.raises(InputError, match="another model file"):
        merge(parts, tmp_path / "merged", model=changed_model(tmp_path))


def test_damaged_records_are_refused(parts: list[Path], tmp_path: Path) -> None:
    shutil.copytree(parts[0], tmp_path / "0")
    journal = tmp_path / "0" / "shard" / "batches.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"right":true', b'"right":fals', 1))
    with pytest.raises(InputError, match="records of shard 0/3 are missing or damaged"):
        merge([tmp_path / "0", *parts[1:]], tmp_path / "merged")


def test_shards_and_whole_runs_do_not_share_a_folder(data: Path, parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds a shard of another run"):
        audit(MODEL, data, parts[0], batch=2)
    with pytest.raises(InputError, match=r"holds shard 0/3\. Choose another folder"):
        audit(MODEL, data, parts[0], batch=2, shard="1/3")
    with pytest.raises(InputError, match="is the folder of a shard"):
        merge(parts, parts[1])
    merge(parts, tmp_path / "merged", gallery=0)
    with pytest.raises(InputError, match=r"holds the results of a whole run \(summary\.json\)"):
        audit(MODEL, data, tmp_path / "merged", batch=2, shard="0/3")


def test_a_comparison_in_shards_is_the_whole_comparison(data: Path, tmp_path: Path) -> None:
    new = changed_model(tmp_path)
    whole = compare(MODEL, new, data, tmp_path / "whole", batch=2)
    folders = [tmp_path / str(index) for index in range(3)]
    for index, folder in enumerate(folders):
        compare(MODEL, new, data, folder, batch=2, shard=f"{index}/3")
    assert merge(folders[::-1], tmp_path / "merged") == whole
    assert same(tmp_path / "whole", tmp_path / "merged")
    with pytest.raises(InputError, match=r"Missing: shard 1/3\. Run compare"):
        merge([folders[0], folders[2]], tmp_path / "again")


def test_predictions_in_shards_are_the_whole(data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch": 2, "save": "grid", "tables": ("coco", "parquet")}
    photos = str(data.parent)
    predict(MODEL, photos, tmp_path / "whole", **settings)
    folders = [tmp_path / str(index) for index in range(3)]
    for index, folder in enumerate(folders):
        part = predict(MODEL, photos, folder, shard=f"{index}/3", **settings)
        assert part.report is None
        assert not (folder / "predictions.json").exists()
    found = merge([folders[1], folders[2], folders[0]], tmp_path / "merged")
    assert isinstance(found, MergedPredictions)
    assert (found.images, found.done, found.failed) == (24, 23, 1)
    assert found.written == ("pictures", "arrays", "predictions.json", "predictions.coco.json", "predictions.parquet")
    assert same(tmp_path / "whole", tmp_path / "merged")
    (folders[0] / "shard.json").unlink()
    with pytest.raises(InputError, match="its shard is not finished"):
        merge(folders, tmp_path / "again")
    predict(MODEL, photos, folders[0], shard="0/3", **settings)
    next(folders[0].glob("*.npz")).unlink()
    with pytest.raises(InputError, match="records of shard 0/3 are missing or damaged"):
        merge(folders, tmp_path / "again")


def test_shards_of_a_prediction_without_a_photo_that_can_be_read_are_parts(tmp_path: Path) -> None:
    """Of two batches in three shards one has nothing to do, and one has a damaged photo alone."""
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(SCENES / "scene_00.png", photos)
    (photos / "bad.png").write_bytes(b"no image")
    settings: dict[str, Any] = {"batch": 1, "pictures": False, "tables": ("coco", "parquet")}
    predict(MODEL, photos, tmp_path / "whole", **settings)
    folders = [tmp_path / str(index) for index in range(3)]
    for index, folder in enumerate(folders):
        predict(MODEL, photos, folder, shard=f"{index}/3", **settings)
    counts = [json.loads((folder / "shard.json").read_text()) for folder in folders]
    assert sorted((each["done"], each["failed"]) for each in counts) == [(0, 0), (1, 0), (1, 1)]
    found = merge(folders, tmp_path / "merged")
    assert isinstance(found, MergedPredictions)
    assert (found.done, found.failed) == (1, 1)
    assert same(tmp_path / "whole", tmp_path / "merged")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"top": 3}, "another choice of results"),
        ({"size": 64}, "another input size and preprocessing"),
        ({"fast_decode": True}, "another decoding of large photos"),
        ({"stitch": 2}, "another stitching"),
    ],
)
def test_a_prediction_with_other_options_is_no_part(other: dict[str, Any], named: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch": 2, "pictures": False}
    predict(MODEL, str(SCENES), tmp_path / "0", **settings, shard="0/2")
    predict(MODEL, str(SCENES), tmp_path / "1", **(settings | other), shard="1/2")
    with pytest.raises(InputError, match=named):
        merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")


def test_a_machine_may_keep_model_and_photos_elsewhere(tmp_path: Path) -> None:
    shutil.copytree(SCENES, tmp_path / "elsewhere")
    for path in MODEL.parent.glob(f"{MODEL.stem}.*"):
        shutil.copy(path, tmp_path)
    settings: dict[str, Any] = {"batch": 2, "pictures": False}
    predict(MODEL, SCENES, tmp_path / "0", **settings, shard="0/2")
    predict(tmp_path / MODEL.name, tmp_path / "elsewhere", tmp_path / "1", **settings, shard="1/2")
    found = merge([tmp_path / "1", tmp_path / "0"], tmp_path / "merged")
    assert isinstance(found, MergedPredictions)
    assert found.done == found.images
    assert json.loads((tmp_path / "merged" / "predictions.json").read_text())["model"] == str(MODEL)


def test_the_command_line_names_what_is_missing_and_ends_with_2(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["merge", *map(str, parts), "-o", str(tmp_path / "merged"), "--gallery", "0"]
    assert main([*arguments[:-5], "--json"]) == 2
    assert "Missing: shard 2/3" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "merged" / "summary.json").read_text())
    assert main(arguments) == 0
    assert "right at top-1" in capsys.readouterr().out
    part = ["predict", str(MODEL), str(SCENES), "--batch", "2", "--no-pictures", "-o", str(tmp_path / "0"), "--json"]
    assert main([*part, "--shard", "0/2"]) == 0
    assert json.loads(capsys.readouterr().out)["shard"] == "0/2"
    assert main([*part, "--shard", "1/2"]) == 2
    assert "holds shard 0/2" in json.loads(capsys.readouterr().out)["error"]["message"]
