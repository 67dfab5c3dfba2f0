"""One data set in several layouts: every verb says the same of it, but for the images' keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnx_gapmil.auditing import Progress, Request, audit
from onnx_gapmil.prediction.predicting import PredictionRun
from tests.helpers import layouts
from tests.helpers.scene_data import MODEL
from tests.helpers.verbs import run, run_json

LAYOUTS = {"csv": layouts.as_csv, "parquet": layouts.as_parquet, "tar": layouts.as_tar}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The scenes, by layout."""
    folder = tmp_path_factory.mktemp("layouts")
    items = layouts.scenes()
    return {name: lay(folder / name, items) for name, lay in LAYOUTS.items()}


def table(path: Path) -> pa.Table:
    """Without the images' keys."""
    return pq.read_table(path).drop_columns(["image"])


def without_keys(summary: dict[str, Any]) -> dict[str, Any]:
    """Without what is of the images' keys, or says where the data lie."""
    slices = {name: {**column, "members_sha256": None} for name, column in summary["slice_columns"].items()}
    return {**summary, "data": None, "slice_columns": slices}


def test_audits_are_equal(tmp_path: Path, data: dict[str, Path]) -> None:
    found = {}
    for layout, place in data.items():
        summary = audit(Request(model=MODEL, data=place), tmp_path / layout).to_json()
        found[layout] = without_keys(summary)
        assert summary["failed"] == 0
    assert found["csv"]["slices"]["light"]["day"]["images"] == 4
    assert found["csv"]["foreground"]["right"]["images"] > 0
    for layout in ("parquet", "tar"):
        assert json.dumps(found[layout], sort_keys=True) == json.dumps(found["csv"], sort_keys=True)
        assert table(tmp_path / layout / "images.parquet").equals(table(tmp_path / "csv" / "images.parquet"))
    keys = pq.read_table(tmp_path / "parquet" / "images.parquet")["image"].to_pylist()
    assert keys[:2] == ["test-00000-of-00002.parquet#0", "test-00000-of-00002.parquet#1"]
    assert pq.read_table(tmp_path / "tar" / "images.parquet")["image"][0].as_py() == "test-000000.tar#00_scene_00"


def test_the_gallery_shows_the_same_pictures(tmp_path: Path, data: dict[str, Path]) -> None:
    thumbs = {}
    for layout, place in data.items():
        audit(Request(model=MODEL, data=place), tmp_path / layout, gallery=5)
        page = (tmp_path / layout / "report.html").read_text("utf-8")
        thumbs[layout] = page.count("data:image/jpeg;base64,"), page[page.index("data:image/jpeg") :][:2000]
    assert thumbs["csv"] == thumbs["parquet"] == thumbs["tar"]
    assert thumbs["csv"][0] >= 5


def test_predictions_are_equal(tmp_path: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for layout, place in data.items():
        code, report = run_json(capsys, "predict", MODEL, place, "--save", "npz", "-o", tmp_path / layout)
        assert (code, len(report["images"])) == (0, 8)
        found[layout] = [entry["heads"] for entry in report["images"]]
    assert found["csv"] == found["parquet"] == found["tar"]
    row, member = tmp_path / "parquet/test-00000-of-00002/3", tmp_path / "tar/test-000000/00_scene_03"
    assert row.with_suffix(".png").is_file()
    assert member.with_suffix(".png").is_file()
    grids = [np.load(path.with_suffix(".npz"))["grid"] for path in (row, member, tmp_path / "csv/00_scene_03")]
    assert np.array_equal(grids[0], grids[1])
    assert np.array_equal(grids[0], grids[2])


def test_an_interrupted_prediction_goes_on_with_the_rows_that_lack(tmp_path: Path, data: dict[str, Path]) -> None:
    def prediction() -> PredictionRun:
        return PredictionRun(MODEL, [str(data["parquet"])], tmp_path / "out", batch=2, pictures=False, resume=True)

    with closing(prediction()) as first, closing(iter(first)) as answers:
        next(answers)
    with closing(prediction()) as second:
        assert 1 <= second.done < 8
        assert sum(1 for _ in second) == 8 - second.done


def test_comparisons_are_equal(tmp_path: Path, data: dict[str, Path]) -> None:
    other = MODEL.with_name("digits_keras.onnx")
    found = {}
    for layout, place in data.items():
        assert run("compare", MODEL, other, place, "-o", tmp_path / layout) == 0
        report = json.loads((tmp_path / layout / "compare.json").read_text("utf-8"))
        found[layout] = {key: report[key] for key in ("images", "agreement", "flips", "accuracy", "drift", "grids")}
        assert table(tmp_path / layout / "images.parquet").equals(table(tmp_path / "csv" / "images.parquet"))
    assert found["csv"] == found["parquet"] == found["tar"]


def test_shards_are_compared_without_labels(tmp_path: Path, data: dict[str, Path]) -> None:
    other = MODEL.with_name("digits_keras.onnx")
    assert run("compare", MODEL, other, data["tar"], "--unlabelled", "-o", tmp_path / "out") == 0
    assert pq.read_table(tmp_path / "out/images.parquet")["image"][0].as_py() == "test-000000/00_scene_00"


def test_a_policy_is_checked_on_shards(tmp_path: Path, data: dict[str, Path]) -> None:
    policy = tmp_path / "gapmil.toml"
    policy.write_text('schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.01\n', "utf-8")
    for layout in ("parquet", "tar"):
        code = run("check", MODEL, "--policy", policy, "--data", data[layout], "-o", tmp_path / layout)
        assert code == 0


class StoppedError(Exception):
    """Stands for whatever stops a run."""


def resumed(folder: Path, place: Path, change: Callable[[], None]) -> tuple[list[str], int]:
    """What is told, and how many images are taken over, where something changes while an audit is stopped."""

    def stop(now: Progress) -> None:
        if now.done >= 6:
            raise StoppedError

    request = Request(model=MODEL, data=place, batch=2, offset=0)
    with pytest.raises(StoppedError):
        audit(request, folder / "out", progress=stop)
    change()
    told: list[str] = []
    counts: list[int] = []
    audit(request, folder / "out", note=told.append, announce=lambda _, __, count, ___: counts.append(count))
    audit(request, folder / "whole")
    for name in ("summary.json", "images.parquet", "report.html"):
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    return told, counts[0]


@pytest.mark.parametrize("layout", ["parquet", "tar"])
def test_an_audit_of_shards_goes_on(tmp_path: Path, layout: str) -> None:
    place = LAYOUTS[layout](tmp_path / "data", layouts.scenes())
    assert resumed(tmp_path, place, lambda: None) == ([], 6)


@pytest.mark.parametrize("layout", ["parquet", "tar"])
def test_an_image_that_changed_in_its_shard_is_measured_again(tmp_path: Path, layout: str) -> None:
    items = layouts.scenes()
    place = LAYOUTS[layout](tmp_path / "data", items)

    def change() -> None:
        swapped = [layouts.replaced(items[0], data=items[-1].data), *items[1:]]
        LAYOUTS[layout](tmp_path / "again", swapped)
        first = sorted(place.iterdir())[0]
        first.write_bytes((tmp_path / "again" / first.name).read_bytes())

    (told,), taken = resumed(tmp_path, place, change)
    assert told.startswith("Measured again, since they changed: test-0000")
    assert taken == 2  # the second shard's batch


def test_a_label_that_changed_in_its_row_begins_anew(tmp_path: Path) -> None:
    items = layouts.scenes()
    place = layouts.as_parquet(tmp_path / "data", items)

    def change() -> None:
        table = layouts.parquet_table([layouts.replaced(items[0], label=(items[0].label + 1) % 10), *items[1:4]])
        pq.write_table(table, place / "test-00000-of-00002.parquet", row_group_size=3)

    (told,), taken = resumed(tmp_path, place, change)
    assert told.startswith(
        "The audit begins anew, since the data set has changed: labels, boxes or masks are others of"
    )
    assert taken == 0


@pytest.mark.parametrize("layout", ["parquet", "tar"])
def test_results_are_never_written_over_a_shard(
    tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = LAYOUTS[layout](tmp_path / "data", layouts.scenes(), shards=1)
    shard = next(place.iterdir())
    shard.rename(place / f"images{shard.suffix}")
    other = place / "images.parquet"
    before = other.read_bytes() if other.is_file() else None
    code = run("audit", MODEL, place / f"images{shard.suffix}", "-o", place)
    assert (code, "is never overwritten" in capsys.readouterr().err) == ((2, True) if before else (0, False))
    assert before is None or other.read_bytes() == before


def test_photos_of_a_torn_tar_are_shown_and_the_rest_is_told(
    tmp_path: Path, data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, as where a photo cannot be read."""
    shards = sorted(data["tar"].iterdir())
    place = tmp_path / "tars"
    place.mkdir()
    (place / shards[0].name).write_bytes(shards[0].read_bytes())
    whole = shards[1].read_bytes()
    (place / shards[1].name).write_bytes(whole[: whole.rindex(b".png\0")])
    code = run("predict", MODEL, place, "--no-pictures", "-o", tmp_path / "out")
    said = "1 torn end of a shard is left out (cut short): test-000001.tar"
    assert said in capsys.readouterr().err
    report = json.loads((tmp_path / "out/predictions.json").read_text())
    assert (code, len(report["images"])) == (2, 7)
    assert report["left_out"][0].startswith(said)
    assert run("predict", MODEL, place, "--no-pictures", "--shard", "0/1", "-o", tmp_path / "part") == 2
    capsys.readouterr()
    assert run("merge", tmp_path / "part", "-o", tmp_path / "merged") == 2
    assert f"Note: {said}" in capsys.readouterr().err
    assert run("compare", MODEL, MODEL, place, "--unlabelled", "-o", tmp_path / "compared") == 0
    assert said in capsys.readouterr().err
