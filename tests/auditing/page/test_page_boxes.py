"""Boxes that the page cuts from a map, beside those of the program, which are OpenCV's."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from onnx_gapmil.auditing.page import Report
from onnx_gapmil.metrics.boxes import THRESHOLDS, intersection_over_union
from onnx_gapmil.metrics.scoremap import score_map
from tests.helpers.report_pages import Open, decode
from tests.references.naive_measures import boxes_above

SCRIPT = resources.files("onnx_gapmil.show.html").joinpath("assets", "boxes.js").read_text("utf-8")


@pytest.fixture
def page(open_report: Open, digits: Report) -> Page:
    """A blank page with the script of the boxes."""
    page = open_report(digits).page
    page.goto("about:blank")
    page.evaluate(f"() => {{ {SCRIPT}; Object.assign(window, {{scoreMap, contourBoxes, overlapOf}}); }}")
    return page


def program(plane: np.ndarray) -> list[set[tuple[int, ...]]]:
    """By threshold, the boxes as they are published; none where nothing is left."""
    return [set(boxes_above(score_map(plane), share)) for share in THRESHOLDS]


def cut(page: Page, plane: np.ndarray) -> list[set[tuple[int, ...]]]:
    """The same by the page."""
    found = page.evaluate(
        """([plane, rows, columns]) => {
            const map = scoreMap(plane, rows, columns);
            return Array.from({length: 100}, (_, place) => contourBoxes(map, place / 100));
        }""",
        [plane.ravel().tolist(), *plane.shape],
    )
    return [{tuple(box) for box in boxes} for boxes in found]


@pytest.mark.parametrize("shape", [(7, 7), (12, 12), (3, 8), (1, 5), (14, 9), (56, 56)])
def test_boxes_are_those_of_the_program(page: Page, shape: tuple[int, int]) -> None:
    """Float32 sums in another order may put a pixel on the other side of a threshold: one in fifty may differ by it."""
    plane = np.random.default_rng(shape[0]).normal(0, 3, shape)
    ours, theirs = cut(page, plane), program(plane)
    same = sum(one == other for one, other in zip(ours, theirs, strict=True))
    assert same >= 98, [(place, a ^ b) for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b][:3]


def test_a_ring_has_a_box_outside_and_one_inside(page: Page) -> None:
    plane = np.zeros((7, 7))
    plane[1:6, 1:6] = 1.0
    plane[3, 3] = 0.0
    ours, theirs = cut(page, plane), program(plane)
    assert ours == theirs
    assert len(theirs[60]) == 2


def test_a_flat_map_has_no_box(page: Page) -> None:
    assert cut(page, np.full((7, 7), 2.0)) == [set()] * 100


def test_overlap_is_the_programs(page: Page) -> None:
    boxes = np.random.default_rng(0).integers(0, 224, (40, 4))
    boxes = np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    found = page.evaluate("boxes => boxes.map(one => boxes.map(other => overlapOf(one, other)))", boxes.tolist())
    np.testing.assert_allclose(found, intersection_over_union(boxes, boxes), atol=1e-12)


def test_the_slider_shows_the_boxes_of_the_map_at_its_threshold(open_report: Open, digits: Report) -> None:
    """In real maps, as the gallery holds them; the larger view says how well the best one fits."""
    opened = open_report(digits)
    page, image = opened.page, opened.images[0]
    logits, _ = decode(image.maps)
    slot = image.maps.classes.index(image.labels[0])
    expected = program(logits[slot].reshape(image.maps.grid))
    page.locator("#gallery").scroll_into_view_if_needed()
    slider = page.locator("#gallery-bar input[type=range]")
    assert digits.summary.localization is not None
    assert int(slider.input_value()) == round(100 * digits.summary.localization.grid.threshold)
    path = page.locator(".card[data-image='0'] .over .found:not(.under)")
    assert path.get_attribute("d") == ""
    for threshold in (20, 50, 80):
        slider.fill(str(threshold))
        expect(page.locator("#gallery-bar output")).to_have_text(f"{threshold / 100:.2f}")
        assert (path.get_attribute("d") or "").count("M") == len(expected[threshold])
    page.locator(".card[data-image='0'] .larger").click()
    expect(page.locator("dialog .overlap")).to_contain_text(f"{len(expected[80])} box")
    expect(page.locator("dialog .overlap")).to_contain_text("(intersection over union)")
    page.locator("dialog #cut").fill("50")
    expect(page.locator("#gallery-bar output")).to_have_text("0.50")  # one threshold for all
    assert json.loads(page.evaluate("JSON.stringify(document.querySelector('.cutter input').checked)"))
