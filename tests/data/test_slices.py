"""Slices of a data set: which columns make some, what they hold, and why others make none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.data.slices import MISSING, Slices, columns_of, object_share, slices_of
from onnx_gapmil.data.unjudged import with_unjudged


def sliced(*values: str | None, column: str = "c") -> Slices:
    images = [() if value is None else ((column, value),) for value in values]
    return slices_of(images, [f"{place}.png" for place in range(len(images))])


def test_few_values_are_a_slice_each_and_the_missing_one_of_their_own() -> None:
    found = sliced("night", "day", None, "day", "night", "day")
    assert found.members == {"c": {"day": (1, 3, 5), "night": (0, 4), MISSING: (2,)}}
    assert (found.columns["c"].values, found.columns["c"].missing, found.columns["c"].left_out) == (2, 1, None)
    assert list(found.by_image(6))[2:4] == [{"c": MISSING}, {"c": "day"}]
    assert found.notes() == ()


def test_one_value_for_all_says_nothing_but_one_for_some_does() -> None:
    assert sliced("a", "a").members == {}
    assert sliced("a", "a").columns["c"].left_out == "all images have the same value."
    assert sliced("a", None).members == {"c": {"a": (0,), MISSING: (1,)}}
    assert sliced(None, None).columns == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([f"IMG_{place}.jpg" for place in range(20)], "20 values for 20 images"),
        ([f"{place:05d}" for place in range(20)], "20 values for 20 images"),  # leading zeros: names
        ([str(1000 + place * place) for place in range(40)], "a whole number of its own"),
        ([f"v{place % 101}" for place in range(1000)], "101 values for 1,000 images"),
    ],
)
def test_names_of_single_images_make_none_and_it_is_said(values: list[str], said: str) -> None:
    found = sliced(*values)
    assert found.members == {}
    assert said in (found.columns["c"].left_out or "")
    assert len(found.notes()) == 1
    assert said in found.notes()[0]


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=12, max_size=60, unique=True))
def test_numbers_are_cut_at_their_quartiles(numbers: list[float]) -> None:
    found = sliced(*(repr(number) for number in numbers))
    column = found.columns["c"]
    parts = found.members["c"]
    assert list(parts) == ["q1", "q2", "q3", "q4"]
    order = np.argsort(numbers)
    for quarter, name in enumerate(parts):
        own = [place for rank, place in enumerate(order) if int(4 * rank / len(numbers)) == quarter]
        assert sorted(parts[name]) == sorted(own)
        assert column.bins is not None
        assert column.bins[name] == (min(numbers[p] for p in own), max(numbers[p] for p in own))
    assert max(map(len, parts.values())) - min(map(len, parts.values())) <= 1


def test_equal_numbers_are_never_parted() -> None:
    found = sliced(*["1"] * 60, *["1.0"] * 15, *(str(place) for place in range(2, 27)))
    assert {name: len(places) for name, places in found.members["c"].items()} == {"q1": 75, "q4": 25}
    assert found.columns["c"].bins == {"q1": (1.0, 1.0), "q4": (2.0, 26.0)}
    assert [found.columns["c"].said(name) for name in ("q1", "q4", MISSING)] == ["1", "2 to 26", MISSING]


def test_few_numbers_stay_themselves_in_their_order() -> None:
    found = sliced("10", "9", "2", "10", "9", "2", "nan")
    assert found.members == {"c": {"2": (2, 5), "9": (1, 4), "10": (0, 3), MISSING: (6,)}}
    assert found.columns["c"].bins is None


def test_numbers_of_gaps_are_missing() -> None:
    values = [f"{place}.5" for place in range(20)] + ["NaN", None]
    found = sliced(*values)
    assert found.members["c"][MISSING] == (20, 21)
    assert (found.columns["c"].values, found.columns["c"].missing) == (20, 2)


@pytest.mark.parametrize("odd", ["inf", "1e999", "1_0", "0x10", "12 px", "٣"])
def test_a_text_among_numbers_makes_the_column_text(odd: str) -> None:
    found = sliced(*[f"{place}.5" for place in range(20)], odd)
    assert "21 values for 21 images" in (found.columns["c"].left_out or "")


def test_sizes_and_shapes_stand_in_their_order() -> None:
    images = [
        columns_of((), size, share) for size, share in (((9, 1), 0.5), ((1, 9), 0.1), ((5, 5), 0.09), ((5, 5), None))
    ]
    found = slices_of(images, "abcd")
    assert list(found.members["object_size"].items()) == [
        ("small", (2,)),
        ("medium", (1,)),
        ("large", (0,)),
        (MISSING, (3,)),
    ]
    assert list(found.members["aspect"]) == ["upright", "square", "wide"]


@pytest.mark.parametrize(
    ("size", "aspect"), [((89, 100), "upright"), ((90, 100), "square"), ((110, 100), "square"), ((111, 100), "wide")]
)
def test_a_photo_within_a_tenth_is_square(size: tuple[int, int], aspect: str) -> None:
    assert dict(columns_of((), size, None)) == {"aspect": aspect}


@pytest.mark.parametrize(("share", "size"), [(0.0999, "small"), (0.1, "medium"), (0.3999, "medium"), (0.4, "large")])
def test_sizes_of_objects(share: float, size: str) -> None:
    assert dict(columns_of((), (1, 1), share))["object_size"] == size


def test_a_column_of_the_data_keeps_its_name() -> None:
    found = dict(columns_of((("aspect", "mine"), ("light", "day")), (10, 10), 0.5))
    assert found == {"aspect": "mine", "light": "day", "object_size": "large"}


def test_the_largest_box_counts_cut_at_the_photo_and_a_mask_says_it_better() -> None:
    boxes = [(0.0, 0.0, 5.0, 5.0), (-10.0, 0.0, 8.0, 10.0)]
    assert object_share((10, 10), boxes) == pytest.approx(0.8)
    assert object_share((10, 10), boxes, 0.25) == 0.25
    assert object_share((10, 10), ()) is None


def test_the_digest_is_of_names_and_slices_whatever_the_order() -> None:
    images, names = [(("c", value),) for value in "abba"], ["1", "2", "3", "4"]
    first = slices_of(images, names).columns["c"].members_sha256
    assert first is not None
    assert slices_of(images[::-1], names[::-1]).columns["c"].members_sha256 == first
    assert slices_of(images[::-1], names).columns["c"].members_sha256 == first  # abba is its own mirror image
    assert slices_of([*images[:3], (("c", "b"),)], names).columns["c"].members_sha256 != first
    assert slices_of(images, ["1", "2", "3", "5"]).columns["c"].members_sha256 != first


def test_no_more_than_a_hundred_columns_make_slices() -> None:
    images = [tuple((f"c{column}", "ab"[place % 2]) for column in range(103)) for place in range(4)]
    found = slices_of(images, "abcd")
    assert len(found.members) == 100
    assert "100 columns before it" in (found.columns["c102"].left_out or "")


def test_values_of_which_no_image_was_judged_are_not_forgotten() -> None:
    """Every image of ``night`` failed: the two slices that are left are not all there are."""
    listed = ["day", "night", "dusk", None, "night", "day", "dusk"]
    found = with_unjudged(
        sliced("day", "dusk", "day", "dusk"), [() if value is None else (("c", value),) for value in listed]
    )
    assert found.columns["c"].unjudged == {"night": 2, MISSING: 1}
    assert found.members == sliced("day", "dusk", "day", "dusk").members
    assert with_unjudged(sliced("a", "a"), [(("c", "b"),)]).columns["c"].unjudged == {}  # makes no slices


def test_numbers_cut_at_their_quartiles_are_no_values_that_were_lost() -> None:
    numbers = [f"{place}.5" for place in range(12)]
    found = with_unjudged(sliced(*numbers), [(("c", text),) for text in [*numbers, "99.5", "nan", "high"]])
    assert found.columns["c"].unjudged == {MISSING: 1, "high": 1}


def test_slices_that_were_not_judged_are_named_to_ten() -> None:
    from onnx_gapmil.data.slices import SlicedColumn
    from onnx_gapmil.data.unjudged import unjudged_sentences

    lost = {"fog": 3, "night": 1}
    columns = {
        "light": SlicedColumn(4, 0, None, None, unjudged=lost),
        "camera": SlicedColumn(2, 0, None, None),
        "site": SlicedColumn(14, 0, None, None, unjudged=dict.fromkeys(map(str, range(12)), 2)),
    }
    light, site = unjudged_sentences(columns)
    assert light == (
        "By light: 2 slices were not judged, since all their images failed or have no label: fog (3 images), "
        "night (1 image)."
    )
    assert site.endswith("8 (2 images), 9 (2 images) and 2 more.")
