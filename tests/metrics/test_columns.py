"""Measures in columns take what was said of them, and some of them are those of their images alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnx_gapmil.files import columns
from onnx_gapmil.metrics.columns import ImageNumbers, MeasuredImages, MeasuresBuilder
from tests.metrics.test_summary import RECORDS


def test_each_image_has_its_numbers() -> None:
    found = MeasuredImages.of(RECORDS)
    assert MeasuredImages.of(found) is found
    assert found.images["confidence"].tolist() == [image.confidence for image in RECORDS]
    assert found.images.rank.tolist() == [min(image.ranks) for image in RECORDS]
    assert found.images.ranks.dtype.itemsize < found.images.rank.dtype.itemsize == 4
    assert found.objects.tolist() == [len(image.localization or ()) for image in RECORDS]
    known = [image.foreground.cell_share if image.foreground is not None else np.nan for image in RECORDS]
    assert np.array_equal(found.images["foreground.cell_share"], known, equal_nan=True)
    own = [(image.several.objects, image.several.grid) for image in RECORDS if image.several is not None]
    assert (found.several["images"], found.several["objects"]) == (len(own), sum(objects for objects, _ in own))


def test_labels_lie_one_behind_the_other() -> None:
    numbers = ImageNumbers(
        MeasuredImages.of(RECORDS[:3]).images.numbers,
        np.array([5, 1, 2, 9, 7]),
        np.array([3, 0, 8, 6, 4]),
        np.array([2, 1, 2]),
    )
    assert numbers.rank.tolist() == [0, 8, 4]
    assert numbers.by_label(np.array([10, 20, 30])).tolist() == [10, 10, 20, 30, 30]
    some = numbers.among([2, 0])
    assert (some.labels.tolist(), some.ranks.tolist(), some.rank.tolist()) == ([9, 7, 5, 1], [6, 4, 3, 0], [4, 0])
    assert numbers.among(np.array([False, True, False])).labels.tolist() == [2]
    assert len(numbers.among([]).rank) == 0


def test_an_image_without_a_label_has_no_rank() -> None:
    numbers = MeasuredImages.of(RECORDS[:1]).images
    empty = ImageNumbers(numbers.numbers, np.array([], int), np.array([], int), np.array([0]))
    with pytest.raises(ValueError, match="no rank"):
        _ = empty.rank


def test_an_image_takes_some_hundred_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_PART", 50)
    builder, times = MeasuresBuilder(), 15
    for image in RECORDS:  # what is imported and made once
        builder.add(image)
    tracemalloc.start()
    for _ in range(times):
        for image in RECORDS:
            builder.add(image)
    taken = tracemalloc.get_traced_memory()[0] / (times * len(RECORDS))
    tracemalloc.stop()
    objects = np.mean([len(image.localization or ()) for image in RECORDS])
    assert taken < 160 + 60 * objects


def test_images_of_one_label_are_known_by_it() -> None:
    numbers = MeasuredImages.of(RECORDS).images
    labels, places = numbers.of_one_label()
    alone = [(image.labels[0], place) for place, image in enumerate(RECORDS) if len(image.labels) == 1]
    assert list(zip(labels.tolist(), places.tolist(), strict=True)) == alone
