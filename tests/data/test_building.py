"""What is checked of a whole data set, whatever it was read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil.data.building import all_labels, build
from onnx_gapmil.data.types import DataSet, RawBox, RawSample
from onnx_gapmil.errors import DataError


@pytest.fixture
def made(tmp_path: Path, photo: Any) -> Any:
    """`made(samples...)` builds a set of images of 40 x 30 (width x height) that are all there."""

    def of(*samples: RawSample, there: bool = True, **options: Any) -> DataSet:
        for sample in samples:
            if there and not sample.image.exists():
                photo(sample.image.relative_to(tmp_path))
        placed = [(sample, f"line {place}") for place, sample in enumerate(samples, 1)]
        return build(placed, kind="csv", root=tmp_path, what="A list", **options)

    return of


@pytest.fixture
def sample(tmp_path: Path) -> Any:
    """`sample("a.png", "cat", box=...)`."""

    def of(name: str, *labels: Any, boxes: tuple[RawBox, ...] = (), called: str = "") -> RawSample:
        return RawSample(tmp_path / name, called or name, labels, boxes)

    return of


def told(made: Any, *samples: RawSample, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        made(*samples, **options)
    return str(caught.value)


def test_the_sentence_counts_what_there_is(made: Any, sample: Any) -> None:
    boxes = (RawBox((0, 0, 9, 9), ("cat",)), RawBox((1, 1, 8, 8), ("dog",)))
    assert made(sample("a.png", "cat", boxes=boxes)).source == "A list: 1 image, 2 labels, 2 boxes."
    assert made(sample("a.png", "cat"), sample("b.png", "cat")).source == "A list: 2 images, 1 label."
    assert told(made) == "A list: no labelled image was found."


def test_names_are_sorted_and_numbers_have_none(made: Any, sample: Any) -> None:
    assert made(sample("a.png", "dog"), sample("b.png", "cat")).class_names == ("cat", "dog")
    assert made(sample("a.png", 7), sample("b.png", 3)).class_names is None
    assert made(sample("a.png", 7), class_names=["x", "y"]).class_names == ("x", "y")


def test_decimal_texts_become_numbers_only_where_all_are(made: Any, sample: Any) -> None:
    box = RawBox((0, 0, 9, 9), ("12",))
    numbers = made(sample("a.png", "7", "7.0", boxes=(box,)), sample("b.png", 3))
    assert [found.labels for found in numbers.samples] == [(7,), (3,)]
    assert numbers.samples[0].boxes[0].label == (12,)
    mixed = made(sample("a.png", "7"), sample("b.png", "cat"))
    assert [found.labels for found in mixed.samples] == [("7",), ("cat",)]


def test_an_image_may_be_listed_once(made: Any, sample: Any) -> None:
    said = told(made, sample("a.png", "cat"), sample("b.png", "cat"), sample("a.png", "dog"))
    assert said.startswith("line 3: a.png was listed before (line 1)")


def test_missing_images_are_noted_and_a_set_of_them_is_an_error(made: Any, sample: Any, tmp_path: Path) -> None:
    made(sample("a.png", "cat"))
    some = made(sample("a.png", "cat"), sample("gone.png", "cat"), there=False)
    assert some.notes == ("1 of 2 images is not there and will fail: gone.png.",)
    said = told(made, sample("gone.png", "cat"), there=False)
    assert f"none of the 1 image named there exists; the first was expected at {tmp_path / 'gone.png'}" in said


def test_two_images_of_one_name_are_told_apart_by_their_path(made: Any, sample: Any, tmp_path: Path) -> None:
    found = made(sample("one/a.png", "cat", called="a.png"), sample("two/a.png", "cat", called="a.png"))
    assert [entry.name for entry in found.samples] == ["a.png", (tmp_path / "two/a.png").as_posix()]


def test_boxes_in_fractions_are_a_mistake_of_the_whole_set(made: Any, sample: Any) -> None:
    fractions = sample("a.png", "cat", boxes=(RawBox((0.1, 0.1, 0.9, 1.0)),))
    assert "they look like fractions; pixels are needed" in told(made, fractions)
    pixels = sample("b.png", "cat", boxes=(RawBox((0, 0, 9, 9)),))
    assert made(fractions, pixels).notes == ()


def test_boxes_of_another_size_are_an_error_where_all_lie_outside_and_a_note_where_most_do(
    made: Any, sample: Any
) -> None:
    outside, inside = RawBox((10, 10, 400, 300)), RawBox((1, 1, 40, 30))
    assert "and no box does" in told(made, *(sample(f"{name}.png", "cat", boxes=(outside,)) for name in "abc"))
    samples = [sample(f"{name}.png", "cat", boxes=(outside,)) for name in "ab"]
    (note,) = made(*samples, sample("c.png", "cat", boxes=(inside,))).notes
    assert note.startswith("2 of the first 3 images with boxes have one that does not lie inside (a.png: ")
    few = made(samples[0], *(sample(f"{name}.png", "cat", boxes=(inside,)) for name in "cd"))
    assert few.notes == (), "a single bad box fails with its image"


def test_all_labels_come_in_order_of_appearance(sample: Any) -> None:
    first = sample("a.png", "dog", boxes=(RawBox((0, 0, 1, 1), ("eye", "dog")),))
    assert list(all_labels([first, sample("b.png", "cat", "eye")])) == ["dog", "eye", "cat"]
