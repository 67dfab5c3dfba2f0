"""What the address says, and what leaves the page: links, the back button, copies, CSV, SVG and PNG."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from onnx_gapmil.auditing.page import Report
from onnx_gapmil.show.html.formatting import short_names
from tests.helpers.report_kinds import KINDS
from tests.helpers.report_pages import Open, Opened, decode, with_image


@pytest.fixture(scope="session")
def latin(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """18 scenes of six colours, 4 of them wrong."""
    return KINDS["latin"](tmp_path_factory.mktemp("latin"))


@pytest.fixture(scope="session")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The same with names of images that an address must spell out."""
    return KINDS["chinese"](tmp_path_factory.mktemp("chinese"))


def count(page: Page) -> Locator:
    return page.locator("#gallery-count")


def wrong_pair(report: Report) -> tuple[int, int, list[str]]:
    """A label and another answer, with the images' names."""
    pair = next(pair for pair in report.confusions.pairs if pair.label != pair.answer)
    names = [
        image.name
        for image in report.gallery.images
        if image.labels == (pair.label,) and image.prediction[0][0] == pair.answer
    ]
    assert len(names) == pair.images
    return pair.label, pair.answer, names


def test_a_click_in_the_matrix_shows_its_images_and_back_takes_them_away(open_report: Open, latin: Report) -> None:
    page = open_report(latin).page
    label, answer, names = wrong_pair(latin)
    page.locator(f"""[data-choose='{{"pair": "{label},{answer}"}}']""").click()
    expect(count(page)).to_have_text(f"{len(names)} of 18 images")
    expect(page).to_have_url(re.compile(f"#pair={label}%2C{answer}$"))
    expect(page.locator("#gallery-chips button")).to_contain_text(f"{short_names(latin.names)[label]} answered as")
    page.go_back()
    expect(count(page)).to_have_text("18 images")
    page.go_forward()
    expect(count(page)).to_have_text(f"{len(names)} of 18 images")
    page.reload()
    expect(count(page)).to_have_text(f"{len(names)} of 18 images")
    expect(page.locator(".card .file")).to_have_text(names)


def test_a_link_opens_an_image_and_back_closes_it(open_report: Open, chinese: Report) -> None:
    opened = open_report(chinese)
    page, name = opened.page, chinese.gallery.images[7].name
    assert not name.isascii()
    page.goto(f"{page.url}#image={quote(name)}")
    expect(page.locator("dialog > header h2")).to_have_text(name)
    page.reload()
    expect(page.locator("dialog > header h2")).to_have_text(name)
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page).not_to_have_url(re.compile("image="))  # a step back is no part of the key press
    page.locator("#gallery").scroll_into_view_if_needed()
    page.locator(".card[data-image='2'] .larger").click()
    expect(page.locator("dialog > header h2")).to_have_text(chinese.gallery.images[2].name)
    page.go_back()
    expect(page.locator("dialog")).to_be_hidden()
    page.go_forward()
    expect(page.locator("dialog > header h2")).to_have_text(chinese.gallery.images[2].name)
    assert opened.complaints == []


def test_a_step_forward_that_overtakes_the_end_of_the_dialog_keeps_it(open_report: Open, chinese: Report) -> None:
    """A browser tells that a dialog was closed in a later task, when a quick step forward has opened it again."""
    opened = open_report(chinese)
    page, name = opened.page, chinese.gallery.images[2].name
    page.goto(f"{page.url}#image={quote(name)}")
    title = page.locator("dialog > header h2")
    expect(title).to_have_text(name)
    closings = """name => new Promise(done => {
        const dialog = document.querySelector("dialog");
        dialog.addEventListener("close", () => setTimeout(() => done(dialog.open), 0));
        for (const address of ["#outcome=all", `#image=${encodeURIComponent(name)}`]) {
            history.replaceState(null, "", address);
            window.dispatchEvent(new PopStateEvent("popstate"));
        }
    })"""
    assert page.evaluate(closings, name) is True
    expect(title).to_have_text(name)
    expect(page).to_have_url(re.compile("image="))
    assert opened.complaints == []


def test_arrow_keys_and_buttons_turn_to_the_next_image_of_the_choice(open_report: Open, latin: Report) -> None:
    page = open_report(latin).page
    names = [image.name for image in latin.gallery.images if not image.right]
    page.goto(f"{page.url}#outcome=wrong&image={quote(names[0])}")
    title = page.locator("dialog > header h2")
    expect(title).to_have_text(names[0])
    for key, place in (("ArrowRight", 1), ("PageDown", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        expect(title).to_have_text(names[place])
    page.locator("[data-step='1']").click()
    expect(title).to_have_text(names[1])
    page.locator("dialog .stage").focus()
    page.keyboard.press("ArrowRight")  # on the photo: the next cell
    expect(title).to_have_text(names[1])
    expect(page.locator("dialog .reading-title").first).to_contain_text("Cell in row 3, column 4")
    page.go_back()
    expect(page.locator("dialog")).to_be_hidden()  # turning pages makes no steps


@pytest.mark.parametrize("address", ["#image=nowhere.png", "#pair=x", "#class=99&slice=%E0%A4%A", "#outcome=__proto__"])
def test_addresses_of_nothing_do_no_harm(open_report: Open, latin: Report, address: str) -> None:
    opened = open_report(latin)
    opened.page.goto(opened.page.url + address)
    opened.page.reload()
    expect(opened.page.locator("dialog")).to_be_hidden()
    expect(count(opened.page)).to_contain_text("18 images")
    assert opened.complaints == []


def test_slices_choose_their_images(open_report: Open, latin: Report) -> None:
    page = open_report(latin).page
    wanted = [image.name for image in latin.gallery.images if "caméra=nuit" in image.slices]
    assert len(wanted) == 9
    page.get_by_role("button", name="nuit").click()
    expect(count(page)).to_have_text("9 of 18 images")
    page.locator("#gallery-chips button").click()
    expect(count(page)).to_have_text("18 images")


def saved(page: Page, button: Locator) -> bytes:
    with page.expect_download() as download:
        button.click()
    return Path(download.value.path()).read_bytes()


def test_the_chosen_images_are_saved_as_csv(open_report: Open, latin: Report) -> None:
    report = with_image(latin, 0, name="=cmd|' /C calc'!A0, \"x\".png")
    opened = open_report(report)
    opened.page.locator("[data-filter='wrong']").click()
    text = saved(opened.page, opened.page.get_by_role("button", name="Save as CSV")).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    wrong = [image for image in report.gallery.images if not image.right]
    assert [row["image"].removeprefix("'") for row in rows] == [image.name for image in wrong]
    assert rows[0]["image"].startswith("'=")  # a spreadsheet must not run it
    assert [row["label_name"] for row in rows] == [latin.names[image.labels[0]] for image in wrong]
    assert [float(row["probability"]) for row in rows] == [image.prediction[0][1] for image in wrong]


def test_names_are_copied(open_report: Open, latin: Report) -> None:
    opened = open_report(latin, permissions=["clipboard-read", "clipboard-write"])
    opened.page.locator("[data-filter='wrong']").click()
    button = opened.page.get_by_role("button", name="Copy names")
    button.click()
    expect(opened.page.locator("#announcer")).to_have_text("Copied")
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied.split("\n") == [image.name for image in latin.gallery.images if not image.right]


def test_a_plot_is_saved_as_svg_and_png(open_report: Open, latin: Report) -> None:
    opened = open_report(latin)
    part = opened.page.locator("#aggregators")
    svg = saved(opened.page, part.get_by_role("button", name="SVG"))
    drawing = ElementTree.fromstring(svg)  # noqa: S314 - the page's own
    words = " ".join("".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text"))
    assert "Accuracy by aggregator" in words
    assert "log-sum-exp" in words
    assert "77.8" in words
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}circle"))) == len(latin.summary.aggregators)
    assert not [e for e in drawing.iter() if "class" in e.attrib or "style" in e.attrib]  # it stands by itself
    picture = cv2.imdecode(np.frombuffer(saved(opened.page, part.get_by_role("button", name="PNG")), np.uint8), 1)
    assert picture.shape[1] == 2 * int(drawing.get("width") or 0)
    accent = np.array([178, 114, 0])  # #0072b2, BGR: the model's own dot
    assert (np.abs(picture.astype(int) - accent).max(axis=2) < 8).sum() > 100
    table = list(
        csv.reader(io.StringIO(saved(opened.page, part.get_by_role("button", name="CSV")).decode("utf-8-sig")))
    )
    assert table[0] == ["Cells pooled by", "top-1", "95 %", "top-5"]
    assert len(table) == 1 + len(latin.summary.aggregators)
    assert opened.complaints == []
    assert not [url for url in opened.requests if not url.startswith(("data:", "blob:", "file:"))]


def test_cards_are_used_again(open_report: Open, many: Report) -> None:
    """As the gallery passes by, the elements that leave above come back below, and the focused one stays."""
    opened = open_report(many)
    page = opened.page
    drawn = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.locator("#gallery").evaluate("list => list.scrollIntoView({ behavior: 'instant' })")
    page.evaluate(drawn)  # the cards near the window are made in the frame after the scroll
    page.evaluate("document.querySelectorAll('.card').forEach(card => { card.dataset.seen = '1'; })")
    focused = page.locator(".card[data-image='1'] .larger")
    focused.focus()
    for _ in range(6):
        before = page.evaluate("scrollY")
        page.mouse.wheel(0, 700)
        page.wait_for_function("before => scrollY >= before + 699", arg=before)
        page.evaluate(drawn)
    again = page.locator(".card[data-seen]")
    assert page.locator(".card").count() < 30
    assert again.count() > 8
    assert max(map(int, again.evaluate_all("all => all.map(card => card.dataset.image)"))) > 8
    expect(focused).to_be_focused()
    places = page.locator(".card").evaluate_all("all => all.map(card => +card.ariaPosInSet)")
    assert places == sorted(places)  # the order in which the keyboard walks


def test_paper_has_the_first_cards_with_their_maps(open_report: Open, digits: Report) -> None:
    opened = open_report(digits)
    page = opened.page
    page.emulate_media(media="print")
    expect(page.locator(".card")).to_have_count(48)
    expect(page.locator("#gallery-paper")).to_have_text("The first 48 of 60 images are on paper.")
    expect(page.locator("#gallery-paper")).to_be_visible()
    expect(page.locator(".card canvas:visible")).to_have_count(48)
    tops = page.locator(".card").evaluate_all("all => all.map(card => card.getBoundingClientRect().top)")
    assert tops == sorted(tops)
    page.emulate_media(media="screen")
    expect(page.locator(".card").nth(40)).to_have_count(0)


def test_the_map_of_the_difference_is_label_less_answer(open_report: Open, latin: Report) -> None:
    opened: Opened = open_report(latin)
    page = opened.page
    page.select_option("#map-of", "difference")
    expect(page).to_have_url(re.compile("map=difference"))
    image = latin.gallery.images[0]
    label, answer = image.labels[0], image.prediction[0][0]
    assert label != answer
    legend = page.locator(".card[data-image='0'] .map-legend")
    expect(legend).to_contain_text(f"{short_names(latin.names)[label]} − {short_names(latin.names)[answer]}")
    values = page.locator(".card[data-image='0'] canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    logits, _ = decode(image.maps)
    gap = logits[image.maps.classes.index(label)] - logits[image.maps.classes.index(answer)]
    level = (gap / np.abs(gap).max() + 1) / 2
    opacity = np.array(values, float).reshape(-1, 4)[:, 3]
    np.testing.assert_allclose(opacity, 255 * (0.08 + 0.8 * np.abs(2 * level - 1)), atol=1)
