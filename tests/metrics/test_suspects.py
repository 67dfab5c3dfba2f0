"""Suspect labels against the definition, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.metrics import ImageMeasures, measure_image
from onnx_gapmil.metrics.foreground import Recovery
from onnx_gapmil.metrics.suspects import FEW, suspect_images


def image(label: int, answer: int, *, sure: float, own: float, cells: int = 0) -> ImageMeasures:
    return ImageMeasures(
        labels=(label,),
        prediction=answer,
        right=label == answer,
        ranks=(0 if label == answer else 1,),
        confidence=sure,
        nll=None,
        brier=None,
        label_probability=own,
        label_cells=cells,
    )


#: Class 1 is known with 0.6 in the mean.
KNOWN = [image(1, 1, sure=own, own=own, cells=9) for own in (0.5, 0.7, 0.6, 0.6, 0.6)]


def test_an_answer_that_reaches_its_class_threshold_is_sure() -> None:
    found = suspect_images([*KNOWN, image(0, 1, sure=0.6, own=0.1), image(0, 1, sure=0.599, own=0.0)])
    assert found == (5,)


def test_a_label_that_wins_a_cell_anywhere_is_not_suspect() -> None:
    assert suspect_images([*KNOWN, image(0, 1, sure=0.99, own=0.0, cells=1)]) == ()


def test_where_the_object_is_known_its_cells_decide() -> None:
    """A label that wins noise beside the object is suspect; one that wins a cell on it is not."""
    beside = replace(image(0, 1, sure=0.9, own=0.0, cells=3), foreground=Recovery(False, True, False, True, 0.0, 0.1))
    on = replace(beside, foreground=Recovery(True, True, False, True, 0.2, 0.0))
    assert suspect_images([*KNOWN, beside, on]) == (5,)


def test_a_class_of_few_images_has_the_threshold_of_all() -> None:
    """Class 2 labels one image fewer than it takes; in the mean over all images the model gives labels 0.5."""
    few = [image(2, 2, sure=0.1, own=0.1, cells=9)] * (FEW - 1)
    others = [image(3, 3, sure=own, own=own, cells=9) for own in (0.9,) * 4]
    tried = image(0, 2, sure=0.45, own=0.5)
    images = [*few, *others, tried]
    mean = np.mean([each.label_probability for each in images])
    assert 0.45 < mean < 0.51
    assert suspect_images(images) == ()
    assert suspect_images([*images[:-1], replace(tried, confidence=0.51)]) == (8,)
    enough = [*few, image(2, 2, sure=0.1, own=0.1, cells=9), *others, tried]
    assert suspect_images(enough) == (9,)  # now its own threshold is 0.1


def test_the_plainest_come_first() -> None:
    some = [image(0, 1, sure=0.7, own=0.1), image(0, 1, sure=0.9, own=0.4), image(0, 1, sure=0.95, own=0.0)]
    assert suspect_images([*KNOWN, *some]) == (7, 5, 6)


def test_what_was_not_measured_is_not_said() -> None:
    assert suspect_images([*KNOWN, replace(KNOWN[0], label_cells=None)]) is None


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_real_measures_against_the_definition_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    geometry = Geometry.plan((40, 40), (32, 32), "squash")
    images, grids = [], []
    for _ in range(24):
        label = int(rng.integers(3))
        grid = rng.normal(size=(3, 2, 2)) * 0.5
        grid[int(rng.integers(3)) if rng.random() < 0.4 else label] += 2.0
        grids.append((grid, label))
        images.append(measure_image(grid.mean(axis=(1, 2)), grid, labels=[label], geometry=geometry))
    chances = []
    for grid, label in grids:
        logits = [float(grid[k].mean()) for k in range(3)]
        total = sum(np.exp(value) for value in logits)
        chances.append(([float(np.exp(value) / total) for value in logits], label))
    everyone = sum(p[label] for p, label in chances) / len(chances)
    expected = []
    for place, ((grid, label), (p, _)) in enumerate(zip(grids, chances, strict=True)):
        answer = max(range(3), key=lambda k: p[k])
        of_class = [q[own] for q, own in chances if own == answer]
        threshold = sum(of_class) / len(of_class) if len(of_class) >= 5 else everyone
        wins = any(max(range(3), key=lambda k: grid[k, i, j]) == label for i in range(2) for j in range(2))
        if answer != label and not wins and p[answer] >= threshold:
            expected.append((p[label] - p[answer], place))
    assert suspect_images(images) == tuple(place for _, place in sorted(expected))
    for found, (p, label) in zip(images, chances, strict=True):
        assert found.label_probability == pytest.approx(p[label])


def test_several_labels_share_their_probability_and_cells() -> None:
    grid = np.zeros((3, 1, 3))
    grid[0, 0, 0], grid[2, 0, 1], grid[1, 0, 2] = 1.0, 1.0, 4.0
    found = measure_image(grid.mean(axis=(1, 2)), grid, labels=[0, 2], geometry=Geometry.plan((9, 9), (9, 9), "squash"))
    chances = np.exp(grid.mean(axis=(1, 2))) / np.exp(grid.mean(axis=(1, 2))).sum()
    assert found.label_probability == pytest.approx(chances[0] + chances[2])
    assert found.label_cells == 2
