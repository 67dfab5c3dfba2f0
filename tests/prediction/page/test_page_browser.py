"""The page in a real Chromium: what a reader does with it, and what it then shows, beside the library's numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from onnx_gapmil.aggregate.aggregator import AGGREGATORS, parse_aggregator
from onnx_gapmil.metrics.boxes import THRESHOLDS
from onnx_gapmil.metrics.scoremap import score_map
from onnx_gapmil.show.drawing.palette import CATEGORICAL, OTHER, diverging, opacity, sequential
from tests.helpers.view_pages import (
    Show,
    Shown,
    canvas,
    drag,
    drawn,
    expect_ranking,
    number,
    point,
    ranking,
    set_slider,
)
from tests.references.naive_measures import boxes_above

#: By how much the page's 16 bits a cell move the logits of these models at the most.
ROUNDING = 0.001


def cell_title(row: int, column: int) -> str:
    return f"Cell in row {row}, column {column}"


def state(shown: Shown) -> dict[str, str]:
    """What the address says, once it is written."""
    parts = shown.page.evaluate("location.hash.slice(1)").split("&")
    return dict(part.split("=") for part in parts if "=" in part)


def expect_state(shown: Shown, text: str) -> None:
    expect(shown.page).to_have_url(re.compile(f"#.*{re.escape(text)}(&|$)"))
    drawn(shown.page)


@pytest.mark.parametrize("kind", ["digits", "thousand", "sigmoids", "one-logit", "class-token"])
def test_it_loads_without_complaints_and_without_requests(show: Show, kind: str) -> None:
    shown = show(kind)
    expect(shown.stage.locator("img")).to_be_visible()
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith("data:")] == [shown.page.url]


@pytest.mark.parametrize("kind", ["digits", "thousand", "sigmoids", "one-logit", "chinese"])
def test_pointing_at_a_cell_shows_its_five_best_classes(show: Show, kind: str) -> None:
    shown = show(kind)
    rows, columns = shown.grid.shape[1:]
    for cell in ((0, 0), (rows // 2, columns // 3), (rows - 2, columns - 2)):
        point(shown, cell)
        expect(shown.here.locator(".reading-title")).to_have_text(cell_title(*cell))
        expect_ranking(shown.here, shown.found[0], shown.grid[:, cell[0], cell[1]], within=ROUNDING)
    shown.page.mouse.move(2, 2)
    expect(shown.here.locator(".reading-title")).to_have_text("Here")


@pytest.mark.parametrize("kind", ["digits", "thousand", "sigmoids", "one-logit"])
def test_the_whole_image_is_the_library_s(show: Show, kind: str) -> None:
    shown = show(kind)
    expect_ranking(shown.whole, shown.found[0], np.asarray(shown.found[0].logits, np.float64), within=0)
    head = shown.found[0].heads[0]
    if head.reading.activation != "none":
        texts = shown.whole.locator(".ranking li:not([hidden]) .score").all_text_contents()
        scores = [float(text.removesuffix("\u00a0%").removeprefix("<")) / 100 for text in texts]
        np.testing.assert_allclose(scores, [entry.score for entry in head.top[: len(scores)]], atol=0.00051)


def test_a_cell_says_its_share_of_all_classes(show: Show) -> None:
    shown = show("thousand")
    point(shown, (4, 5))
    expect(shown.here.locator(".reading-title")).to_have_text(cell_title(4, 5))
    scores = shown.found[0].heads[0].scores(shown.grid[:, 4, 5])
    texts = shown.here.locator(".score").all_text_contents()
    seen = [float(text.removesuffix("\u00a0%").removeprefix("<")) / 100 for text in texts]
    np.testing.assert_allclose(seen, np.sort(scores)[::-1][:5], atol=0.002)


def test_a_click_keeps_a_cell_and_another_click_lets_it_go(show: Show) -> None:
    shown = show("digits")
    point(shown, (3, 4), click=True)
    expect_state(shown, "cell=3%2C4")
    shown.page.mouse.move(2, 2)
    expect(shown.here.locator(".reading-title")).to_have_text(cell_title(3, 4))
    point(shown, (6, 6))
    expect(shown.here.locator(".reading-title")).to_have_text(cell_title(6, 6))
    shown.page.mouse.move(2, 2)
    expect(shown.here.locator(".reading-title")).to_have_text(cell_title(3, 4))
    point(shown, (3, 4), click=True)
    shown.page.mouse.move(2, 2)
    expect(shown.here.locator(".reading-title")).to_have_text("Here")


def test_the_keyboard_reaches_every_cell_and_keeps_and_lets_go(show: Show) -> None:
    shown = show("digits")
    shown.page.keyboard.press("Tab")  # so that focus is by keyboard
    shown.stage.focus()
    expect(shown.here.locator(".reading-title")).to_have_text(cell_title(5, 5))
    for key, cell in (
        ("ArrowLeft", (5, 4)),
        ("ArrowUp", (4, 4)),
        ("Home", (4, 0)),
        ("End", (4, 11)),
        ("ArrowDown", (5, 11)),
    ):
        shown.page.keyboard.press(key)
        expect(shown.here.locator(".reading-title")).to_have_text(cell_title(*cell))
    expect(shown.page.locator("#announcer")).to_contain_text(cell_title(5, 11))
    shown.page.keyboard.press("Enter")
    expect_state(shown, "cell=5%2C11")
    shown.page.keyboard.press("Escape")
    expect(shown.page).not_to_have_url(re.compile("cell="))
    shown.page.keyboard.press("Home")
    shown.page.keyboard.press("Shift+ArrowRight")
    shown.page.keyboard.press("Shift+ArrowDown")
    expect(shown.here.locator(".reading-title")).to_have_text("Rows 5 to 6, columns 0 to 1")
    shown.page.keyboard.press("Escape")
    expect(shown.page).not_to_have_url(re.compile("rect="))


@pytest.mark.parametrize("kind", ["digits", "thousand"])
def test_a_dragged_rectangle_says_the_mean_of_its_cells_and_what_is_without_them(show: Show, kind: str) -> None:
    shown = show(kind)
    drag(shown, (7, 6), (2, 3))
    expect(shown.here.locator(".reading-title")).to_have_text("Rows 2 to 7, columns 3 to 6")
    expect_state(shown, "rect=2%2C3%2C7%2C6")
    inside = shown.grid[:, 2:8, 3:7].mean(axis=(1, 2))
    expect_ranking(shown.here, shown.found[0], inside, within=ROUNDING)
    mask = np.ones(shown.grid.shape[1:], bool)
    mask[2:8, 3:7] = False
    for key in ("mean", "max", "lse=2"):
        shown.page.evaluate(f"location.hash = 'rect=2,3,7,6' + '{'' if key == 'mean' else '&pool=' + key}'")
        others = parse_aggregator(key)(shown.grid[:, mask], cell_axes=1)
        name = shown.found[0].heads[0].name(int(others.argmax()))
        without = shown.here.locator(".without")
        expect(without).to_contain_text(f"other {mask.sum()} cells by {AGGREGATOR_WORDS[key]}: {name}")
        seen = re.search(rf": {re.escape(name)} (\S+?)[,.]? ", without.text_content() or "")
        assert seen is not None
        assert abs(number(seen[1].rstrip(",")) - others.max()) < ROUNDING + 0.0051


AGGREGATOR_WORDS = {"mean": "mean", "max": "maximum", "lse=2": "log-sum-exp, r = 2"}


@pytest.mark.parametrize("kind", ["digits", "sigmoids", "one-logit"])
@pytest.mark.parametrize("family", ["lse", "topk"])
def test_the_slider_goes_from_mean_to_max_and_ranks_anew(show: Show, kind: str, family: str) -> None:
    shown = show(kind)
    shown.page.select_option("#family", family)
    last = int(shown.page.locator("#pool").get_attribute("max") or 0)
    keys = []
    for value in range(1, last + 1):
        set_slider(shown, "pool", value)
        expect(shown.page).to_have_url(re.compile(r"pool=[a-z]"))
        key = state(shown)["pool"].replace("%3D", "=")
        if keys and key == keys[-1]:  # addresses are written a little later
            expect(shown.page).not_to_have_url(re.compile(re.escape(keys[-1].replace("=", "%3D")) + "(&|$)"))
            key = state(shown)["pool"].replace("%3D", "=")
        keys.append(key)
        expect_ranking(shown.whole, shown.found[0], parse_aggregator(key)(shown.grid), within=ROUNDING)
    assert keys[-1] == "max"
    assert all(key.startswith(f"{family}=") for key in keys[:-1])
    assert len(set(keys)) == last
    assert AGGREGATORS["max"].key == "max"
    set_slider(shown, "pool", 0)
    expect_ranking(shown.whole, shown.found[0], np.asarray(shown.found[0].logits, np.float64), within=0)


def test_a_ranking_that_changes_says_what_the_model_itself_answers(show: Show) -> None:
    shown = show("digits", "#pool=max")
    head = shown.found[0].heads[0]
    highest = int(shown.grid.max(axis=(1, 2)).argmax())
    assert highest != head.top[0].index
    expect(shown.whole.locator(".reading-note")).to_contain_text(f"The model itself answers {head.top[0].label}.")


def test_a_map_is_the_class_s_logits_over_its_own_range(show: Show) -> None:
    shown = show("digits")
    row = shown.whole.locator(".ranking button").nth(2)
    row.click()
    expect(row).to_have_attribute("aria-pressed", "true")
    index = shown.found[0].heads[0].top[2].index
    plane = shown.grid[index]
    level = (plane - plane.min()) / (plane.max() - plane.min())
    painted = canvas(shown.stage.locator("canvas"))
    np.testing.assert_allclose(painted[..., 3], 255 * opacity(level), atol=1)
    near = np.abs(painted[..., :3].astype(int) - sequential(level).astype(int))
    assert near.max() <= 12  # a level more or less, by half precision; the canvas keeps colours times opacity
    ends = [number(text) for text in shown.page.locator(".map-legend .end").all_text_contents()]
    np.testing.assert_allclose(ends, [plane.min(), plane.max()], atol=ROUNDING + 0.0051)
    row.click()
    expect(shown.page).not_to_have_url(re.compile("map="))


def test_two_pinned_classes_show_their_signed_difference(show: Show) -> None:
    shown = show("digits")
    cards = shown.page.locator(".class-cards li")
    for place in (3, 1):
        cards.nth(place).hover()
        cards.nth(place).locator(".pin").click()
    first, second = (shown.found[0].heads[0].table()["index"][place].as_py() for place in (3, 1))
    expect_state(shown, f"pins={first}%2C{second}")
    difference = shown.grid[first] - shown.grid[second]
    level = difference / np.abs(difference).max()

    def expect_painted(expected: np.ndarray) -> None:
        painted = canvas(shown.stage.locator("canvas"))
        np.testing.assert_allclose(painted[..., 3], 255 * (0.08 + 0.8 * np.abs(expected)), atol=2)
        strong = np.abs(expected) > 0.3
        near = np.abs(painted[..., :3].astype(int) - diverging(expected).astype(int))
        assert near[strong].max() <= 8

    expect_painted(level)
    legend = shown.page.locator(".map-legend.signed .legend-name")
    names = [shown.found[0].heads[0].name(index) for index in (first, second)]
    expect(legend).to_have_text(f"{names[0]} − {names[1]}")
    shown.page.get_by_role("button", name="Swap").click()
    expect(legend).to_have_text(f"{names[1]} − {names[0]}")
    expect_painted(-level)
    shown.page.get_by_role("button", name="Unpin").click()
    expect(shown.page.locator(".map-legend.signed")).to_have_count(0)


def test_winners_are_coloured_and_counted(show: Show) -> None:
    shown = show("sigmoids")
    shown.page.locator("#kinds [data-value='winners']").click()
    head = shown.found[0].heads[0]
    expect(shown.page.locator(".winner").first).to_contain_text(f"{head.winners[0].cells} cells")
    winning = head.reading.winners(shown.grid)
    painted = canvas(shown.stage.locator("canvas"))
    ranked = sorted(head.winners, key=lambda entry: (-entry.cells, entry.index))
    colours = {entry.index: CATEGORICAL[place] for place, entry in enumerate(ranked[: len(CATEGORICAL)])}
    for cell in np.ndindex(winning.shape):
        index = int(winning[cell])
        if index < 0:
            assert painted[cell][3] == 0
        else:
            np.testing.assert_allclose(painted[cell][:3], colours.get(index, OTHER), atol=2)
    if head.none_cells:
        expect(shown.page.locator(".winner").last).to_have_text(re.compile(rf"^nobody {head.none_cells} cells?$"))


def test_smooth_says_that_it_was_not_measured(show: Show) -> None:
    shown = show("digits")
    badge = shown.page.locator(".badge")
    expect(badge).to_be_hidden()
    shown.page.locator("#drawn [data-value='1']").click()
    expect(badge).to_have_text("interpolated, not measured")
    expect(badge).to_be_visible()
    expect(shown.stage.locator("canvas")).to_have_css("image-rendering", "auto")
    shown.page.locator("#kinds [data-value='none']").click()
    expect(badge).to_be_hidden()
    shown.page.locator("#kinds [data-value='class']").click()
    shown.page.locator("#drawn [data-value='']").click()
    expect(shown.stage.locator("canvas")).to_have_css("image-rendering", "pixelated")


def test_the_photo_shows_through_as_far_as_is_wanted(show: Show) -> None:
    shown = show("digits")
    set_slider(shown, "opacity", 40)
    expect(shown.stage.locator("canvas")).to_have_css("opacity", "0.4")
    expect_state(shown, "opacity=40")


def test_boxes_at_a_threshold_are_the_library_s(show: Show) -> None:
    shown = show("digits")
    found = shown.page.locator(".stage path.found").last
    expect(found).to_have_attribute("d", "")
    shown.page.locator("#boxes").click()
    plane = shown.grid[shown.found[0].heads[0].top[0].index]
    for value in (50, 30):
        set_slider(shown, "cut", value)
        wanted = boxes_above(score_map(plane), THRESHOLDS[value])
        assert THRESHOLDS[value] == pytest.approx(value / 100)
        expect(shown.page.locator("output[for='cut']")).to_contain_text(f"range: {len(wanted)} box")
        expect(found).to_have_attribute("d", re.compile(rf"^(M[^M]+Z){{{len(wanted)}}}$"))
    shown.page.locator("#boxes").click()
    expect(found).to_have_attribute("d", "")


@pytest.mark.parametrize("kind", ["digits", "thousand", "sigmoids"])
def test_classes_are_sorted_by_rank_by_best_cell_and_by_share(show: Show, kind: str) -> None:
    shown = show(kind)
    names = shown.page.locator(".class-card .name")
    table = shown.found[0].table().to_pylist()
    kept = min(24, len(table))
    expect(shown.page.locator("#listed-count")).to_contain_text(f"{kept} of {len(table):,} classes")
    expect(names).to_have_text([row["name"] for row in table[:kept]])
    for key, column in (("best", "best_logit"), ("won", "cells")):
        shown.page.select_option("#sort", key)
        expect_state(shown, f"sort={key}")
        ordered = sorted((row[column] for row in table), reverse=True)[:kept]
        shown_facts = shown.page.locator(".class-card").evaluate_all(
            "cards => cards.map(card => [...card.querySelectorAll(':scope > .soft')].map(fact => fact.textContent))"
        )
        if key == "best":
            seen = [number(facts[1].removeprefix("best cell ")) for facts in shown_facts]
            np.testing.assert_allclose(seen, ordered, atol=ROUNDING + 0.0051)
        else:
            cells = shown.grid[0].size
            shares = [float(re.sub(r"[^\d.]", "", facts[2])) for facts in shown_facts]
            np.testing.assert_allclose(shares, [100 * won / cells for won in ordered], atol=0.051)


def test_a_class_is_found_by_its_name_or_number(show: Show) -> None:
    shown = show("thousand")
    wins = shown.found[0].heads[0].winners[-1].index
    shown.page.locator("#find").fill(f"class {wins}")
    expect(shown.page.locator("#listed-count")).to_contain_text(" found; the page keeps the cells of ")
    card = shown.page.locator(f".class-card[data-index='{wins}']")
    expect(card.locator(".name")).to_have_text(f"class {wins}")
    card.click()
    expect_state(shown, f"map={wins}")
    plane = shown.grid[wins]
    ends = [number(text) for text in shown.page.locator(".map-legend .end").all_text_contents()]
    np.testing.assert_allclose(ends, [plane.min(), plane.max()], atol=ROUNDING + 0.0051)
    last = shown.found[0].table()["index"][-1].as_py()
    shown.page.locator("#find").fill(f"class {last}")
    expect(shown.page.locator(f".class-card[data-index='{last}']")).to_be_disabled()
    expect(shown.page.locator(f".class-card[data-index='{last}']")).to_contain_text("cells not kept")
    shown.page.locator("#find").fill("no such class")
    expect(shown.page.locator("#listed-count")).to_contain_text("0 of 0 classes found")


def test_more_classes_are_shown_when_asked_for(show: Show) -> None:
    shown = show("thousand")
    shown.page.locator("#more").click()
    expect(shown.page.locator("#listed-count")).to_contain_text("120 of 1,000 classes;")
    expect(shown.page.locator(".class-card")).to_have_count(120)


def test_the_strip_changes_the_photo(show: Show) -> None:
    shown = show("digits")
    shown.page.locator(".strip button").nth(1).click()
    expect_state(shown, "photo=1")
    expect_ranking(shown.whole, shown.found[1], np.asarray(shown.found[1].logits, np.float64), within=0)
    expect(shown.page.locator(".strip button").nth(1)).to_have_attribute("aria-current", "true")
    shown.page.go_back()
    expect_ranking(shown.whole, shown.found[0], np.asarray(shown.found[0].logits, np.float64), within=0)


def test_a_link_holds_what_is_shown(show: Show) -> None:
    shown = show("digits", "#photo=1&map=winners&cell=2,5&pool=topk=7&opacity=60&smooth=1&find=e&sort=best&family=topk")
    expect(shown.here.locator(".reading-title")).to_have_text(cell_title(2, 5))
    expect(shown.page.locator("#kinds [data-value='winners']")).to_have_attribute("aria-pressed", "true")
    expect(shown.page.locator("output[for='pool']")).to_have_text("mean of the 7 highest cells")
    expect(shown.stage.locator("canvas")).to_have_css("opacity", "0.6")
    expect(shown.page.locator("#find")).to_have_value("e")
    expect(shown.page.locator("#sort")).to_have_value("best")
    expect(shown.page.locator(".badge")).to_be_visible()


@pytest.mark.parametrize(
    "address",
    [
        "#photo=99",
        "#photo=-1&map=zz&cell=99,99",
        "#cell=1",
        "#rect=5,5,1,1",
        "#pool=__proto__",
        "#head=nothing",
        "#map=1e9&pins=a,b&cut=x&opacity=x",
        "#%",
        "#main",
    ],
)
def test_an_address_that_says_nonsense_is_no_harm(show: Show, address: str) -> None:
    shown = show("digits", address)
    expect(shown.stage.locator("img")).to_be_visible()
    assert shown.complaints == []


def test_of_several_at_once_it_says_what_passes_its_threshold(show: Show) -> None:
    shown = show("sigmoids")
    head = shown.found[0].heads[0]
    assert head.present is not None
    after = shown.whole.locator(".reading-after")
    expect(after).to_contain_text(f"{len(head.present)} class")
    present = head.reading.present(shown.grid)
    for cell in ((0, 0), (3, 9), (13, 2)):
        point(shown, cell)
        expect(shown.here.locator(".reading-title")).to_have_text(cell_title(*cell))
        count = int(present[:, cell[0], cell[1]].sum())
        text = f"{count} class" if count else "No class passes its threshold."
        expect(shown.here.locator(".reading-after")).to_contain_text(text)
        expect(shown.here.locator(".truth-mark:visible")).to_have_count(min(5, count))


def test_by_one_logit_a_class_s_map_is_its_logit_less_the_other_s(show: Show) -> None:
    shown = show("one-logit")
    expect(shown.page.locator(".map-legend.signed")).to_be_visible()
    best = shown.found[0].heads[0].top[0].index
    own = shown.grid[best] - shown.grid[1 - best]
    painted = canvas(shown.stage.locator("canvas"))
    np.testing.assert_allclose(painted[..., 3], 255 * (0.08 + 0.8 * np.abs(own) / np.abs(own).max()), atol=2)


def test_the_standing_line_says_verdict_proofs_and_preprocessing(show: Show) -> None:
    shown = show("digits")
    line, told = shown.page.locator(".line"), shown.page.locator("#standing")
    for part in (
        "logits",
        "exact",
        "sum",
        "allowed 2e-05",
        "cell not run here",
        "place",
        "RGB 96 × 96",
        "digits_torch_legacy.preprocess.json",
    ):
        expect(line).to_contain_text(part)
    expect(told).to_contain_text("16 bits, off by")
    told.locator("summary").click()
    expect(told.locator("tbody tr")).to_have_count(len(shown_chain(shown)))
    expect(told.locator("tbody th")).to_have_text(shown_chain(shown))


def shown_chain(shown: Shown) -> list[str]:
    """The operators as `inspect` lists them."""
    from onnx_gapmil import inspect
    from tests.helpers.view_pages import DIGITS

    return [step.op for step in inspect(DIGITS).heads[0].chain]


def test_a_class_token_s_placeless_share_is_said(show: Show) -> None:
    shown = show("class-token")
    share = shown.found[0].heads[0].placeless_share
    assert share is not None
    text = f"{100 * share:.1f}".removesuffix(".0") + "\u00a0%"
    expect(shown.page.locator(".line")).to_contain_text(f"{text} without a place")
    expect(shown.page.locator("#standing")).to_contain_text(f"{text} of this answer has no place")


def test_a_finger_keeps_a_cell_and_drags_a_rectangle_only_when_asked(show: Show) -> None:
    shown = show("digits", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    from tests.helpers.view_pages import middle

    shown.page.touchscreen.tap(*middle(shown, (4, 4)))
    expect(shown.here.locator(".reading-title")).to_have_text(cell_title(4, 4))
    expect_state(shown, "cell=4%2C4")
    expect(shown.stage).to_have_css("touch-action", "manipulation")
    shown.page.locator("#select").tap()
    expect(shown.stage).to_have_css("touch-action", "none")


def test_on_paper_there_are_no_controls(show: Show) -> None:
    shown = show("digits")
    shown.page.emulate_media(media="print")
    for part in ("#kinds", "#pool", ".exports", "#find", "#theme", ".strip"):
        expect(shown.page.locator(part)).to_be_hidden()
    expect(shown.page.locator(".line")).to_be_visible()
    expect(shown.whole).to_be_visible()


def test_ranking_rows_of_the_page_are_those_of_json(show: Show) -> None:
    """The page's first row is what predictions.json says first."""
    shown = show("digits")
    entry = json.loads(json.dumps(shown.found[0].to_json()))["heads"][0]["top"][0]
    name, logit = ranking(shown.whole)[0]
    assert name == entry["label"]
    assert logit == pytest.approx(entry["logit"], abs=0.0051)


def test_of_several_at_once_another_aggregator_says_what_passes_by_the_model_itself(show: Show) -> None:
    shown = show("sigmoids", "#pool=max")
    present = shown.found[0].heads[0].present
    assert present is not None
    text = f"By the model itself pass: {present[0].label}" if present else "By the model itself no class passes."
    expect(shown.whole.locator(".reading-note")).to_contain_text(text)
