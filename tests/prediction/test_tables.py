"""Predictions as other tools read them: a row a photo, and boxes in the words of COCO."""

from __future__ import annotations

import json
import shutil
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from onnx_gapmil import predict
from onnx_gapmil.errors import InputError
from onnx_gapmil.prediction.predicting import PredictionRun
from onnx_gapmil.prediction.report import Report
from onnx_gapmil.prediction.tables import TABLES, _file_name, write_tables
from tests.helpers import layouts
from tests.helpers.scene_data import MODEL, SCENES

COCO, PARQUET = TABLES["coco"], TABLES["parquet"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of scenes in two folders, of which one is larger than it is wide and one is damaged."""
    photos = tmp_path_factory.mktemp("photos")
    for name in ("scene_00.png", "scene_05.png"):
        (photos / name[6:8]).mkdir()
        shutil.copy(SCENES / name, photos / name[6:8])
    Image.open(SCENES / "scene_03.png").resize((150, 75)).save(photos / "wide.png")
    (photos / "bad.png").write_bytes(b"no image")
    folder = tmp_path_factory.mktemp("out")
    predict(MODEL, str(photos), folder, pictures=False, save="grid", tables=("coco", "parquet"))
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "predictions.json").read_text("utf-8"))
    return found


def test_the_boxes_are_those_of_the_report(out: Path) -> None:
    report, coco = report_of(out), json.loads((out / COCO).read_text("utf-8"))
    images = {image["id"]: image for image in coco["images"]}
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert [image["file_name"] for image in coco["images"]] == ["00/scene_00.png", "05/scene_05.png", "wide.png"]
    assert (coco["images"][2]["width"], coco["images"][2]["height"]) == (150, 75)
    expected = [
        (entry["name"], box["label"], box["box"], box["score"])
        for entry in report["images"]
        for box in entry["heads"][0]["boxes"]
    ]
    found = []
    for each in coco["annotations"]:
        x, y, width, height = each["bbox"]
        assert 0 <= x <= x + width <= images[each["image_id"]]["width"] + 0.01
        assert 0 <= y <= y + height <= images[each["image_id"]]["height"] + 0.01
        assert (each["iscrowd"], each["segmentation"]) == (0, [])
        assert each["area"] == pytest.approx(width * height, abs=0.01)
        corners = [x, y, round(x + width, 2), round(y + height, 2)]
        found.append((images[each["image_id"]]["file_name"], names[each["category_id"]], corners, each["score"]))
    assert found == expected
    assert len(found) > 6
    assert {category["id"] for category in coco["categories"]} == {each["category_id"] for each in coco["annotations"]}
    assert [each["id"] for each in coco["annotations"]] == list(range(1, len(found) + 1))


def test_a_boxs_score_is_its_surest_cells_softmax(out: Path) -> None:
    for entry in report_of(out)["images"]:
        (head,) = entry["heads"]
        with np.load(entry["npz"]) as arrays:
            grid, cells = arrays["grid"].astype(np.float64), arrays["cells"].astype(np.float64)
        share = np.exp(grid - grid.max(0)) / np.exp(grid - grid.max(0)).sum(0)
        won = grid.argmax(0)
        centres = (cells[:, :, :2] + cells[:, :, 2:]) / 2
        for box in head["boxes"]:
            inside = (centres > box["box"][:2]).all(2) & (centres < box["box"][2:]).all(2) & (won == box["index"])
            assert box["score"] == pytest.approx(share[box["index"]][inside].max(), abs=1e-5)
            assert box["score"] >= 0.5


def test_each_photo_has_its_row(out: Path) -> None:
    report = report_of(out)
    table = pq.read_table(out / PARQUET)
    rows = table.to_pylist()
    assert [row["name"] for row in rows] == ["00/scene_00.png", "05/scene_05.png", "bad.png", "wide.png"]
    assert "no image" in rows[2].pop("error")
    assert {key for key, value in rows.pop(2).items() if value is not None} == {"image", "name"}
    for row, entry in zip(rows, report["images"], strict=True):
        (head,) = entry["heads"]
        assert [row["width"], row["height"]] == entry["size"]
        assert row["error"] is None
        assert row["classes"] == [each["index"] for each in head["top"]]
        assert row["scores"] == [each["score"] for each in head["top"]]
        assert [each["cells"] for each in row["winners"]] == [each["cells"] for each in head["winners"]]
        assert [each["box"] for each in row["boxes"]] == [each["box"] for each in head["boxes"]]
        assert row["places"] == {"grid": head["grid_shape"], "window": head["window"]}
    said = json.loads(table.schema.metadata[b"onnx-gapmil"])
    assert said["preprocess"] == report["preprocess"]
    assert "interrupted" not in said


def test_places_are_those_of_the_cells(out: Path) -> None:
    for row in pq.read_table(out / PARQUET).to_pylist():
        if row["error"] is not None:
            continue
        with np.load(out / f"{row['name'].removesuffix('.png')}.npz") as arrays:
            cells, grid = arrays["cells"], arrays["grid"]
        for winner in row["winners"]:
            best = np.unravel_index(grid[winner["index"]].argmax(), grid.shape[1:])
            np.testing.assert_allclose(winner["place"], cells[best], atol=0.011)


def test_classes_with_one_name_are_told_apart(tmp_path: Path) -> None:
    box = {"box": [1.0, 2.0, 5.0, 9.0], "cells": 3, "score": 0.75}
    heads = [
        {"output": "a", "boxes": [{"index": 2, "label": "crane", **box}, {"index": 4, "label": "crane", **box}]},
        {"output": "b", "boxes": [{"index": 1, "label": "cat", **box}]},
    ]
    with closing(Report(tmp_path)) as report:
        report.add(0, "images", {"image": "x.png", "size": [10, 20], "heads": heads})
        written = write_tables(tmp_path, ["coco"], report, {"model": "m.onnx"}, interrupted=True)
    coco = json.loads((tmp_path / written[0]).read_text("utf-8"))
    assert [(each["id"], each["name"], each["supercategory"]) for each in coco["categories"]] == [
        (3, "crane (2)", "a"),
        (5, "crane (4)", "a"),
        (7, "cat", "b"),
    ]
    assert [each["category_id"] for each in coco["annotations"]] == [3, 5, 7]
    assert coco["annotations"][0]["bbox"] == [1.0, 2.0, 4.0, 7.0]
    assert coco["info"]["interrupted"] is True


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        # Heads that number their classes alike: the number alone does not tell them apart.
        ([("a", 2, "crane"), ("a", 4, "cat"), ("b", 2, "crane")], ["crane (a 2)", "cat", "crane (b 2)"]),
        # Somebody's own name is what the second one would be called.
        ([("a", 0, "crane"), ("a", 1, "crane"), ("a", 2, "crane (1)")], ["crane (0)", "crane (1) (1)", "crane (1)"]),
    ],
)
def test_no_two_categories_have_one_name(
    tmp_path: Path, classes: list[tuple[str, int, str]], expected: list[str]
) -> None:
    heads: dict[str, list[dict[str, Any]]] = {}
    for output, index, label in classes:
        box = {"index": index, "label": label, "box": [0.0, 0.0, 1.0, 1.0], "cells": 1, "score": 0.75}
        heads.setdefault(output, []).append(box)
    entry = {
        "image": "x.png",
        "size": [1, 1],
        "heads": [{"output": output, "boxes": boxes} for output, boxes in heads.items()],
    }
    with closing(Report(tmp_path)) as report:
        report.add(0, "images", entry)
        write_tables(tmp_path, ["coco"], report, {"model": "m.onnx"})
    coco = json.loads((tmp_path / COCO).read_text("utf-8"))
    assert [each["name"] for each in coco["categories"]] == expected


def file_names(folder: Path, entries: list[tuple[str, str]]) -> list[str]:
    """Of the images in COCO, of photos by path and by path within what was named."""
    with closing(Report(folder)) as report:
        for place, (image, name) in enumerate(entries):
            report.add(place, "images", {"image": image, "name": name, "size": [1, 1], "heads": []})
        write_tables(folder, ["coco"], report, {"model": "m.onnx"})
    return [each["file_name"] for each in json.loads((folder / COCO).read_text("utf-8"))["images"]]


def test_no_two_images_have_one_file_name(tmp_path: Path) -> None:
    entries = [("in/A/x.jpg", "x.jpg"), ("in/B/A/x.jpg", "A/x.jpg"), ("in/B/x.jpg", "x.jpg")]
    assert file_names(tmp_path, entries) == ["in/A/x.jpg", "in/B/A/x.jpg", "in/B/x.jpg"]
    entries = [("A/s.tar#k.png", "s/k"), ("B/s.tar#k.png", "s/k"), ("B/p.parquet#7", "p/7"), ("B/a#b.jpg", "a#b.jpg")]
    assert file_names(tmp_path, entries) == ["A/s/k.png", "B/s/k.png", "B/p/7", "B/a#b.jpg"]


def run(output: Path, *, stop: int | None = None, tables: tuple[str, ...] = ("coco", "parquet")) -> PredictionRun:
    made = PredictionRun(MODEL, [str(SCENES)], output, batch=1, pictures=False, tables=tables, resume=True)
    with closing(made):
        answers = iter(made)
        for count, _ in enumerate(answers, 1):
            if count == stop:
                answers.close()  # type: ignore[attr-defined]
                return made
        made.save()
    return made


def test_a_run_that_was_stopped_says_so_and_then_writes_what_an_unbroken_one_does(tmp_path: Path) -> None:
    run(tmp_path / "broken", stop=3)
    half = pq.read_table(tmp_path / "broken" / PARQUET)
    assert 3 <= half.num_rows <= 8
    assert json.loads(half.schema.metadata[b"onnx-gapmil"])["interrupted"] is True
    assert json.loads((tmp_path / "broken" / COCO).read_text("utf-8"))["info"]["interrupted"] is True
    assert run(tmp_path / "broken").done >= 3
    run(tmp_path / "whole")
    assert (tmp_path / "broken" / COCO).read_bytes() == (tmp_path / "whole" / COCO).read_bytes()
    broken, whole = (pq.read_table(tmp_path / name / PARQUET) for name in ("broken", "whole"))
    assert broken.equals(whole)


def test_tables_that_are_not_of_this_run_are_told(tmp_path: Path) -> None:
    run(tmp_path / "out", tables=("parquet",))
    assert run(tmp_path / "out", tables=("coco",)).older == [PARQUET]


def test_no_table_is_written_over_what_must_stay(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.json").write_text("mine")
    (tmp_path / "out" / COCO).symlink_to(tmp_path / "mine.json")
    with pytest.raises(InputError, match="is a link to"):
        run(tmp_path / "out")
    assert (tmp_path / "mine.json").read_text() == "mine"


def test_a_table_needs_a_folder() -> None:
    with pytest.raises(InputError, match="needs a folder of results"):
        PredictionRun(MODEL, [str(SCENES)], None, tables=("coco",))


def test_a_photo_of_a_tar_is_named_as_unpacking_its_shard_lays_it(tmp_path: Path) -> None:
    data = layouts.as_tar(tmp_path / "tars", layouts.scenes())
    predict(MODEL, str(data), tmp_path / "out", pictures=False, tables=("coco",))
    coco = json.loads((tmp_path / "out" / COCO).read_text("utf-8"))
    laid = set()
    for shard in data.glob("*.tar"):
        with tarfile.open(shard) as tar:
            laid |= {f"{shard.stem}/{name}" for name in tar.getnames() if name.endswith(".png")}
    assert {image["file_name"] for image in coco["images"]} == laid
    # No folder is made for pictures that nobody asked for.
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"predictions.json", COCO}


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("a/0", "/d/a.tar#0.left.png", "a/0.left.png"),
        ("a/imgs/0", "s3://b/a.tar#imgs/0.PNG", "a/imgs/0.PNG"),
        ("a/0", "/d/a.tar#./0.png", "a/0.png"),
        ("a/0#1", "/d/a.tar#0#1.png", "a/0#1.png"),
        ("a/3", "/d/a.parquet#3", "a/3"),
        ("dog/0.png", "/d/set#2/dog/0.png", "dog/0.png"),
    ],
)
def test_names_of_photos_in_coco(name: str, image: str, expected: str) -> None:
    """A key of WebDataset ends at the first dot, and the whole of the member's ending belongs to the file."""
    assert _file_name({"name": name, "image": image}, whole=False) == expected
