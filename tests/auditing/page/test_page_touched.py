"""An image of the report, opened: all that the page of photos can is there, with the numbers of the library."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from onnx_gapmil import Classifier, audit
from onnx_gapmil.aggregate.aggregator import parse_aggregator
from onnx_gapmil.auditing.page import Report
from onnx_gapmil.prediction.answers import ImagePrediction
from tests.helpers import audited_reports
from tests.helpers.report_kinds import KINDS
from tests.helpers.report_pages import Open, Opened
from tests.helpers.scene_data import MODEL, SCENES


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The scenes of the repository by the digit model."""
    return audited_reports.audited(tmp_path_factory.mktemp("touched"), MODEL, SCENES)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return Classifier(MODEL, provider="cpu")


def touched(opened: Opened, place: int, more: str = "") -> Page:
    """Open an image by its address."""
    opened.page.evaluate(f"location.hash = {json.dumps(f'image={opened.images[place].name}{more}')}")
    expect(opened.page.locator("dialog > header h2")).to_have_text(opened.images[place].name)
    return opened.page


def answer(model: Classifier, report: Report, place: int) -> ImagePrediction:
    return model.predict(str(SCENES / report.gallery.images[place].name))


def logits_of(part: Locator) -> list[float]:
    found = part.locator(".ranking li:not([hidden]) .logit").all_text_contents()
    return [float(text.replace("\u2212", "-")) for text in found]


def ranked(part: Locator, found: ImagePrediction, logits: np.ndarray) -> None:
    """A list shows the five highest of these logits (K,)."""
    order = np.argsort(-logits, kind="stable")[:5]
    names = [found.heads[0].name(int(index)) for index in order]
    expect(part.locator(".ranking li:not([hidden]) .name")).to_have_text(names)
    np.testing.assert_allclose(logits_of(part), logits[order], atol=0.0061)


def grid_of(found: ImagePrediction) -> np.ndarray:
    assert found.grid is not None
    return np.asarray(found.grid, np.float64)


@pytest.mark.parametrize("place", [0, 5])
def test_cells_the_whole_and_aggregators_are_the_library_s(
    open_report: Open, scenes: Report, model: Classifier, place: int
) -> None:
    opened, found = open_report(scenes), answer(model, scenes, place)
    page, grid = touched(opened, place, "&cell=4,7"), grid_of(found)
    here, whole = page.locator("dialog .reading").first, page.locator("dialog .reading").nth(1)
    ranked(here, found, grid[:, 4, 7])
    ranked(whole, found, np.asarray(found.logits, np.float64))
    for key in ("max", "lse=2", "topk=14"):
        page.evaluate(f"location.hash = location.hash.replace(/&pool=[^&]*/, '') + '&pool={key}'")
        expect(page.locator("dialog output[for='pool']")).not_to_contain_text("own")
        ranked(whole, found, np.asarray(parse_aggregator(key)(grid)))
    assert opened.complaints == []


def test_a_rectangle_is_the_mean_of_its_cells(open_report: Open, scenes: Report, model: Classifier) -> None:
    opened, found = open_report(scenes), answer(model, scenes, 2)
    page, grid = touched(opened, 2), grid_of(found)
    area = page.locator("dialog .stage canvas.map").bounding_box()
    assert area is not None
    spots = [
        (area["x"] + area["width"] * (c + 0.5) / 12, area["y"] + area["height"] * (r + 0.5) / 12)
        for r, c in ((2, 3), (5, 8))
    ]
    page.mouse.move(*spots[0])
    page.mouse.down()
    page.mouse.move(*spots[1], steps=4)
    page.mouse.up()
    here = page.locator("dialog .reading").first
    expect(here.locator(".reading-title")).to_have_text("Rows 2 to 5, columns 3 to 8")
    ranked(here, found, grid[:, 2:6, 3:9].mean(axis=(1, 2)))
    expect(page).to_have_url(re.compile("rect=2%2C3%2C5%2C8"))


def test_the_map_is_the_gallery_s_until_another_is_chosen(open_report: Open, scenes: Report) -> None:
    opened = open_report(scenes)
    image = opened.images[0]
    assert image.labels[0] != image.prediction[0][0]
    page = touched(opened, 0)
    legend = page.locator("dialog .map-legend .legend-name")
    expect(legend).to_have_text(opened.name(image.labels[0]))
    page.keyboard.press("Escape")
    page.select_option("#map-of", "difference")
    page = touched(opened, 0, "&map=difference")
    expect(legend).to_have_text(f"{opened.name(image.labels[0])} − {opened.name(image.prediction[0][0])}")
    page.locator("dialog #kinds [data-value='class']").click()
    expect(legend).to_have_text(opened.name(image.prediction[0][0]))
    page.locator("dialog #kinds [data-value='winners']").click()
    expect(page.locator("dialog .winner").first).to_be_visible()
    expect(page.locator("dialog .truth-mark").get_by_text("label").first).to_be_visible()
    assert opened.complaints == []


def test_what_is_taken_away_is_the_library_s(
    open_report: Open, scenes: Report, model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, found = open_report(scenes), answer(model, scenes, 1)
    page = touched(opened, 1, "&cell=3,4&pool=max")
    with page.expect_download() as download:
        page.locator("dialog .exports").get_by_role("button", name="NPZ").click()
    with np.load(io.BytesIO(Path(download.value.path()).read_bytes())) as arrays:
        order = arrays["classes"]
        np.testing.assert_allclose(arrays["grid"], grid_of(found)[order], atol=0.001)
        np.testing.assert_allclose(arrays["logits"], np.asarray(found.logits)[order], atol=1e-4)
        np.testing.assert_allclose(arrays["cells"], found.places, atol=1e-2)
    code = page.locator("dialog #code").text_content() or ""
    assert len(code.splitlines()) == 3
    for path in [*MODEL.parent.glob(f"{MODEL.stem}.*"), SCENES / opened.images[1].name]:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(code, names)  # noqa: S102  (what the page says is run as a reader would)
    np.testing.assert_allclose(names["here"], grid_of(found)[:, 3, 4], atol=1e-4)
    np.testing.assert_allclose(names["image"], grid_of(found).max(axis=(1, 2)), atol=1e-4)


def test_a_threshold_that_is_chosen_at_large_stays_when_it_is_closed(open_report: Open, scenes: Report) -> None:
    opened = open_report(scenes)
    page = opened.page
    page.locator("#gallery").scroll_into_view_if_needed()
    page.locator(".card[data-image='0'] .larger").click()
    page.locator("dialog #boxes").click()
    page.locator("dialog #cut").fill("40")
    page.locator("dialog #kinds [data-value='winners']").click()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator("#gallery-bar output")).to_have_text("0.40")
    expect(page).to_have_url(re.compile("#cut=40$"))
    expect(page.locator("#gallery-bar .cutter input[type=checkbox]")).to_be_checked()


def test_of_many_classes_it_is_said_how_many_the_page_keeps(open_report: Open, tmp_path: Path) -> None:
    report = KINDS["1000-classes"](tmp_path)
    opened = open_report(report)
    page = touched(opened, 0, "&cell=1,1")
    kept = len(opened.images[0].maps.classes)
    assert 5 < kept <= 32
    count = page.locator("dialog #listed-count")
    expect(count).to_have_text(f"{min(24, kept)} of {kept} classes; the page keeps {kept} of the model’s 1,000")
    said = f"Among the {kept} of 1,000 classes whose cells this page keeps."
    expect(page.locator("dialog .reading-after").nth(1)).to_have_text(said)
    expect(page.locator("dialog .reading-after").first).to_have_text("" if opened.images[0].answer.best_kept else said)


@pytest.mark.parametrize(("asked", "kept"), [(None, 10), (3, 3), (99, 10)])
def test_so_many_classes_are_kept_as_were_asked_for(tmp_path: Path, asked: int | None, kept: int) -> None:
    audit(MODEL, SCENES, tmp_path / "out", gallery=4, page_classes=asked)
    report = audited_reports.read_report(tmp_path / "out" / "report.html")
    for image in report.gallery.images:
        assert len(image.maps.classes) == kept
        assert set(image.labels) <= set(image.maps.classes)
        assert image.prediction[0][0] in image.maps.classes
        assert len(np.frombuffer(base64.b64decode(image.answer.logits), "<f4")) == kept


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_at_large(open_report: Open, scenes: Report, width: int, scheme: str) -> None:
    opened = open_report(scenes, viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    page = touched(opened, 0, "&rect=1,1,3,3&cut=50&smooth=1")
    page.locator("dialog #standing summary").first.click()
    page.locator("dialog details.code summary").click()
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"][:160] for node in rule["nodes"][:3]]) for rule in found] == []
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width
