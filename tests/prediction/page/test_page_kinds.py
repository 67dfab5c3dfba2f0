"""Pages of every kind in a real Chromium: nothing that axe-core calls a violation, no harm by names, guesses said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.page.content import page_model, page_photo
from onnx_gapmil.prediction.page.page import render_page
from tests.helpers.report_pages import EVIL
from tests.helpers.support import text_model, weights
from tests.helpers.view_pages import DIGITS, KINDS, SCENES, Show, pixel_model, pixels, point, rendered

#: Turns what follows around, where it is not spelled out.
OVERRIDE = "\u202egnp.exe"


def violations(page: Page) -> list[Any]:
    """What axe-core finds, each rule with the first elements that break it."""
    found = Axe().run(page)
    return [
        (rule["id"], [(node["html"][:160], node["failureSummary"][:300]) for node in rule["nodes"][:3]])
        for rule in found.response["violations"]
    ]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_no_violation(show: Show, kind: str, width: int) -> None:
    shown = show(kind, "#rect=1,1,2,2&cut=50&smooth=1", viewport={"width": width, "height": 900})
    shown.page.locator("#standing summary").first.click()
    shown.page.locator("details.code summary").click()
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        shown.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert violations(shown.page) == [], scheme
    shown.page.locator("#kinds [data-value='winners']").click()
    expect(shown.page.locator(".winner").first).to_be_visible()
    assert violations(shown.page) == []
    assert shown.complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_is_wider_than_a_phone(show: Show, kind: str) -> None:
    page = show(kind, "#cut=50&map=winners", viewport={"width": 390, "height": 844}).page
    page.locator("#standing summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_hostile_names_stay_text(show: Show) -> None:
    """In class names, in file names and in what the metadata of the model say."""
    model = pixel_model(6, tail="Softmax<axis=1>", names=[EVIL, OVERRIDE, *(f"{EVIL} {k}" for k in range(4))])
    _, found = rendered(model, [pixels()])
    told = page_model(model)
    head = replace(
        told.heads[0], output=EVIL, note=EVIL, chain=tuple(replace(s, node=EVIL) for s in told.heads[0].chain)
    )
    evil = replace(told, name=EVIL, names_source=EVIL, guess=EVIL, warnings=(EVIL,), heads=(head,), arguments=(EVIL,))
    shown = show((render_page([evil], [page_photo(found, EVIL)]), found))
    point(shown, (3, 3))
    expect(shown.here.locator(".reading-title")).to_have_text("Cell in row 3, column 3")
    shown.page.locator("#find").fill("onerror")
    expect(shown.page.locator(".class-card")).to_have_count(5)
    assert shown.page.locator("script[src], img[src='x']").count() == 0
    assert "\u202e" not in shown.page.content()
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith("data:")] == [shown.page.url]


def test_a_guess_is_loud(show: Show) -> None:
    model = Classifier(onnx.load(DIGITS))  # by itself, without the files beside it
    assert model.preprocess.assumed
    shown = show(rendered(model, [SCENES[0]]))
    expect(shown.page.locator(".guess")).to_be_visible()
    expect(shown.page.locator(".guess")).to_contain_text("Preprocessing guessed")
    expect(shown.page.locator(".line b")).to_contain_text("preprocessing guessed")


def test_of_a_head_whose_cells_have_no_known_place_nothing_is_drawn(show: Show) -> None:
    """Six positions in an order that nobody knows: gathered by an index, from a 2 x 3 map."""
    body = (
        "r = Reshape(x, flat)  g = Gather<axis=2>(r, order)  p = ReduceMean<keepdims=0>(g, last)  "
        "y = Gemm<transB=1>(p, w, b)"
    )
    order = np.array([3, 0, 5, 1, 4, 2])
    init = {"w": weights(4, 3), "b": weights(4), "flat": np.array([0, 3, 6]), "order": order, "last": np.array([2])}
    model = text_model(body, x="float[N,3,2,3] x", y="float[N,4] y", init=init, opset=18)
    plain = Preprocess("NCHW", "RGB", (2, 3), "squash", 1.0, "nearest", 1.0, (0.0,) * 3, (1.0,) * 3, "float32")
    classifier = Classifier(model, preprocess=plain)
    if classifier.head.arranged:
        classifier = _unplaced(classifier)
    shown = show(rendered(classifier, [np.full((2, 3, 3), 9, np.uint8)]))
    expect(shown.page.locator(".photo-note")).to_contain_text("Where the cells of this head look is not known")
    expect(shown.page.locator("#kinds")).to_be_hidden()
    expect(shown.stage.locator("canvas")).to_be_hidden()
    expect(shown.whole.locator(".ranking li:not([hidden])")).to_have_count(4)
    assert shown.complaints == []


def _unplaced(model: Classifier) -> Classifier:
    """The same with places that are not known, as a failed proof of them leaves it."""
    from onnx_gapmil.images.places import Places

    records = tuple(head.with_places(Places.unknown("stripes contradict them")) for head in model.heads)
    model.heads = records
    model._records = records
    return model


def test_of_several_heads_each_can_be_chosen(show: Show) -> None:
    body = "f = GlobalAveragePool(x)  q = Flatten(f)  y = Gemm<transB=1>(q, w, b)  z = Gemm<transB=1>(q, v, c)"
    init = {"w": weights(4, 3), "b": weights(4), "v": weights(7, 3, seed=5), "c": weights(7, seed=5)}
    model = text_model(body, x="float[N,3,5,5] x", y="float[N,4] y, float[N,7] z", init=init)
    plain = Preprocess("NCHW", "RGB", (5, 5), "squash", 1.0, "nearest", 1.0, (0.0,) * 3, (1.0,) * 3, "float32")
    shown = show(rendered(Classifier(model, preprocess=plain), [pixels(5)]))
    expect(shown.page.locator("#listed-count")).to_have_text("4 of 4 classes")
    shown.page.select_option("#head", "z")
    expect(shown.page.locator("#listed-count")).to_have_text("7 of 7 classes")
    head = shown.found[0].heads[1]
    best = int(np.argmax(head.logits))
    expect(shown.whole.locator(".name").first).to_have_text(f"class {best}")
    expect(shown.page.locator("#code")).to_contain_text("found.heads[1].logits")


def test_names_of_the_other_direction_are_isolated(show: Show) -> None:
    shown = show("arabic")
    names = KINDS["arabic"]()[0].names.names
    assert names is not None
    loose = shown.page.evaluate(
        """names => {
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            const found = [];
            while (walker.nextNode()) {
                const node = walker.currentNode;
                if (!node.parentElement.closest('bdi, script') && names.some(name => node.data.includes(name))) {
                    found.push(node.data);
                }
            }
            return found;
        }""",
        list(names),
    )
    assert loose == []
