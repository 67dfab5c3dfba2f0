"""Labels as truths of logits, and what is no data to fit by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil.aggregate.reading import ONE_OF_MANY, Reading
from onnx_gapmil.data import Sample
from onnx_gapmil.errors import DataError
from onnx_gapmil.validation.refitting.images import FitImages, fit_images


def samples(labels: list[tuple[int, ...]], **columns: list[str]) -> list[Sample]:
    """Images that are not there, each a group of its own."""
    found = []
    for place, own in enumerate(labels):
        named = tuple((name, of[place]) for name, of in columns.items())
        found.append(Sample(Path(f"{place}.png"), f"{place}.png", own, columns=named))
    return found


def split(labels: list[tuple[int, ...]], reading: Reading, classes: int, **columns: list[str]) -> FitImages:
    return fit_images(samples(labels, **columns), reading, classes, None, 0)


def test_of_one_logit_the_label_is_the_class_that_it_is_for() -> None:
    found = split([(0,), (1,), (1,)] * 10, Reading.of("sigmoid", 1), 1)
    assert found.likelihood.truth.tolist() == [[False], [True], [True]] * 10
    assert found.likelihood.alone
    found.require_enough()
    with pytest.raises(DataError, match="every class labels all images or none"):
        split([(1,)] * 30, Reading.of("sigmoid", 1), 1).require_enough()


def test_several_labels_and_none() -> None:
    found = split([(0, 2), (), (2,)] * 10, Reading("multi-label", "sigmoid"), 4)
    assert found.likelihood.truth[:3].tolist() == [
        [True, False, True, False], [False] * 4, [False, False, True, False],
    ]  # fmt: skip
    assert found.likelihood.judged.tolist() == [True, False, True, False]


def test_a_column_called_group_groups_by_itself() -> None:
    groups = [str(place // 3) for place in range(90)]
    found = split([(place % 2,) for place in range(90)], ONE_OF_MANY, 2, group=groups)
    assert found.column == "group"
    assert len(np.unique(found.groups)) == 30
    for group in range(30):
        assert len(set(found.held_out[found.groups == group].tolist())) == 1
    assert split([(place % 2,) for place in range(90)], ONE_OF_MANY, 2, lens=groups).column == ""


def test_each_half_needs_two_classes() -> None:
    with pytest.raises(DataError, match=r"are all of one class"):
        split([(0,)] * 40, ONE_OF_MANY, 3).require_enough()
    split([(0,), (1,)] * 20, ONE_OF_MANY, 3).require_enough()
