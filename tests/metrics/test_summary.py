"""The summary of made-up records, figure by figure from the definitions."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnx_gapmil.files.serial import from_json, to_json
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics import Figures, ImageMeasures, class_rows, measure_image, summarise
from onnx_gapmil.metrics.figures import ErrorCauses, SeveralFigures

KEYS = {
    "top1",
    "top5",
    "macro",
    "foreground",
    "recoverable",
    "error_causes",
    "background_reliance",
    "background",
    "edges",
    "pointing_game",
    "pointing_game_centre",
    "pointing_game_excess",
    "maxboxacc_v2",
    "maxboxacc_v1",
    "top1_localization",
    "localization",
    "pxap",
    "calibration",
    "several_objects",
    "intervals",
    "counts",
}


def records(count: int = 40, boxes: bool = True, seed: int = 0, masks: bool = False) -> list[ImageMeasures]:
    """Noise with a class on top of a corner of the photo, often the true one; every fourth image has two objects."""
    rng = np.random.default_rng(seed)
    result = []
    for number in range(count):
        geometry = Geometry.plan((60, 80), (48, 48), ("squash", "letterbox")[number % 2])
        label, other = rng.choice(6, size=2, replace=False)
        grid = rng.normal(size=(6, 5, 5))
        grid[label, :3, :3] += 2.0
        grid[other, 2:, 2:] += rng.choice([0.0, 4.0])
        own = [SimpleNamespace(box=(2.0, 1.0, 45.0, 33.0), classes=(label,))]
        if number % 4 == 0:
            own.append(SimpleNamespace(box=(40.0, 30.0, 79.0, 59.0), classes=(other,)))
        mask = np.zeros((60, 80), bool)
        mask[1:33, 2:45] = True
        result.append(
            measure_image(
                grid.mean(axis=(1, 2)),
                grid,
                labels=[int(label)],
                geometry=geometry,
                boxes=own if boxes else (),
                mask=mask if masks else None,
            )
        )
    return result


RECORDS = records()
SUMMARY = summarise(RECORDS)


def mean(values: list[Any]) -> float:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known)


def test_keys_and_plain_types():
    assert set(to_json(SUMMARY)) == KEYS
    assert from_json(Figures, json.loads(json.dumps(to_json(SUMMARY), allow_nan=False))) == SUMMARY


def test_records_from_a_file_give_the_same_summary_to_the_last_bit():
    lines = [json.dumps(to_json(record)) for record in RECORDS]
    again = [from_json(ImageMeasures, json.loads(line)) for line in lines]
    assert again == RECORDS
    assert json.dumps(to_json(summarise(again))) == json.dumps(to_json(SUMMARY))


def test_accuracy():
    assert SUMMARY.top1 == mean([record.ranks[0] == 0 for record in RECORDS])
    assert SUMMARY.top5 == mean([record.ranks[0] < 5 for record in RECORDS])
    classes = {record.labels[0] for record in RECORDS}
    each = [mean([r.right for r in RECORDS if r.labels == (label,)]) for label in classes]
    assert SUMMARY.macro.top1 == pytest.approx(mean(each))


@pytest.mark.parametrize(("name", "right"), [("right", True), ("wrong", False)])
def test_foreground_is_split_by_right_and_wrong(name, right):
    own = [record.foreground for record in RECORDS if record.right is right]
    found = getattr(SUMMARY.foreground, name)
    assert found.images == len(own) > 3
    for key in ("any_top1", "any_top5", "most_top1", "most_top5", "cell_share", "background_share"):
        assert getattr(found, key) == pytest.approx(mean([getattr(each, key) for each in own]))
        low, high = SUMMARY.intervals[f"foreground.{name}.{key}"]
        assert low <= getattr(found, key) <= high


def test_an_image_all_of_foreground_counts_as_no_right_background():
    first = RECORDS[0]
    whole, some = (replace(first, foreground=replace(first.foreground, background_share=s)) for s in (None, 0.5))
    found = getattr(summarise([whole, some]).foreground, "right" if first.right else "wrong")
    assert (found.background_share, found.with_background, found.images) == (0.25, 1, 2)


def test_errors():
    wrong = [record for record in RECORDS if not record.right]
    causes = [record.cause for record in wrong]
    assert SUMMARY.error_causes == ErrorCauses(*map(causes.count, ("dilution", "distraction", "absent")))
    assert SUMMARY.error_causes.total == len(wrong)
    assert SUMMARY.recoverable.images == len(wrong) - causes.count("absent")
    assert SUMMARY.recoverable.of == len(wrong)
    assert SUMMARY.recoverable.share == pytest.approx(mean([cause != "absent" for cause in causes]))
    for key in ("foreground", "background"):
        assert getattr(SUMMARY.recoverable.margin, key) == pytest.approx(mean([getattr(r.margin, key) for r in wrong]))


def test_background():
    shares = [record.background.share for record in RECORDS]
    found = SUMMARY.background
    assert SUMMARY.background_reliance == found.share == pytest.approx(mean(shares))
    assert found.centred_box == pytest.approx(mean([record.background.centred for record in RECORDS]))
    assert found.random_box == pytest.approx(mean([record.background.random for record in RECORDS]))
    assert found.over_centred_box == pytest.approx(found.share - found.centred_box)
    assert found.right_mostly_background == sum(r.background.share > 0.5 for r in RECORDS if r.right)
    only = sum(r.background.only_background for r in RECORDS if not r.right)
    assert found.only_background_errors == only > 0


def test_edges_and_pointing():
    for key in ("ring_cells", "evidence", "winners", "energy", "best_cell", "padding"):
        assert getattr(SUMMARY.edges, key) == pytest.approx(mean([getattr(r.edges, key) for r in RECORDS]))
    assert SUMMARY.edges.ring_cells == 16 / 25
    assert SUMMARY.pointing_game == pytest.approx(mean([record.pointing.hits for record in RECORDS]))
    assert SUMMARY.pointing_game_centre == mean([record.pointing.centre for record in RECORDS])
    assert SUMMARY.pointing_game_excess == pytest.approx(SUMMARY.pointing_game - SUMMARY.pointing_game_centre)


def test_localization_and_several_objects():
    assert SUMMARY.maxboxacc_v2 == pytest.approx(SUMMARY.localization.grid.shares.mean)
    assert SUMMARY.maxboxacc_v1 == pytest.approx(SUMMARY.localization.one_box.grid.share)
    assert SUMMARY.top1_localization == pytest.approx(SUMMARY.localization.top1.grid.share)
    assert SUMMARY.top1_localization <= min(SUMMARY.maxboxacc_v1, SUMMARY.top1) + 1e-9
    assert SUMMARY.localization.objects == 40
    several = [record.several for record in RECORDS if record.several]
    keys = ("objects", "grid", "top1", "top5", "top_m")
    assert SUMMARY.several_objects == SeveralFigures(10, *(sum(getattr(each, key) for each in several) for key in keys))
    assert SUMMARY.several_objects.objects == 20


def test_calibration():
    found = SUMMARY.calibration
    assert sum(each.images for each in found.bins) == 40
    for key in ("confidence", "brier", "nll"):
        assert getattr(found, key) == pytest.approx(mean([getattr(record, key) for record in RECORDS]))


def test_classes():
    rows = class_rows(RECORDS)
    assert [row.index for row in rows] == sorted({record.labels[0] for record in RECORDS})
    assert sum(row.images for row in rows) == 40
    for row in rows:
        own = [record for record in RECORDS if record.labels == (row.index,)]
        assert row.top1 == mean([record.right for record in own])
        assert row.any_top1 == mean([record.foreground.any_top1 for record in own])
        assert row.cell_share == pytest.approx(mean([record.foreground.cell_share for record in own]))
        answers = [record.prediction for record in own if not record.right]
        counts = [(answer, answers.count(answer)) for answer in set(answers)]
        assert row.most_confused == tuple(sorted(counts, key=lambda pair: (-pair[1], pair[0])))


def test_without_boxes_what_has_no_place_is_none():
    images = records(8, boxes=False)
    found = summarise(images)
    for key in (
        "foreground",
        "recoverable",
        "error_causes",
        "background_reliance",
        "background",
        "pointing_game",
        "pointing_game_centre",
        "maxboxacc_v2",
        "localization",
        "pxap",
        "several_objects",
    ):
        assert getattr(found, key) is None, key
    assert found.edges is not None
    assert all(row.any_top1 is None for row in class_rows(images))


def test_masks_give_pxap():
    found = summarise(records(8, masks=True))
    assert 0.3 < found.pxap <= 1.0
    assert found.localization.objects == 8


def test_intervals_hold_their_figures_and_do_not_hang_together():
    for low, high in SUMMARY.intervals.values():
        assert low <= high
    only_right = summarise([record for record in RECORDS if record.right])
    assert only_right.intervals["foreground.right.any_top1"] == SUMMARY.intervals["foreground.right.any_top1"]
    assert only_right.intervals["background.right"] == SUMMARY.intervals["background.right"]
    assert only_right.foreground.wrong.any_top1 is None
    assert "foreground.wrong.any_top1" not in only_right.intervals
    assert only_right.error_causes == ErrorCauses(0, 0, 0)
    assert only_right.recoverable.share is None


def test_one_image_is_enough_and_none_is_an_error():
    assert summarise(RECORDS[:1]).top1 in (0.0, 1.0)
    with pytest.raises(ValueError, match="no images"):
        summarise([])


def test_figures_of_fewer_images_say_of_how_many():
    """Boxes on 5 of 12 images; no count has the interval of a share."""
    images = [*records(5), *records(7, boxes=False)]
    found = to_json(summarise(images))
    objects = found["localization"]["objects"]
    assert objects < len(images)
    for place in ("mean", "oracle.mean", "iou_0.5", "one_box.share", "top1.oracle", "centre_box.threshold", "objects"):
        assert found["counts"][f"localization.{place}"] == objects
    errors = sum(found["error_causes"].values())
    for cause in ("dilution", "distraction", "absent"):
        assert f"error_causes.{cause}" not in found["intervals"]
        assert found["counts"][f"error_causes.{cause}"] == errors
