"""What the benchmark of class tokens counts, on maps whose worth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.class_tokens import Measured, boxes, difference, pointing


@dataclass(frozen=True)
class Item:
    label: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    objects: tuple[Item, ...]


SCENES = [Scene((Item(0, (0, 0, 24, 24)), Item(1, (48, 48, 96, 96)))), Scene((Item(1, (0, 72, 24, 96)),))]


def maps_of(cells: list[list[tuple[int, int]]]) -> np.ndarray:
    """Two classes on 4x4 cells of 24 pixels; each class's only cell of each scene."""
    maps = np.zeros((len(cells), 2, 4, 4))
    for place, scene in enumerate(cells):
        for label, (row, column) in enumerate(scene):
            maps[place, label, row, column] = 1
    return maps


def test_pointing_counts_the_digits_whose_best_cell_lies_in_their_box() -> None:
    hits, chance = pointing(maps_of([[(0, 0), (3, 3)], [(1, 1), (3, 1)]]), SCENES)
    assert hits.tolist() == [2, 0]
    assert chance == np.mean([1 / 16, 4 / 16, 1 / 16])


def test_boxes_are_those_of_the_largest_part_at_the_best_threshold() -> None:
    counts = boxes(maps_of([[(0, 0), (3, 3)], [(1, 1), (3, 0)]]), SCENES)
    # A peak in a corner cell is drawn down to nothing at the next cell's centre, 36 pixels from the edge: at one
    # threshold it is 24 pixels wide, as two of the boxes are. The third is 48 pixels wide, (36 / 48)^2 = 0.56 at most,
    # and not at that threshold: there are two of the first scene for an IoU of 0.3 alone.
    assert counts.max(axis=2).tolist() == [[2, 1, 1], [1, 1, 1]]


def test_a_difference_has_the_sign_and_the_interval_of_the_second_against_the_first() -> None:
    rng = np.random.default_rng(0)
    digits, faithful = np.full(200, 2), rng.standard_normal((50, 3))
    hits = rng.integers(0, 2, 200)
    counts = rng.integers(0, 2, (200, 3, 34)).astype(float)
    one, other = Measured(digits, hits, counts, faithful), Measured(digits, hits + 1, counts, faithful + 0.25)
    said = difference(one, other)
    assert said[:2] == ["+50.0 [+50.0, +50.0]", "+0.0 [+0.0, +0.0]"]
    assert said[2:] == ["+0.250 [+0.250, +0.250]"] * 3
    assert difference(one, one)[0] == "+0.0 [+0.0, +0.0]"
    # Draws of scenes, and not of digits by themselves: the interval is that of the mean over scenes.
    apart = Measured(digits, 2 * rng.integers(0, 2, 200), counts, faithful)
    low, high = (
        float(part.strip("+[],"))
        for part in difference(Measured(digits, 0 * hits, counts, faithful), apart)[0].split()[1:]
    )
    spread = 100 * 1.96 * (apart.hits / 2).std() / np.sqrt(200)
    assert abs((high - low) / 2 - spread) < 0.7
