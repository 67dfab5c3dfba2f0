"""One image's record against loops over cells, and what becomes of it without boxes, outside the crop, with masks."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.serial import from_json, to_json
from onnx_gapmil.images.geometry import RESIZE_RULES, Geometry
from onnx_gapmil.metrics import ImageMeasures, measure_image
from onnx_gapmil.metrics.causes import Margin
from onnx_gapmil.metrics.overlap import cell_overlap
from onnx_gapmil.metrics.pointing import Pointing
from onnx_gapmil.metrics.scoremap import boxes_on_map
from onnx_gapmil.metrics.several import Several
from tests.references.naive_measures import maxboxacc_successes, measure

PLACES = (
    "foreground_cells",
    "foreground",
    "cause",
    "recoverable",
    "control",
    "margin",
    "background",
    "edges",
    "pointing",
)
PHOTO = Geometry.plan((80, 80), (64, 64), "squash")
WHOLE, LEFT, RIGHT = (0.0, 0.0, 80.0, 80.0), (0.0, 0.0, 40.0, 80.0), (40.0, 0.0, 80.0, 80.0)


def box(corners: tuple[float, ...], *classes: int) -> Any:
    return SimpleNamespace(box=corners, classes=classes)


def half_and_half(left: int, right: int, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits and a 4 x 4 grid whose left half is won by one class and whose right half by another."""
    grid = np.zeros((classes, 4, 4))
    grid[left, :, :2] = 3.0
    grid[right, :, 2:] = 4.0
    return grid.mean(axis=(1, 2)), grid


scenes = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "photo": st.tuples(st.integers(20, 90), st.integers(20, 90)),
        "rule": st.sampled_from(RESIZE_RULES),
        "crop": st.sampled_from([0.7, 1.0]),
        "shape": st.tuples(st.integers(1, 6), st.integers(1, 6)),
        "classes": st.integers(2, 8),
        "boxes": st.integers(1, 3),
        "ties": st.booleans(),
    }
)


@settings(max_examples=100)
@given(scenes)
def test_a_record_is_what_loops_over_cells_find(scene):
    rng = np.random.default_rng(scene["seed"])
    height, width = scene["photo"]
    geometry = Geometry.plan((height, width), (48, 56), scene["rule"], scene["crop"])
    shape = (scene["classes"], *scene["shape"])
    grid = rng.integers(-2, 3, size=shape).astype(np.float32) if scene["ties"] else rng.normal(size=shape)
    logits = grid.mean(axis=(1, 2), dtype=np.float64)
    label = int(rng.integers(scene["classes"]))
    x, y = (np.sort(rng.integers(0, side + 1, size=(scene["boxes"], 2)), axis=1) for side in (width, height))
    boxes = [tuple(map(float, (a[0], b[0], a[1], b[1]))) for a, b in zip(x, y, strict=True)]
    rectangles = [geometry.cell_rectangle(row, col, shape[1:]) for row in range(shape[1]) for col in range(shape[2])]
    expected = measure(logits, grid, label, boxes, rectangles)
    own = [box(corners, label) for corners in boxes]
    found = measure_image(logits, grid, labels=[label], geometry=geometry, boxes=own, localization=False)
    assert found.ranks == (expected["rank"],)
    assert found.right == (expected["rank"] == 0)
    if expected["foreground"] is None:
        assert found.foreground is None
        assert found.background is None
        return
    assert (found.prediction, found.cause) == (expected["prediction"], expected["cause"])
    assert found.foreground_cells == tuple(expected["foreground_cells"])
    assert asdict(found.foreground) == pytest.approx(expected["foreground"])
    assert found.recoverable == (None if expected["cause"] is None else expected["cause"] != "absent")
    if expected["cause"] is not None:
        assert asdict(found.margin) == pytest.approx(expected["margin"], abs=1e-9)
    assert found.pointing.hits == expected["pointing"]
    assert found.background.only_background == expected["only_background"]
    evidence = np.array(expected["evidence"])
    if evidence.sum() > 1e-9:
        outside = 1 - cell_overlap(boxes, geometry, shape[1:]).ravel()
        assert found.background.share == pytest.approx((evidence * outside).sum() / evidence.sum())
    assert (found.edges is None) == (min(shape[1:]) < 3)
    for key, value in expected["ring"].items() if found.edges is not None else ():
        assert value is None or getattr(found.edges, key) == pytest.approx(value, abs=1e-9)
    assert from_json(ImageMeasures, json.loads(json.dumps(to_json(found), allow_nan=False))) == found


def test_without_boxes_there_are_only_the_image_and_its_edges():
    logits, grid = half_and_half(1, 2)
    found = measure_image(logits, grid, labels=[1], geometry=PHOTO)
    assert found.labels == (1,)
    assert (found.prediction, found.right, found.ranks) == (2, False, (1,))
    assert {key for key in PLACES if getattr(found, key) is not None} == {"edges"}
    assert found.localization is found.pxap is found.several is None


def test_cells_of_unknown_arrangement_have_no_place():
    logits, grid = half_and_half(1, 2)
    found = measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=[box(LEFT, 1)], arranged=False)
    whole = measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=[box(LEFT, 1)])
    places = dict.fromkeys((*PLACES, "localization", "pxap", "several"))
    assert found == replace(whole, **places) != whole


def test_an_error_by_another_thing_elsewhere_is_a_distraction():
    logits, grid = half_and_half(1, 2)
    found = measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=[box(LEFT, 1)])
    assert (found.cause, found.recoverable) == ("distraction", True)
    assert found.foreground_cells == (0, 1, 4, 5, 8, 9, 12, 13)
    assert found.foreground.cell_share == 1.0
    assert found.margin == Margin(foreground=1.5, background=-2.0)
    assert found.background.only_background is True
    assert found.background.share == 1.0


def test_a_box_of_another_class_is_no_foreground():
    logits, grid = half_and_half(1, 2)
    found = measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=[box(WHOLE, 4), box(LEFT, 1)])
    assert len(found.foreground_cells) == 8
    assert measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=[box(WHOLE, 4)]).foreground is None


def test_two_boxes_that_each_hold_a_third_of_a_cell_make_no_foreground_cell_but_count_as_area():
    grid = np.zeros((3, 1, 2))
    grid[0] = 1.0
    boxes = [box((40.0, 0.0, 54.0, 80.0), 0), box((66.0, 0.0, 80.0, 80.0), 0), box(LEFT, 0)]
    found = measure_image(grid.mean(axis=(1, 2)), grid, labels=[0], geometry=PHOTO, boxes=boxes)
    assert found.foreground_cells == (0,)
    assert found.background.share == pytest.approx(0.5 * (1 - 0.7))


def test_with_several_labels_each_counts_where_its_boxes_are():
    logits, grid = half_and_half(1, 2)
    straight = [box(LEFT, 1), box(RIGHT, 2)]
    crossed = [box(RIGHT, 1), box(LEFT, 2)]
    found = measure_image(logits, grid, labels=[1, 2], geometry=PHOTO, boxes=straight)
    assert found.foreground.cell_share == 1.0
    assert found.several == Several(objects=2, grid=2, top1=1, top5=2, top_m=2)
    assert (found.pointing.games, found.pointing.hits, len(found.localization)) == (2, 2, 2)
    found = measure_image(logits, grid, labels=[1, 2], geometry=PHOTO, boxes=crossed)
    assert found.foreground.cell_share == 0.0
    assert found.several.grid == 0
    assert found.pointing.hits == 0
    assert found.right


def test_any_label_on_top_makes_the_image_right():
    logits, grid = half_and_half(1, 2)
    assert measure_image(logits, grid, labels=[3, 2], geometry=PHOTO).right
    assert not measure_image(logits, grid, labels=[1, 3], geometry=PHOTO).right


def test_a_cell_that_boxes_only_touch_has_the_classes_of_those():
    logits, grid = half_and_half(1, 2)
    dots = [(1.0, 1.0, 5.0, 5.0), (61.0, 1.0, 62.0, 2.0)]  # the first is the larger: its cell is the foreground
    for classes, right in (((1, 2), 1.0), ((2, 1), 0.0)):
        boxes = [box(dot, index) for dot, index in zip(dots, classes, strict=True)]
        found = measure_image(logits, grid, labels=[1, 2], geometry=PHOTO, boxes=boxes)
        assert found.foreground_cells == (0,)
        assert found.foreground.cell_share == right


def test_a_cell_of_the_mask_that_no_box_touches_may_show_any_label():
    logits, grid = half_and_half(1, 2)
    mask = np.zeros((80, 80), bool)
    mask[:, :40] = True
    boxes = [box((41.0, 0.0, 59.0, 80.0), 1), box((61.0, 0.0, 80.0, 80.0), 2)]
    found = measure_image(logits, grid, labels=[1, 2], geometry=PHOTO, boxes=boxes, mask=mask)
    assert found.foreground.cell_share == 1.0


def test_an_object_outside_the_crop_plays_no_game():
    logits, grid = half_and_half(1, 2)
    cropped = Geometry.plan((80, 240), (64, 64), "shortest")  # sees columns 80..160
    boxes = [box((0.0, 0.0, 70.0, 80.0), 1), box((120.0, 0.0, 160.0, 80.0), 2)]
    found = measure_image(logits, grid, labels=[1, 2], geometry=cropped, boxes=boxes)
    assert found.pointing == Pointing(games=1, hits=1, centre=1)
    assert found.several is None
    assert len(found.localization) == 1


def test_a_box_without_classes_has_those_of_the_image():
    logits, grid = half_and_half(1, 2)
    found = measure_image(logits, grid, labels=[1, 2], geometry=PHOTO, boxes=[box(WHOLE)])
    assert found.foreground.cell_share == 1.0
    assert found.several is None
    assert found.pointing.games == 1


def test_classes_that_mean_the_same_are_one_object():
    logits, grid = half_and_half(1, 2)
    found = measure_image(logits, grid, labels=[1, 5], geometry=PHOTO, boxes=[box(LEFT, 1, 5)])
    assert found.ranks == (1, 4)
    assert found.pointing.games == 1
    assert found.cause == "distraction"
    assert found.nll is None


def test_a_mask_goes_before_boxes_for_what_is_foreground():
    logits, grid = half_and_half(1, 2)
    mask = np.zeros((80, 80), bool)
    mask[:, :40] = True
    alone = measure_image(logits, grid, labels=[1], geometry=PHOTO, mask=mask)
    assert alone.foreground_cells == (0, 1, 4, 5, 8, 9, 12, 13)
    assert alone.cause == "distraction"
    assert alone.pointing == Pointing(games=1, hits=1, centre=0)
    assert alone.localization is None
    assert sum(alone.pxap.object) == sum(alone.pxap.other) == 224 * 112
    both = measure_image(logits, grid, labels=[1], geometry=PHOTO, mask=mask, boxes=[box(WHOLE, 1)])
    assert both.foreground == alone.foreground
    assert both.pointing.centre == 1
    assert len(both.localization) == 1


def test_a_mask_of_another_size_is_an_error():
    logits, grid = half_and_half(1, 2)
    with pytest.raises(InputError, match="mask has 80 x 70"):
        measure_image(logits, grid, labels=[1], geometry=PHOTO, mask=np.ones((70, 80), bool))


def test_localization_is_of_the_true_class_by_its_boxes():
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(4, 7, 7))
    boxes = [(5.0, 10.0, 50.0, 60.0), (60.0, 60.0, 80.0, 80.0)]
    found = measure_image(grid.mean(axis=(1, 2)), grid, labels=[2], geometry=PHOTO, boxes=[box(b, 2) for b in boxes])
    flags = maxboxacc_successes(grid[2], boxes_on_map(tuple(boxes), PHOTO))
    bits = [[bit == "1" for bit in f"{int(text, 16):0104b}"[:100]] for text in found.localization[0].grid]
    np.testing.assert_array_equal(bits, flags)
    assert flags.any()


def test_localization_can_be_left_out_and_nothing_else_changes():
    logits, grid = half_and_half(1, 2)
    boxes = [box(LEFT, 1)]
    whole = measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=boxes)
    found = measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=boxes, localization=False)
    assert found == replace(whole, localization=None) != whole


def test_confidence_is_the_softmax_or_what_is_given():
    logits, grid = half_and_half(1, 2)
    shares = np.exp(logits) / np.exp(logits).sum()
    found = measure_image(logits, grid, labels=[1], geometry=PHOTO)
    assert found.confidence == pytest.approx(shares[2])
    assert found.nll == pytest.approx(-np.log(shares[1]))
    assert found.brier == pytest.approx(((shares - np.eye(6)[1]) ** 2).sum())
    given = measure_image(logits, grid, labels=[1], geometry=PHOTO, probabilities=np.full(6, 0.25))
    assert given.confidence == 0.25


def test_a_constant_added_to_every_logit_changes_no_measure():
    logits, grid = half_and_half(1, 2, classes=8)  # means are exact
    found = measure_image(logits, grid, labels=[1], geometry=PHOTO, boxes=[box(LEFT, 1)])
    moved = measure_image(logits + 64, grid + 64, labels=[1], geometry=PHOTO, boxes=[box(LEFT, 1)])
    assert moved == found


def test_half_precision_grids_are_measured_in_double():
    logits, grid = half_and_half(1, 2)
    found = measure_image(logits.astype(np.float16), grid.astype(np.float16), labels=[1], geometry=PHOTO)
    assert found == measure_image(logits, grid, labels=[1], geometry=PHOTO)
