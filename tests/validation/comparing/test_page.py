"""The page of a comparison: what it says first, and both grids under one pointer in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from onnx_gapmil import Comparison, compare, repool
from onnx_gapmil.show.html.maps import difference_scale, encode_maps
from onnx_gapmil.validation.comparing.gallery import choose
from onnx_gapmil.validation.comparing.records import Answer, Drift, PairRecord
from onnx_gapmil.validation.comparing.sentences import guess_sentence, sentences, verdict_sentence
from tests.helpers.compared import changed_model, write_data
from tests.helpers.scene_data import MODEL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    folder = tmp_path_factory.mktemp("compare")
    hostile = changed_model(folder / "<img src=x onerror=alert(1)>")
    return compare(MODEL, hostile, write_data(folder / "data"), folder / "out"), folder / "out" / "report.html"


@pytest.fixture
def page(browser: Browser, made: tuple[Comparison, Path]) -> Iterator[tuple[Page, list[str]]]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, complaints = context.new_page(), []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url) if "file://" not in request.url else None)
    opened.goto(made[1].as_uri())
    yield opened, complaints
    context.close()


def test_the_verdict_comes_first_in_counts(made: tuple[Comparison, Path]) -> None:
    found, path = made
    text = path.read_text("utf-8")
    heading = re.search(r"<h1[^>]*>(.*?)</h1>", text)
    assert heading is not None
    flips = found.flips
    assert flips.fixed is not None
    assert flips.broken is not None
    others = flips.count - flips.fixed - flips.broken
    rest = f", {others} neither" if others else ""
    said = f"changed.onnx changes {flips.count} of 24 answers: {flips.fixed} fixed, {flips.broken} broken{rest}."
    assert heading[1] == said == verdict_sentence(found)
    assert "<img src=x" not in text
    assert json.loads(re.search(r'id="compare-json">(.*?)</script>', text)[1])["images"] == 24  # type: ignore[index]


def test_probabilities_of_files_that_end_in_logits_are_said_to_be_made_here(made: tuple[Comparison, Path]) -> None:
    assert [model.activation for model in (made[0].models.old, made[0].models.new)] == ["none", "none"]
    assert made[1].read_text("utf-8").count("a softmax of the logits, made for this page") == 2


def test_a_repooled_file_is_called_by_its_pool(tmp_path: Path) -> None:
    repool(MODEL, "max", tmp_path / "max.onnx")
    found = compare(MODEL, tmp_path / "max.onnx", write_data(tmp_path / "data"), tmp_path / "out")
    assert (found.models.new.pool, found.models.new.aggregator) == ("max", "mean")
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert text.count("pooled by max") == 2  # above the verdict, and among the conditions
    assert json.loads((tmp_path / "out" / "compare.json").read_text("utf-8"))["models"]["old"]["pool"] == "mean"


def test_what_the_bar_counts_is_all_images(made: tuple[Comparison, Path]) -> None:
    found, path = made
    bar = re.search(r'aria-label="What became of the images">(.*?)</ul>', path.read_text("utf-8"))
    assert bar is not None
    assert sum(int(count) for count in re.findall(r"<b>(\d+)</b>", bar[1])) == found.images


def test_tables_list_what_lost_most_first(made: tuple[Comparison, Path]) -> None:
    rows = re.findall(r'data-find="(\w+)"', made[1].read_text("utf-8"))
    net = {row.name: (row.figures.flips.broken or 0) - (row.figures.flips.fixed or 0) for row in made[0].classes}
    assert [net[name] for name in rows] == sorted(net.values(), reverse=True)


def test_one_pointer_looks_at_the_same_place_in_both_models(page: tuple[Page, list[str]]) -> None:
    opened, complaints = page
    card = opened.locator(".pair[data-pair='0']")
    card.scroll_into_view_if_needed()
    stages = card.locator(".stage")
    area = stages.nth(0).bounding_box()
    assert area is not None
    opened.mouse.move(area["x"] + 0.4 * area["width"], area["y"] + 0.6 * area["height"])
    expect(card.locator(".panel-title").first).to_contain_text("Cell in row ")
    marks = [stages.nth(place).locator(".cursor path").last.get_attribute("d") for place in range(3)]
    assert marks[0]
    assert marks[0] == marks[1] == marks[2]
    titles = card.locator(".panel-title").all_text_contents()
    assert len(set(titles)) == 1
    assert titles[0].startswith("Cell in row ")
    opened.mouse.move(5, 5)
    expect(stages.nth(1).locator(".cursor path").last).to_have_attribute("d", "")
    assert complaints == []


def test_a_class_switches_its_map_on_in_all_three(page: tuple[Page, list[str]]) -> None:
    opened, complaints = page
    opened.select_option("#pairs-map", "none")
    card = opened.locator(".pair[data-pair='0']")
    expect(card.locator(".stage.mapped")).to_have_count(0)
    card.locator(".ranking button").first.click()
    expect(card.locator(".stage.mapped")).to_have_count(3)
    names = card.locator(".legend-name").all_text_contents()
    assert len(set(names)) == 1
    assert complaints == []


def test_images_are_filtered_by_outcome_and_by_word(
    page: tuple[Page, list[str]], made: tuple[Comparison, Path]
) -> None:
    opened, complaints = page
    expect(opened.locator(".pair")).to_have_count(8)
    buttons = opened.locator("[data-kind]")
    kinds = {buttons.nth(place).get_attribute("data-kind") for place in range(buttons.count())}
    assert {"all", "same"} <= kinds
    opened.locator("[data-kind='same']").click()
    expect(opened.locator(".pair .kind:not(.same)")).to_have_count(0)
    opened.locator("[data-kind='all']").click()
    opened.fill("#pairs-filter", "light=night")
    expect(opened.locator("#pairs-count")).to_have_text("8 images")
    assert made[0].images == 24
    assert complaints == []


def record(name: str, old: bool, new: bool, far: float, *, agree: bool = False) -> PairRecord:
    ranks: dict[bool, int] = {True: 0, False: 3}
    answer: Any = [Answer(((index, 0.5),), (0,), ranks[right]) for index, right in ((0, old), (1, new))]
    drift = Drift(far / 2, far)
    return PairRecord(name, (9, 9), answer[0], answer[1], agree, 0.5, False, drift, drift, None, ())


def test_flips_come_first_in_turn_and_the_rest_by_how_far_they_moved() -> None:
    records = (
        record("same far", True, True, 0.3, agree=True),
        record("fixed", False, True, 0.2),
        record("broken near", True, False, 0.1),
        record("same near", True, True, 0.1, agree=True),
        record("broken far", True, False, 0.9),
        record("changed", False, False, 0.5),
    )
    assert [records[place].image for place in choose(records, 10)] == [
        "broken far",
        "fixed",
        "changed",
        "broken near",
        "same far",
        "same near",
    ]
    assert [records[place].image for place in choose(records, 3)] == ["broken far", "fixed", "changed"]


def test_a_signed_map_has_its_zero_in_the_middle_of_the_scale() -> None:
    found = encode_maps(np.array([[[-1.0, 0.0, 3.0]]]), [0], signed=True)
    assert (found.low, found.high) == (-3.0, 3.0)
    assert encode_maps(np.zeros((1, 1, 2)), [0], signed=True).high == 1.0
    scale = bytes.fromhex(difference_scale())
    assert len(scale) == 768
    assert min(scale[127 * 3 : 129 * 3]) > 240
    assert scale[0] < scale[2]  # blue below
    assert scale[-3] > scale[-1]  # orange above


def test_axe_finds_no_violation(page: tuple[Page, list[str]]) -> None:
    opened, complaints = page
    opened.locator("#images").scroll_into_view_if_needed()
    opened.emulate_media(color_scheme="light", reduced_motion="reduce")
    light = Axe().run(opened).response["violations"]
    opened.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = Axe().run(opened).response["violations"]
    assert [(rule["id"], [node["html"][:160] for node in rule["nodes"][:3]]) for rule in (*light, *dark)] == []
    assert complaints == []


def test_the_page_tells_nothing_of_where_files_lie(made: tuple[Comparison, Path]) -> None:
    _, path = made
    assert str(path.parents[1]) in (path.parent / "compare.json").read_text("utf-8")
    assert str(path.parents[1]) not in path.read_text("utf-8")
    assert str(MODEL.parent) not in path.read_text("utf-8")


def test_sides_that_guess_are_said_to_before_all_else(made: tuple[Comparison, Path]) -> None:
    found = made[0]
    assert found.accuracy is not None
    for old, new, who in ((0.0, 0.0, "Both models answer"), (0.9, 0.0, "The new model"), (0.0, 0.9, "The old model")):
        lines = sentences(replace(found, accuracy=replace(found.accuracy, old=old, new=new)))
        assert lines[0].startswith(who)
        assert not any("of the cells" in line or "lost most" in line for line in lines)
    good = replace(found, accuracy=replace(found.accuracy, old=0.9, new=0.9))
    assert guess_sentence(good) == ""
    assert sentences(good)[0] == verdict_sentence(good)
