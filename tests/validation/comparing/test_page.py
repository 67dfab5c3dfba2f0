"""The page of a comparison: what it says first, and both grids under one pointer in a real browser."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from onnx_gapmil import Classifier, Comparison, compare, repool
from onnx_gapmil.show.html.maps import difference_scale, encode_maps
from onnx_gapmil.validation.comparing.gallery import choose
from onnx_gapmil.validation.comparing.page.conditions import conditions_section
from onnx_gapmil.validation.comparing.page.headline import headline_section
from onnx_gapmil.validation.comparing.records import Answer, Drift, PairRecord
from onnx_gapmil.validation.comparing.sentences import guess_sentence, sentences, verdict_sentence
from tests.helpers.compared import changed_model, lines_of, write_data
from tests.helpers.scene_data import MODEL, SCENES
from tests.helpers.view_pages import KERAS


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


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models whose cells look at other places of a photo."""
    folder = tmp_path_factory.mktemp("others")
    compare(MODEL, KERAS, SCENES, folder / "out")
    return folder / "out" / "report.html"


@pytest.fixture
def at_large(browser: Browser, others: Path) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    """Open the first image of that comparison."""
    contexts = []

    def open_(more: str = "", **options: Any) -> tuple[Page, list[str]]:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        contexts.append(context)
        opened, complaints = context.new_page(), []
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(others.as_uri())
        name = opened.locator(".pair .file").first.text_content()
        opened.evaluate(f"location.hash = 'image={name}{more}'")
        expect(opened.locator("dialog > header h2")).to_have_text(str(name))
        return opened, complaints

    yield open_
    for context in contexts:
        context.close()


def logits_of(part: Locator) -> list[float]:
    texts = part.locator(".ranking li:not([hidden]) .logit").all_text_contents()
    return [float(text.replace("\u2212", "-")) for text in texts]


def test_at_large_both_models_and_the_change_look_at_one_place(
    at_large: Callable[..., tuple[Page, list[str]]],
) -> None:
    """The change is new less old on the common places, worked out here cell by cell."""
    page, complaints = at_large()
    name = page.locator("dialog > header h2").text_content() or ""
    found = [Classifier(model, provider="cpu").predict(str(SCENES / name)) for model in (MODEL, KERAS)]
    views = page.locator("dialog .view")
    expect(views).to_have_count(3)
    expect(page.locator("dialog .view-title")).to_have_text(
        [f"Old {MODEL.name}", f"New {KERAS.name}", "Change new less old"]
    )
    area = views.nth(2).locator("canvas.map").bounding_box()
    assert area is not None
    rows, columns = views.nth(2).locator("canvas.map").evaluate("map => [map.height, map.width]")
    page.mouse.move(area["x"] + area["width"] * 5.5 / columns, area["y"] + area["height"] * 4.5 / rows)
    expect(views.nth(2).locator(".reading-title").first).to_have_text("Cell in row 4, column 5")
    expect(views.first.locator(".reading-title").first).to_contain_text("Cell in row")
    for place, model in enumerate(found):
        title = views.nth(place).locator(".reading-title").first.text_content() or ""
        row, column = map(int, re.findall(r"\d+", title))
        assert model.grid is not None
        wanted = np.sort(np.asarray(model.grid, np.float64)[:, row, column])[::-1][:5]
        np.testing.assert_allclose(logits_of(views.nth(place).locator(".reading").first), wanted, atol=0.0061)
    shown = logits_of(views.nth(2).locator(".reading").first)
    with page.expect_download() as download:
        page.locator("dialog #export-of").select_option(index=2)
        page.locator("dialog .exports").get_by_role("button", name="NPZ").click()
    assert download.value.suggested_filename.endswith("_change.npz")
    with np.load(io.BytesIO(Path(download.value.path()).read_bytes())) as arrays:
        change, classes, cells = arrays["change"], arrays["classes"], arrays["cells"]
    order = np.argsort(-np.abs(change[:, 4, 5]), kind="stable")[:5]
    np.testing.assert_allclose(shown, change[order, 4, 5], atol=0.0061)
    expected = []
    for model in found:
        assert model.grid is not None
        assert model.places is not None
        grid = np.asarray(model.grid, np.float64)
        expected.append(mean_within(grid - grid.mean(axis=0), model.places, cells[4, 5]))
    gap = (expected[1] - expected[0])[classes]
    np.testing.assert_allclose(change[:, 4, 5], gap, atol=0.03 * np.abs(gap).max())
    assert complaints == []


def mean_within(grid: np.ndarray, places: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(K,): the mean of a grid over a rectangle of the photo, each cell by the area that lies in it."""
    across = np.minimum(places[..., 2], box[2]) - np.maximum(places[..., 0], box[0])
    down = np.minimum(places[..., 3], box[3]) - np.maximum(places[..., 1], box[1])
    area = np.clip(across, 0, None) * np.clip(down, 0, None)
    mean: np.ndarray = (grid * area).sum(axis=(1, 2)) / area.sum()
    return mean


def test_a_click_opens_the_pair_with_that_place_kept(page: tuple[Page, list[str]]) -> None:
    opened, complaints = page
    card = opened.locator(".pair[data-pair='0']")
    card.scroll_into_view_if_needed()
    card.locator(".stage").nth(1).click()
    expect(opened.locator("dialog .reading-note").first).to_have_text("kept; click it again to let go")
    titles = opened.locator("dialog .view .readings > .reading:first-of-type .reading-title").all_text_contents()
    assert len(titles) == 3
    assert len(set(titles)) == 1
    opened.locator("dialog [data-step='1']").click()
    expect(opened.locator("dialog > header")).to_contain_text("2 of 24")
    opened.keyboard.press("Escape")
    expect(opened.locator("dialog")).to_be_hidden()
    expect(opened.locator(".pair[data-pair='1'] .larger")).to_be_focused()
    assert complaints == []


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_at_large(
    at_large: Callable[..., tuple[Page, list[str]]], width: int, scheme: str
) -> None:
    opened, complaints = at_large(
        "&rect=1,1,3,3&cut=50&smooth=1",
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    opened.locator("dialog #standing summary").first.click()
    opened.locator("dialog details.code summary").click()
    found = Axe().run(opened).response["violations"]
    assert [(rule["id"], [node["html"][:160] for node in rule["nodes"][:3]]) for rule in found] == []
    assert opened.evaluate("document.querySelector('dialog').scrollWidth") <= width
    assert complaints == []


def test_slices_of_which_nothing_was_judged_stand_in_the_table(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    for line in lines_of(data):
        if line["light"] == "night":
            (data / line["image"]).write_bytes(b"no image")
    compare(MODEL, MODEL, data, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    row = re.search(r"<tr[^>]*><th[^>]*><bdi>night</bdi></th>(.*?)</tr>", text)
    assert row is not None
    assert "8" in row[1]
    assert "not judged: all its images failed or have no label" in row[1]


@pytest.mark.parametrize(
    ("guessed", "said"),
    [(("color",), "guessed: color"), ((), "found on labelled images, not stated")],
)
def test_what_is_assumed_of_preprocessing_is_said_as_it_is(
    made: tuple[Comparison, Path], guessed: tuple[str, ...], said: str
) -> None:
    models = made[0].models
    new = replace(models.new, preprocess_assumed=True, preprocess_guessed=guessed)
    found = replace(made[0], models=replace(models, new=new))
    assert f"Preprocessing of the new model {said}." in headline_section(found)
    assert conditions_section(found).count(f"{said}. ") == 1


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
