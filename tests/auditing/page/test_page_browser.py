"""The page in a real Chromium: what a reader does with it, and what it then shows."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from onnx_gapmil.auditing.page import Report
from onnx_gapmil.show.drawing.palette import sequential
from onnx_gapmil.show.html.maps import encode_maps
from tests.helpers import audited_reports, support
from tests.helpers.report_pages import EVIL, Open, Opened, decode, hostile, with_image, with_summary


def card(opened: Opened, place: int) -> Locator:
    """One of the first cards, or one near the window: others do not exist until somebody scrolls there."""
    found = opened.page.locator(f".card[data-image='{place}']")
    if not found.count():
        opened.page.locator("#gallery").evaluate("list => list.scrollIntoView()")
        found.wait_for()
    return found


def ranking(part: Locator) -> list[tuple[str, str]]:
    """The rows of a panel: (name, percentage)."""
    rows = part.locator(".ranking li:not([hidden])")  # text of cards that are far away counts too
    return list(zip(rows.locator(".name").all_text_contents(), rows.locator(".value").all_text_contents(), strict=True))


def expect_ranking(part: Locator, wanted: list[tuple[str, str]]) -> None:
    """The panel's rows come to be these: a frame may pass before they do."""
    expect(part.locator(".ranking li:not([hidden]) .value")).to_have_text([value for _name, value in wanted])
    expect(part.locator(".ranking li:not([hidden]) .name")).to_have_text([name for name, _value in wanted])
    assert ranking(part) == wanted  # to the kind of space


def expect_here(opened: Opened, place: int, cell: int) -> None:
    """The dialog comes to say of a cell what the report's maps do, by NumPy."""
    image = opened.images[place]
    assert image.maps.grid is not None
    here = opened.page.locator("dialog .reading").first
    row, column = divmod(cell, image.maps.grid[1])
    expect(here.locator(".reading-title")).to_have_text(f"Cell in row {row}, column {column}")
    logits, _ = decode(image.maps)
    order = np.argsort(-logits[:, cell], kind="stable")[:5]
    names = [opened.name(image.maps.classes[slot]) for slot in order]
    expect(here.locator(".ranking li:not([hidden]) .name")).to_have_text(names)
    said = [float(text.replace("\u2212", "-")) for text in here.locator(".logit").all_text_contents()]
    np.testing.assert_allclose(said, logits[order, cell], atol=0.0051)


def shown(share: float) -> str:
    """A share as the page prints it, worked out apart."""
    if 0 < share < 0.001:
        return "<0.1\u00a0%"
    return f"{100 * share:.1f}".removesuffix(".0") + "\u00a0%"


def expected(opened: Opened, place: int, cell: int, count: int = 5) -> list[tuple[str, str]]:
    """The first classes of a cell, from the report by NumPy."""
    image = opened.images[place]
    logits, lse = decode(image.maps)
    shares = np.minimum(1.0, np.exp(logits[:, cell] - lse[cell]))
    order = np.argsort(-shares, kind="stable")[:count]
    return [(opened.name(image.maps.classes[slot]), shown(float(shares[slot]))) for slot in order]


def settled(part: Locator) -> dict[str, float]:
    """Scroll to an element and wait until its place no longer changes: cards get their height when they come near."""
    part.scroll_into_view_if_needed()
    before: dict[str, float] = {}
    while (area := part.bounding_box()) != before:
        assert area is not None
        before = dict(area)
        part.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return before


def point_at(opened: Opened, stage: Locator, cell: int, grid: tuple[int, int], *, click: bool = False) -> None:
    """Move the mouse to the middle of a cell of a photo that the network sees as a whole."""
    area = settled(stage)
    x = area["x"] + area["width"] * (cell % grid[1] + 0.5) / grid[1]
    y = area["y"] + area["height"] * (cell // grid[1] + 0.5) / grid[0]
    opened.page.mouse.move(x, y)
    if click:
        opened.page.mouse.down()
        opened.page.mouse.up()


def pixels(stage: Locator) -> np.ndarray:
    """The map's canvas, (rows, columns, RGBA)."""
    values = stage.locator("canvas").evaluate(
        "c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    return np.array(values[2:], np.uint8).reshape(values[0], values[1], 4)


def test_it_loads_without_complaints_and_without_requests(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    opened.page.locator("#images").scroll_into_view_if_needed()
    expect(opened.page.locator(".card").first).to_be_visible()
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.page.url]
    expect(opened.page.locator("img").first).to_have_js_property("naturalWidth", 96)  # loaded when it comes into view


@pytest.mark.parametrize("place", [0, 5])
def test_pointing_at_a_cell_shows_its_classes(open_report: Open, digits: Report, place: int) -> None:
    opened = open_report(digits)
    part, image = card(opened, place), opened.images[place]
    whole = [(opened.name(index), shown(share)) for index, share in image.prediction]
    expect_ranking(part, whole)
    for cell in (0, 17, 77, 143):
        point_at(opened, part.locator(".stage"), cell, image.maps.grid)
        expect(part.locator(".panel-title")).to_contain_text(f"Cell in row {cell // 12}, column {cell % 12}")
        expect_ranking(part, expected(opened, place, cell))
        expect(part.locator(".on-object")).to_have_count(int(cell in image.foreground))
    opened.page.mouse.move(0, 0)
    expect_ranking(part, whole)


def test_the_rest_is_what_the_listed_classes_leave(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    part, image = card(opened, 1), opened.images[1]
    logits, lse = decode(image.maps)
    rest = 1 - np.sort(np.exp(logits - lse), axis=0)[-5:].sum(axis=0)
    cell = int(rest.argmax())
    point_at(opened, part.locator(".stage"), cell, image.maps.grid)
    expect(part.locator(".rest")).to_have_text(f"all other classes {shown(float(rest[cell]))}")


def test_a_click_opens_the_photo_with_that_cell_kept(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    point_at(opened, card(opened, 0).locator(".stage"), 40, opened.images[0].maps.grid, click=True)
    opened.page.mouse.move(0, 0)
    expect_here(opened, 0, 40)
    expect(opened.page.locator("dialog .reading-note").first).to_have_text("kept; click it again to let go")
    opened.page.keyboard.press("Escape")
    expect(opened.page.locator("dialog")).to_be_hidden()
    expect(opened.page).not_to_have_url(re.compile("cell="))


def test_a_tap_opens_the_photo_with_that_cell(open_report: Open, digits: Report) -> None:
    opened = open_report(digits, viewport={"width": 390, "height": 844}, has_touch=True)
    part = card(opened, 0)
    stage = part.locator(".stage")
    area = settled(stage)
    opened.page.touchscreen.tap(area["x"] + area["width"] * 6.5 / 12, area["y"] + area["height"] * 3.5 / 12)
    expect_here(opened, 0, 3 * 12 + 6)


def test_arrow_keys_move_the_cell_and_stop_at_the_border(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    part = card(opened, 2)
    part.locator(".stage").focus()
    title = part.locator(".panel-title")
    expect(title).to_contain_text("Cell in row 5, column 5")
    for key, row, column in (
        ("ArrowRight", 5, 6),
        ("ArrowDown", 6, 6),
        ("ArrowLeft", 6, 5),
        ("ArrowUp", 5, 5),
        ("Home", 5, 0),
        ("ArrowLeft", 5, 0),
        ("End", 5, 11),
        ("ArrowRight", 5, 11),
    ):
        opened.page.keyboard.press(key)
        expect(title).to_contain_text(f"Cell in row {row}, column {column}")
        cell = 12 * row + column
        expect_ranking(part, expected(opened, 2, cell))
    best = expected(opened, 2, cell)[0]
    expect(opened.page.locator("#announcer")).to_contain_text(f"{best[0]} {best[1]}")
    opened.page.keyboard.press("Enter")
    expect_here(opened, 2, 5 * 12 + 11)


def test_a_class_name_switches_its_map_on_and_off(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    part, image = card(opened, 0), opened.images[0]
    stage, button = part.locator(".stage"), part.locator(".ranking button").nth(1)
    expect(stage.locator("canvas")).to_be_visible()  # the label's, at first
    opened.page.select_option("#map-of", "none")
    expect(stage.locator("canvas")).to_be_hidden()
    button.click()
    expect(stage.locator("canvas")).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(part.locator(".legend-name")).to_have_text(opened.name(image.prediction[1][0]))

    slot = image.maps.classes.index(image.prediction[1][0])
    level = (decode(image.maps)[0][slot] - image.maps.low) / (image.maps.high - image.maps.low)
    found = pixels(stage)
    assert found.shape == (12, 12, 4)
    np.testing.assert_allclose(found[..., 3].ravel(), 255 * (0.3 + 0.5 * level), atol=1)
    colours = found.reshape(-1, 4)[level > 0.2]  # a canvas stores colours times their opacity: low ones lose bits
    np.testing.assert_allclose(colours[:, :3], sequential(level[level > 0.2]), atol=4)

    other = part.locator(".ranking button").nth(0)
    other.click()
    assert not np.array_equal(pixels(stage), found)
    expect(button).to_have_attribute("aria-pressed", "false")
    other.click()
    expect(stage.locator("canvas")).to_be_hidden()


def test_one_map_for_all_photos(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    for place in (0, 1, 2):
        expect(card(opened, place).locator(".legend-name")).to_have_text(opened.name(opened.images[place].labels[0]))
        expect(card(opened, place).locator("canvas")).to_be_visible()
    opened.page.select_option("#map-of", "none")
    expect(card(opened, 0).locator("canvas")).to_be_hidden()


def listed(opened: Opened) -> list[int]:
    """The images that a reader sees who scrolls from the gallery's first card to its last."""
    found: list[int] = opened.page.evaluate(
        """async () => {
            const [list, found] = [document.getElementById('gallery'), new Map()];
            const top = list.getBoundingClientRect().top + scrollY;
            for (let y = 0; y <= list.offsetHeight; y += innerHeight) {
                scrollTo(0, top + y);
                await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
                for (const card of list.children) found.set(+card.ariaPosInSet, +card.dataset.image);
            }
            return [...found.keys()].sort((a, b) => a - b).map(place => found.get(place));
        }"""
    )
    return found


@pytest.mark.parametrize("outcome", ["recoverable", "distraction", "wrong", "right", "all"])
def test_filters_show_the_right_images_in_the_given_order(open_report: Open, digits: Report, outcome: str) -> None:
    opened = open_report(digits)
    test = {
        "all": lambda image: True,
        "right": lambda image: image.right,
        "wrong": lambda image: not image.right,
        "recoverable": lambda image: image.recoverable,
        "distraction": lambda image: image.cause == "distraction",
    }[outcome]
    wanted = [place for place, image in enumerate(opened.images) if test(image)]
    assert wanted
    button = opened.page.locator(f"[data-filter='{outcome}']")
    expect(button).to_contain_text(str(len(wanted)))
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert listed(opened) == wanted


def test_the_gallery_is_searched_by_file_and_class(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    opened.page.fill("#image-filter", "SCENE_07")
    assert [opened.images[place].name for place in listed(opened)] == ["scene_07.png"]
    opened.page.fill("#image-filter", "seven")
    wanted = [
        place
        for place, image in enumerate(opened.images)
        if "seven" in {opened.name(index) for index in (*image.labels, image.prediction[0][0])}
    ]
    assert listed(opened) == wanted
    expect(opened.page.locator("#gallery-count")).to_have_text(f"{len(wanted)} of {len(opened.images)} images")


def test_a_class_of_the_table_shows_its_images(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    opened.page.locator("#class-rows tr[data-index='4'] .link").click()
    assert listed(opened) == [place for place, image in enumerate(opened.images) if image.labels == (4,)]
    chip = opened.page.locator("#gallery-chips button")
    expect(chip).to_be_focused()
    chip.click()
    assert len(listed(opened)) == len(opened.images)


def column(opened: Opened, key: str) -> list[Any]:
    """A column of the report's classes in the order in which the table has them."""
    order = opened.page.locator("#class-rows tr").evaluate_all("rows => rows.map(row => +row.dataset.index)")
    rows = {row.index: row for row in opened.report.summary.classes}
    return [opened.name(index) if key == "name" else getattr(rows[index], key) for index in order]


@pytest.mark.parametrize("key", ["images", "top1", "top5", "any_top1", "cell_share"])
def test_a_column_sorts_both_ways_and_keeps_missing_values_last(open_report: Open, digits: Report, key: str) -> None:
    rows = list(digits.summary.classes)
    if key != "images":
        rows[3] = replace(rows[3], **{key: None})
    opened = open_report(with_summary(digits, classes=tuple(rows)))
    head = opened.page.locator(f"#class-table th[data-key='{key}']")
    known = sorted(value for row in rows if (value := getattr(row, key)) is not None)
    missing = [None] * (len(rows) - len(known))
    if key == "top1":  # the table begins with it
        expect(head).to_have_attribute("aria-sort", "ascending")
    else:
        head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert column(opened, key) == known + missing
    head.get_by_role("button").focus()
    opened.page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert column(opened, key) == known[::-1] + missing
    expect(opened.page.locator("#class-table [aria-sort$='cending']")).to_have_count(1)


def test_names_sort_by_their_numbers(open_report: Open, digits: Report) -> None:
    opened = open_report(replace(digits, names={index: f"part {(index * 7) % 10 + 5}" for index in digits.names}))
    opened.page.locator("#class-table th[data-key='name'] button").click()
    assert column(opened, "name") == [f"part {number}" for number in range(5, 15)]


def test_themes(open_report: Open, digits: Report) -> None:
    def expect_paper(opened: Opened, colour: str) -> None:
        expect(opened.page.locator("body")).to_have_css("background-color", colour)  # which waits for the repaint

    light, dark = "rgb(255, 255, 255)", "rgb(17, 20, 23)"
    opened = open_report(digits, color_scheme="light")
    expect_paper(opened, light)
    button = opened.page.locator("#theme")
    for name, colour in (("light", light), ("dark", dark), ("system", light)):
        button.click()
        expect(button).to_have_text(f"Theme: {name}")
        expect_paper(opened, colour)
    button.click()
    button.click()
    opened.page.reload()
    expect_paper(opened, dark)  # remembered
    expect_paper(open_report(digits, color_scheme="dark"), dark)


def test_storage_that_is_forbidden_does_no_harm(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    opened.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
    )
    opened.page.reload()
    opened.page.locator("#theme").click()
    expect(opened.page.locator("#theme")).to_have_text("Theme: light")
    assert opened.complaints == []


def test_hostile_names_do_nothing(open_report: Open, digits: Report) -> None:
    opened = open_report(hostile(digits))
    page = opened.page
    page.locator(".ranking button").first.click()
    card(opened, 0).locator(".larger").click()
    expect(page.locator("dialog > header h2")).to_have_text(EVIL)
    page.locator("dialog .class-card").first.click()
    page.keyboard.press("Escape")
    page.locator("#class-rows .link").first.click()
    expect(page.locator("#gallery-chips button")).to_contain_text(EVIL)
    assert page.locator("[onerror], img[src='x']").count() == 0
    assert opened.complaints == []
    assert not any("onerror" in url or url.endswith("/x") for url in opened.requests)


def test_a_thumbnail_that_is_no_picture_is_not_asked_for(open_report: Open, digits: Report) -> None:
    opened = open_report(with_image(digits, 0, thumb="https://example.invalid/spy.png"))
    card(opened, 0).scroll_into_view_if_needed()
    assert not any("example.invalid" in url for url in opened.requests)
    assert opened.complaints == []


def test_the_larger_view_shows_all_of_an_image(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    page = opened.page
    card(opened, 3).locator(".larger").click()
    dialog = page.locator("dialog")
    expect(dialog.locator("> header h2")).to_have_text(opened.images[3].name)
    expect(dialog.locator(".close")).to_be_focused()
    expect(dialog.locator(".class-card")).to_have_count(len(opened.images[3].maps.classes))
    dialog.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    expect_here(opened, 3, 5 * 12 + 6)
    button = dialog.locator(".class-card").nth(2)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(dialog.locator(".stage canvas")).to_be_visible()

    dialog.locator("[data-step='1']").click()
    expect(dialog.locator("> header h2")).to_have_text(opened.images[4].name)
    expect(dialog.locator("[data-step='1']")).to_be_focused()
    dialog.get_by_text("Cells on object").click()
    expect(page.locator(".gallery-controls [data-layer='foreground']")).to_be_checked()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(card(opened, 4).locator(".larger")).to_be_focused()


def test_layers_are_switched(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    part = card(opened, 0)
    for layer, kind, at_first in (
        ("boxes", ".box", True),
        ("grid", ".cells", True),
        ("foreground", ".foreground", False),
    ):
        mark = part.locator(f".over {kind}").first
        displayed = "e => getComputedStyle(e).display !== 'none'"
        assert mark.evaluate(displayed) is at_first
        opened.page.locator(f".gallery-controls [data-layer='{layer}']").click()
        assert mark.evaluate(displayed) is not at_first


def test_boxes_of_other_things_than_the_label_are_dashed(open_report: Open, digits: Report) -> None:
    (label,) = digits.gallery.images[0].labels
    boxes = ((0.1, 0.1, 0.3, 0.3), (0.5, 0.5, 0.7, 0.7), (0.6, 0.1, 0.8, 0.3))
    opened = open_report(with_image(digits, 0, boxes=boxes, box_classes=(((label + 1) % 10,), (label,), ())))
    marks = card(opened, 0).locator(".over .box:not(.under)")
    found = marks.evaluate_all(
        "all => all.map(p => [p.classList.contains('other'), p.getAttribute('d').split('M').length - 1])"
    )
    assert found == [[False, 2], [True, 1]]


def test_foreground_outline_is_the_border_of_its_cells(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    image = opened.images[0]
    inside = np.zeros(144, np.uint8)
    inside[list(image.foreground)] = 1
    padded = np.pad(inside.reshape(12, 12).astype(int), 1)
    edges = int(np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum())
    path = card(opened, 0).locator(".over .foreground").last.get_attribute("d")
    assert path is not None
    assert path.count("M") == edges


@pytest.fixture(scope="session", params=["shortest", "letterbox"])
def windowed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A wide photo whose middle the network sees, or that is padded above and below."""
    folder = tmp_path_factory.mktemp(request.param)
    photo = cv2.resize(support.rng(3).uniform(0, 255, (4, 6, 3)).astype(np.uint8), (240, 160))
    Image.fromarray(photo).save(folder / "photo.png")
    body = "a = AveragePool<kernel_shape=[16, 24], strides=[16, 24]>(x)\n c = Conv(a, w)\n"
    body += " p = GlobalAveragePool(c)\n y = Flatten(p)"
    kernel = support.weights(6, 3, 1, 1) * 4
    model = support.text_model(body, x="float[N,3,96,96] x", y="float[N,6] y", init={"w": kernel})
    data = audited_reports.write_labels(
        folder, [{"image": "photo.png", "label": 1, "objects": [{"class": 1, "box": [72, 32, 144, 128]}]}]
    )
    names = [f"kind {index}" for index in range(6)]
    return audited_reports.audited(folder, audited_reports.saved(model, folder, names, resize=request.param), data)


def test_cells_lie_in_the_networks_window(open_report: Open, windowed: Report) -> None:
    opened = open_report(windowed)
    part, image = card(opened, 0), opened.images[0]
    cropped = windowed.summary.preprocess.resize == "shortest"
    expected_window = (1 / 6, 0.0, 5 / 6, 1.0) if cropped else (0.0, -0.25, 1.0, 1.25)
    assert image.window == pytest.approx(expected_window)
    photo = settled(part.locator("img"))
    assert photo["width"] / photo["height"] == pytest.approx(1.5, rel=0.02)
    x0, y0, x1, y1 = image.window
    for row, column in ((0, 0), (2, 3), (4, 1)):
        x = photo["x"] + photo["width"] * (x0 + (x1 - x0) * (column + 0.5) / 4)
        y = photo["y"] + photo["height"] * (y0 + (y1 - y0) * (row + 0.5) / 6)
        opened.page.mouse.move(x, y)
        expect(part.locator(".panel-title")).to_contain_text(f"Cell in row {row}, column {column}")
        expect_ranking(part, expected(opened, 0, 4 * row + column))
    assert bool(part.locator(".window").get_attribute("d")) == cropped
    if cropped:  # left of the window there is no cell
        opened.page.mouse.move(photo["x"] + 3, photo["y"] + 30)
        expect(part.locator(".panel-title")).to_have_text("Whole image")


def test_images_without_cells_are_shown_plainly(open_report: Open, digits: Report) -> None:
    opened = open_report(with_image(digits, 0, maps=replace(digits.gallery.images[0].maps, grid=None)))
    part = card(opened, 0)
    expect(part.locator("img")).to_be_visible()
    expect(part.locator("canvas")).to_be_hidden()
    assert part.locator("[tabindex]").count() == 0
    assert part.locator(".over .cells").first.get_attribute("d") == ""
    assert part.locator(".ranking button:enabled").count() == 0
    part.locator(".larger").click()
    expect(opened.page.locator("dialog .close")).to_be_focused()
    assert opened.complaints == []


def test_eight_bits_and_sigmoids_are_read_too(open_report: Open, digits: Report) -> None:
    grid = np.random.default_rng(1).normal(0, 2, (10, 3, 4))
    changed = with_image(digits, 0, maps=encode_maps(grid, range(10), depth=8))
    opened = open_report(replace(changed, activation="sigmoid"))
    part, image = card(opened, 0), opened.images[0]
    point_at(opened, part.locator(".stage"), 7, (3, 4))
    expect(part.locator(".panel-title")).to_contain_text("Cell in row 1, column 3")
    logits, _lse = decode(image.maps)
    shares = 1 / (1 + np.exp(-logits[:, 7]))
    assert [value for _name, value in ranking(part)] == [shown(share) for share in np.sort(shares)[::-1][:5]]
    expect(part.locator(".rest")).to_have_text("")


def test_a_thousand_images_and_classes_are_made_as_they_are_wanted(open_report: Open, many: Report) -> None:
    opened = open_report(many)
    page = opened.page
    assert page.locator("#class-rows tr").count() == 10
    assert 0 < page.locator(".card").count() < 30
    page.evaluate("scrollTo(0, document.getElementById('gallery').getBoundingClientRect().bottom + scrollY - 700)")
    last = card(opened, 999)
    expect(last).to_be_visible()
    assert page.locator(".card").count() < 30
    assert opened.images[999].window == (0.0, 0.0, 1.0, 1.0)
    point_at(opened, last.locator(".stage"), 9, (4, 4))
    expect(last.locator(".panel-title")).to_contain_text("Cell in row 2, column 1")
    expect_ranking(last, expected(opened, 999, 9))
    page.fill("#class-filter", "class 99")
    expect(page.locator("#class-count")).to_have_text("11 classes found")  # 99 and 990 to 999
    assert opened.complaints == []
    assert listed(opened) == list(range(1000))


def test_the_page_fits_a_phone(open_report: Open, digits: Report) -> None:
    opened = open_report(digits, viewport={"width": 360, "height": 740})
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 360
    card(opened, 0).locator(".larger").click()
    expect(opened.page.locator("dialog")).to_be_visible()
    assert opened.page.evaluate("document.querySelector('dialog').scrollWidth") <= 360


def test_paper_has_no_controls_and_everything_unfolded(open_report: Open, digits: Report) -> None:
    opened = open_report(digits, color_scheme="dark")
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark")
    for part in ("nav", ".gallery-controls", "#class-filter", ".larger", "#theme"):
        expect(page.locator(part).first).to_be_hidden()
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("details:not([open])")).to_have_count(0)
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    expect(page.locator("details[open]")).to_have_count(0)


def test_motion_is_reduced_on_request(open_report: Open, digits: Report) -> None:
    fill = ".ranking .fill"
    seconds = f"getComputedStyle(document.querySelector('{fill}')).transitionDuration"
    assert open_report(digits, reduced_motion="reduce").page.evaluate(seconds) == "0s"
    assert open_report(digits, reduced_motion="no-preference").page.evaluate(seconds) == "0.12s"


def test_landmarks_headings_and_names(open_report: Open, digits: Report) -> None:
    page = open_report(digits).page
    for role in ("main", "banner", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.locator("h1").count() == 1
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a, .stage[role], section, nav')].filter(e =>
            e.offsetParent && !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))
        ).map(e => e.outerHTML)"""
    )
    assert unnamed == []
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
