"""The figures of slices: the whole's figures of their images, under the same names, and together the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnx_gapmil.files.serial import to_json
from onnx_gapmil.metrics import summarise
from onnx_gapmil.metrics.by_slice import figures_by_slice
from onnx_gapmil.metrics.figures import SliceFigures
from onnx_gapmil.metrics.intervals import wilson
from onnx_gapmil.metrics.means import Means
from onnx_gapmil.metrics.summary import measured_boxes
from onnx_gapmil.metrics.suspects import suspect_images
from tests.metrics.test_summary import RECORDS, SUMMARY, records

MEMBERS = {
    "light": {"day": tuple(range(0, 40, 3)), "night": tuple(place for place in range(40) if place % 3)},
    "one": {"first": (0,), "(missing)": tuple(range(1, 40))},
}
FOUND = figures_by_slice(RECORDS, MEMBERS, measured_boxes(RECORDS)[1], suspect_images(RECORDS))


def at(content: object, path: str) -> object:
    for key in path.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content


@pytest.mark.parametrize("value", ["day", "night"])
def test_a_slice_has_the_figures_of_its_images_alone(value: str) -> None:
    part = to_json(FOUND["light"][value])
    alone = to_json(summarise([RECORDS[place] for place in MEMBERS["light"][value]]))
    del alone["intervals"], alone["counts"]
    for key in ("top1", "top5", "foreground", "recoverable", "error_causes", "background_reliance", "background"):
        assert part[key] == alone[key]
    for key in ("pointing_game", "pointing_game_centre", "pointing_game_excess"):
        assert part[key] == alone[key]
    assert part["calibration"] == {key: alone["calibration"][key] for key in ("ece", "confidence")}
    assert part["images"] == len(MEMBERS["light"][value])


def test_boxes_keep_the_thresholds_of_the_whole_so_that_slices_add_up() -> None:
    parts = FOUND["light"].values()
    objects = [part.localization.objects for part in parts]
    assert sum(objects) == SUMMARY.localization.objects
    for key in ("maxboxacc_v2", "maxboxacc_v1", "top1_localization"):
        total = sum(getattr(part, key) * count for part, count in zip(parts, objects, strict=True))
        assert total / sum(objects) == pytest.approx(getattr(SUMMARY, key))
    for name in ("one_box", "top1"):
        own = [getattr(part.localization, name) for part in parts]
        whole = getattr(SUMMARY.localization, name)
        total = sum(each.centre_box.share * count for each, count in zip(own, objects, strict=True))
        assert total / sum(objects) == pytest.approx(whole.centre_box.share)
        total = sum(each.excess * count for each, count in zip(own, objects, strict=True))
        assert total / sum(objects) == pytest.approx(whole.excess)


def test_each_figure_stands_where_it_does_in_the_whole() -> None:
    """A rule's path means the same in both; and where there is an interval there is a count."""
    whole, part = to_json(SUMMARY), to_json(FOUND["light"]["day"])
    for path in part["intervals"]:
        if not path.startswith(("error_causes", "suspect_labels")):
            assert isinstance(at(whole, path), float), path
            assert isinstance(at(part, path), float), path
            low, high = part["intervals"][path]
            assert low - 1e-12 <= at(part, path) <= high + 1e-12
        assert part["counts"][path] >= 1
    assert set(part["intervals"]) <= set(part["counts"])
    assert set(part["intervals"]) - {"suspect_labels.share"} <= set(whole["intervals"])


def test_suspects_are_those_of_the_whole() -> None:
    suspects = suspect_images(RECORDS)
    assert suspects is not None
    for value, places in MEMBERS["light"].items():
        count = FOUND["light"][value].suspect_labels
        assert (count.images, count.of) == (len(set(suspects) & set(places)), len(places))


def test_a_slice_of_one_image_claims_no_certainty() -> None:
    part = FOUND["one"]["first"]
    assert part.images == 1
    assert part.intervals["top1"] == wilson(round(part.top1), 1)
    assert "background_reliance" not in part.intervals  # one share of evidence says nothing of the next
    assert part.counts["background_reliance"] == 1
    json.dumps(to_json(part), allow_nan=False)


def test_what_no_object_was_measured_for_is_none() -> None:
    plain = records(boxes=False)
    part = figures_by_slice(plain, {"c": {"v": range(20)}}, measured_boxes(plain)[1], None)["c"]["v"]
    assert isinstance(part, SliceFigures)
    nothing = ("foreground", "error_causes", "background", "pointing_game", "maxboxacc_v1", "localization")
    assert [getattr(part, key) for key in nothing] == [None] * 6
    assert (part.suspect_labels.of, part.suspect_labels.share) == (0, None)


def test_objects_of_images_with_several_go_with_their_image() -> None:
    images = records(12)
    counts = [len(image.localization or ()) for image in images]
    outcomes = measured_boxes(images)[1]
    assert outcomes is not None
    found = figures_by_slice(images, {"c": {"v": (8, 9)}}, outcomes, None)["c"]["v"]
    start = sum(counts[:8])
    assert found.maxboxacc_v2 == pytest.approx(np.mean(outcomes.v2[start : start + counts[8] + counts[9]]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0] * 9, (-wilson(0, 9)[1], wilson(0, 9)[1])), ([1.0] * 9, (1 - wilson(0, 9)[1], 1.0)), ([-1.0], (-1.0, None))],
)
def test_equal_differences_have_room_to_both_sides(values: list[float], expected: tuple[float, float | None]) -> None:
    means = Means()
    assert means.difference("d", values) == values[0]
    low, high = means.intervals["d"]
    assert low == pytest.approx(expected[0])
    assert high == pytest.approx(expected[1] if expected[1] is not None else -1 + wilson(0, 1)[1])
