"""The page of the server in a real Chromium: photos that are dropped, pasted and chosen, and two models together."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from onnx_gapmil import Classifier
from onnx_gapmil.viewing.server import ViewServer
from onnx_gapmil.viewing.view import make_server
from tests.helpers.view_pages import DIGITS, KERAS, SCENES, Shown, expect_ranking, middle, point

OTHER = Path(SCENES[0]).with_name("scene_05.png")
DROP = """async ([text, name, event]) => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, {type: 'image/png'}));
    const carried = event === 'paste' ? {clipboardData: data} : {dataTransfer: data};
    const kind = event === 'paste' ? ClipboardEvent : DragEvent;
    document.body.dispatchEvent(new kind(event, {bubbles: true, cancelable: true, ...carried}));
}"""


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Shown]]:
    """Open the page of a server."""
    contexts = []

    def open_(server: ViewServer, address: str = "", **options: Any) -> Shown:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
        contexts.append(context)
        shown = Shown(context.new_page(), [Classifier(DIGITS, provider="cpu").predict(scene) for scene in SCENES])
        shown.page.on("console", lambda message: shown.complaints.append(f"{message.type}: {message.text}"))
        shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.goto(server.url + address)
        return shown

    yield open_
    for context in contexts:
        context.close()


def give(shown: Shown, event: str, data: bytes, name: str = "given.png") -> None:
    shown.page.evaluate(DROP, [base64.b64encode(data).decode(), name, event])


def test_the_photos_that_it_was_started_with_come_by_themselves(
    visit: Callable[..., Shown], served: ViewServer
) -> None:
    shown = visit(served)
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES))
    expect_ranking(shown.whole, shown.found[0], np.asarray(shown.found[0].logits, np.float64), within=1e-4)
    assert shown.complaints == []
    own = [url for url in shown.requests if not url.startswith("data:")]
    assert all(url.startswith(served.url) for url in own)


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_photo_that_is_dropped_or_pasted_is_answered_and_shown(
    visit: Callable[..., Shown], served: ViewServer, event: str
) -> None:
    shown = visit(served)
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES))
    give(shown, event, OTHER.read_bytes())
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES) + 1)
    found = Classifier(DIGITS, provider="cpu").predict(str(OTHER))
    expect_ranking(shown.whole, found, np.asarray(found.logits, np.float64), within=1e-4)
    expect(shown.page.locator(".strip button").last).to_have_attribute("aria-current", "true")
    assert found.grid is not None
    point(shown, (4, 4))
    expect_ranking(shown.here, found, np.asarray(found.grid, np.float64)[:, 4, 4], within=1e-3)
    assert shown.complaints == []


def test_a_photo_that_is_chosen_is_answered(visit: Callable[..., Shown], served: ViewServer) -> None:
    shown = visit(served)
    shown.page.locator("#file").set_input_files(OTHER)
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES) + 1)
    expect(shown.page.locator(".strip .file").get_by_text("scene_05.png")).to_be_visible()


def test_what_is_no_photo_is_said_and_nothing_else_changes(visit: Callable[..., Shown], served: ViewServer) -> None:
    shown = visit(served)
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES))
    name = '<img src=x onerror="alert(1)">.png'
    give(shown, "drop", b"no image", name)
    expect(shown.page.locator("#live-status")).to_contain_text(f"{name}: no image in a format that is read")
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES))
    assert shown.page.locator("img[src='x']").count() == 0


def test_without_photos_the_page_says_what_to_do(visit: Callable[..., Shown], served: ViewServer, serve: Any) -> None:
    with serve(make_server([(DIGITS, {})], provider="cpu")) as server:
        shown = visit(server)
        expect(shown.page.locator("#welcome")).to_be_visible()
        assert Axe().run(shown.page).response["violations"] == []
        give(shown, "drop", OTHER.read_bytes())
        expect(shown.page.locator("#welcome")).to_be_hidden()
        expect(shown.stage).to_be_visible()
        assert Axe().run(shown.page).response["violations"] == []
        assert shown.complaints == []


def test_a_server_that_is_gone_is_said(visit: Callable[..., Shown], serve: Any) -> None:
    with serve(make_server([(DIGITS, {})], provider="cpu")) as server:
        shown = visit(server)
        expect(shown.page.locator("#welcome")).to_be_visible()
        shown.page.context.set_offline(True)
        give(shown, "drop", OTHER.read_bytes())
        expect(shown.page.locator("#live-status")).to_contain_text("the server does not answer")


@pytest.mark.parametrize("width", [1440, 390])
def test_two_models_look_at_the_same_place(visit: Callable[..., Shown], serve: Any, width: int) -> None:
    with serve(make_server([(DIGITS, {}), (KERAS, {})], SCENES[:1], provider="cpu")) as server:
        shown = visit(server, viewport={"width": width, "height": 1000})
        expect(shown.page.locator(".view-title").filter(visible=True)).to_have_text(
            [f"Old {DIGITS.name}", f"New {KERAS.name}"]
        )
        other = Classifier(KERAS, provider="cpu").predict(SCENES[0])
        assert other.places is not None
        assert other.grid is not None
        point(shown, (4, 4))
        left, top, right, bottom = shown.found[0].places[4, 4]  # type: ignore[index]
        x, y = (left + right) / 2, (top + bottom) / 2
        inside = (other.places[..., 0] <= x) & (x < other.places[..., 2]) & (other.places[..., 1] <= y)
        ((row, column),) = np.argwhere(inside & (y < other.places[..., 3]))
        theirs = shown.page.locator(".view").nth(1).locator(".reading").first
        expect(theirs.locator(".reading-title")).to_have_text(f"Cell in row {row}, column {column}")
        expect_ranking(theirs, other, np.asarray(other.grid, np.float64)[:, row, column], within=1e-3)
        shown.page.locator("#kinds [data-value='winners']").click()
        expect(shown.page.locator(".view").nth(1).locator(".winner").first).to_be_visible()
        colours = [
            shown.page.locator(".view")
            .nth(place)
            .locator(".winner")
            .evaluate_all(
                "all => all.filter(one => one.querySelector('bdi')).map(one => "
                "[one.querySelector('bdi').textContent, one.querySelector('.swatch').style.background])"
            )
            for place in (0, 1)
        ]
        first, second = map(dict, colours)
        assert first.keys() & second.keys()
        assert all(first[name] == second[name] for name in first.keys() & second.keys())
        assert len(set(second.values())) == len(second)
        assert Axe().run(shown.page).response["violations"] == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") == width
        assert shown.complaints == []


def test_two_models_on_the_same_cells_have_a_signed_change(
    visit: Callable[..., Shown], serve: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    proto = onnx.load(DIGITS)
    weight = next(entry for entry in proto.graph.initializer if len(entry.dims) == 2)
    noise = np.random.default_rng(0).normal(scale=0.2, size=weight.dims).astype(np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + noise, weight.name))
    onnx.save(proto, other)
    for ending in (".preprocess.json", ".labels.txt"):
        shutil.copy(DIGITS.with_suffix(ending), other.with_suffix(ending))
    with serve(make_server([(DIGITS, {}), (other, {})], SCENES[:1], provider="cpu")) as server:
        shown = visit(server, "#cell=4,4")
        grids = [Classifier(model, provider="cpu").predict(SCENES[0]).grid for model in (DIGITS, other)]
        assert grids[0] is not None
        assert grids[1] is not None
        gaps = (np.asarray(grids[1], np.float64) - np.asarray(grids[0], np.float64))[:, 4, 4]
        change = shown.page.locator(".view.change")
        expect(change).to_be_visible()
        listed = change.locator(".reading").first.locator("li")
        names = DIGITS.with_suffix(".labels.txt").read_text("utf-8").split()
        for place, index in enumerate(np.argsort(-np.abs(gaps))[:3]):
            expect(listed.nth(place)).to_contain_text(names[index])
            said = listed.nth(place).inner_text().replace("\u2212", "-").replace("+", "")
            assert float(said.split()[-1]) == pytest.approx(gaps[index], abs=0.02)
        expect(shown.page.locator("#no-change")).to_be_hidden()
        assert Axe().run(shown.page).response["violations"] == []
        assert shown.complaints == []


def test_two_models_on_other_cells_have_no_change_and_it_is_said(visit: Callable[..., Shown], serve: Any) -> None:
    with serve(make_server([(DIGITS, {}), (KERAS, {})], SCENES[:1], provider="cpu")) as server:
        shown = visit(server)
        expect(shown.page.locator(".view.change")).to_be_hidden()
        expect(shown.page.locator("#no-change")).to_contain_text("look at other places")


@pytest.mark.parametrize("which", [0, 1])
def test_either_model_s_picture_arrays_and_lines_can_be_taken_away(
    visit: Callable[..., Shown], serve: Any, which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(make_server([(DIGITS, {}), (KERAS, {})], SCENES[:1], provider="cpu")) as server:
        shown = visit(server, "#cell=4,4")
        model = (DIGITS, KERAS)[which]
        found = Classifier(model, provider="cpu").predict(SCENES[0])
        bar = shown.page.locator(".exports")
        expect(bar.locator("option")).to_have_text([f"Old {DIGITS.name}", f"New {KERAS.name}"])
        bar.locator("#export-of").select_option(index=which)
        saved = {}
        for ending in ("NPZ", "SVG", "PNG"):
            with shown.page.expect_download() as download:
                bar.get_by_role("button", name=ending).click()
            assert download.value.suggested_filename == f"scene_06_{('old', 'new')[which]}.{ending.lower()}"
            saved[ending] = Path(download.value.path()).read_bytes()
        with np.load(io.BytesIO(saved["NPZ"])) as arrays:
            np.testing.assert_array_equal(arrays["logits"], found.logits)
            assert found.grid is not None
            np.testing.assert_allclose(arrays["grid"], found.grid, atol=0.001)
            np.testing.assert_allclose(arrays["cells"], found.places, atol=1e-3)
        assert f"{model.name}, exact head" in saved["SVG"].decode()
        assert saved["PNG"].startswith(b"\x89PNG")
        code = shown.page.locator("#code" if which == 0 else "#code-2").text_content() or ""
        for path in [*model.parent.glob(f"{model.stem}.*"), Path(SCENES[0])]:
            shutil.copy(path, tmp_path)
        monkeypatch.chdir(tmp_path)
        names: dict[str, np.ndarray] = {}
        exec(code, names)  # noqa: S102  (what the page says is run as a reader would)
        title = shown.page.locator(".view").nth(which).locator(".reading-title").first.text_content() or ""
        row, column = map(int, re.findall(r"\d+", title))
        np.testing.assert_allclose(names["here"], found.grid[:, row, column], atol=1e-4)


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("models", [1, 2])
def test_axe_finds_no_violation(visit: Callable[..., Shown], serve: Any, width: int, scheme: str, models: int) -> None:
    with serve(make_server([(DIGITS, {}), (KERAS, {})][:models], SCENES, provider="cpu")) as server:
        view = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "reduced_motion": "reduce"}
        shown = visit(server, "#rect=1,1,2,2&cut=50&smooth=1", **view)
        expect(shown.page.locator(".strip li")).to_have_count(len(SCENES))
        shown.page.locator("#standing summary").first.click()
        shown.page.locator("details.code summary").click()
        found = Axe().run(shown.page).response["violations"]
        assert [(rule["id"], [node["html"][:160] for node in rule["nodes"][:3]]) for rule in found] == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") == width
        assert shown.complaints == []


def test_a_finger_keeps_a_cell_and_chooses_a_rectangle(visit: Callable[..., Shown], served: ViewServer) -> None:
    shown = visit(served, viewport={"width": 390, "height": 844}, has_touch=True)
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES))
    shown.page.touchscreen.tap(*middle(shown, (3, 4)))
    expect(shown.here.locator(".reading-title")).to_have_text("Cell in row 3, column 4")
    shown.page.locator("#select").tap()
    expect(shown.stage).to_have_css("touch-action", "none")


def test_on_paper_there_are_no_controls(visit: Callable[..., Shown], served: ViewServer) -> None:
    shown = visit(served)
    expect(shown.page.locator(".strip li")).to_have_count(len(SCENES))
    shown.page.emulate_media(media="print")
    for part in ("#kinds", "#pool", ".exports", "#find", "#theme", ".strip", ".live"):
        expect(shown.page.locator(part).first).to_be_hidden()
    expect(shown.whole).to_be_visible()


def test_a_link_holds_what_is_shown_while_its_photos_come(visit: Callable[..., Shown], served: ViewServer) -> None:
    shown = visit(served, "#photo=1&cell=2,3")
    expect(shown.page.locator(".strip button").nth(1)).to_have_attribute("aria-current", "true")
    expect(shown.here.locator(".reading-title")).to_have_text("Cell in row 2, column 3")
    assert shown.found[1].grid is not None
    expect_ranking(shown.here, shown.found[1], np.asarray(shown.found[1].grid, np.float64)[:, 2, 3], within=1e-3)
