from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import numpy as np

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics.several import several_objects
from onnx_gapmil.metrics.targets import labelled, targets_of

GEOMETRY = Geometry.plan((40, 40), (40, 40), "squash")
LEFT, RIGHT, DOT = (0.0, 0.0, 20.0, 40.0), (20.0, 0.0, 40.0, 40.0), (30.0, 2.0, 33.0, 4.0)


def box(corners, *classes):
    return SimpleNamespace(box=corners, classes=classes)


def test_boxes_of_equal_classes_are_one_target():
    boxes = [box(LEFT, 3, 1), box(DOT), box(RIGHT, 1, 3), box(LEFT, 7)]
    targets = targets_of(boxes, [9, 8])
    assert [(target.classes, len(target.boxes)) for target in targets] == [((1, 3), 2), ((8, 9), 1), ((7,), 1)]
    assert [target.classes for target in labelled(targets, [3, 7])] == [(1, 3), (7,)]


def test_representative_is_the_highest_of_its_classes():
    target = targets_of([box(LEFT, 1, 3)], [])[0]
    assert target.representative(np.array([9.0, 2.0, 8.0, 5.0])) == 3
    assert target.representative(np.array([9.0, 5.0, 8.0, 5.0])) == 1


def test_the_grid_names_what_one_answer_cannot():
    logits = np.array([0.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0])  # order 1, 6, 5, 4, 3, 2, 0
    winners = np.array([[1, 1, 2, 4]] * 4)  # 1 on the left, 2 on the right: both objects are named in their cells
    targets = targets_of([box(LEFT, 1), box(RIGHT, 2)], [1])
    found = several_objects(logits, winners.ravel(), targets, GEOMETRY, (4, 4))
    assert found is not None
    assert asdict(found) == {"objects": 2, "grid": 2, "top1": 1, "top5": 1, "top_m": 1}


def test_top_m_is_as_long_as_there_are_objects():
    logits = np.array([0.0, 9.0, 8.0, 7.0])
    targets = targets_of([box(LEFT, 1), box(RIGHT, 2)], [1])
    found = several_objects(logits, np.zeros(16, int), targets, GEOMETRY, (4, 4))
    assert found is not None
    assert (found.grid, found.top1, found.top5, found.top_m) == (0, 1, 2, 2)
    targets = targets_of([box(LEFT, 1), box(RIGHT, 3)], [1])
    found = several_objects(logits, np.zeros(16, int), targets, GEOMETRY, (4, 4))
    assert found is not None
    assert (found.top5, found.top_m) == (2, 1)


def test_one_of_several_boxes_of_a_kind_is_enough():
    targets = targets_of([box(LEFT, 1), box(DOT, 1), box(RIGHT, 2)], [1])
    winners = np.array([[1, 0, 0, 0]] + [[0, 0, 0, 0]] * 3)
    found = several_objects(np.zeros(3), winners.ravel(), targets, GEOMETRY, (4, 4))
    assert found is not None
    assert found.grid == 1


def test_a_winner_in_the_wrong_place_finds_nothing_and_a_small_object_has_its_best_cell():
    targets = targets_of([box(LEFT, 1), box(DOT, 2)], [1])
    winners = np.full((4, 4), 1)
    winners[0, 0] = 2
    found = several_objects(np.zeros(3), winners.ravel(), targets, GEOMETRY, (4, 4))
    assert found is not None
    assert found.grid == 1
    winners[0, 3] = 2  # the cell that holds most of the dot, of which it fills 6 of 100
    found = several_objects(np.zeros(3), winners.ravel(), targets, GEOMETRY, (4, 4))
    assert found is not None
    assert found.grid == 2


def test_one_kind_or_one_seen_are_not_several():
    winners = np.zeros(16, int)
    assert (
        several_objects(np.zeros(3), winners, targets_of([box(LEFT, 1), box(RIGHT, 1)], [1]), GEOMETRY, (4, 4)) is None
    )
    cropped = Geometry.plan((40, 120), (40, 40), "shortest")  # sees columns 40..80
    targets = targets_of([box(LEFT, 1), box((50.0, 0.0, 70.0, 40.0), 2)], [1])
    assert several_objects(np.zeros(3), winners, targets, cropped, (4, 4)) is None
