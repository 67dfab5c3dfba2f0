"""What the page gives away: pictures, arrays, and Python that gives the same numbers."""

from __future__ import annotations

import io
import shutil
import tarfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from onnx_gapmil import predict
from onnx_gapmil.aggregate.aggregator import parse_aggregator
from onnx_gapmil.show.drawing.palette import opacity, sequential
from tests.helpers.view_pages import DIGITS, SCENES, Show, Shown

SVG = "{http://www.w3.org/2000/svg}"


def saved(shown: Shown, name: str) -> tuple[str, bytes]:
    """Press a button of the export bar: what the file is called, and holds."""
    with shown.page.expect_download() as download:
        shown.page.locator(".exports").get_by_role("button", name=name, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_the_arrays_are_the_library_s(show: Show) -> None:
    shown = show("digits")
    name, data = saved(shown, "NPZ")
    assert name == "scene_06.npz"
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert set(arrays) == {"logits", "grid", "classes", "cells"}
        np.testing.assert_array_equal(arrays["logits"], shown.found[0].logits)
        np.testing.assert_allclose(arrays["grid"], shown.grid, atol=0.001)
        np.testing.assert_array_equal(arrays["classes"], np.arange(10))
        np.testing.assert_allclose(arrays["cells"], shown.found[0].places, atol=1e-3)
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None


def test_the_arrays_of_a_page_that_keeps_some_classes_say_which(show: Show) -> None:
    shown = show("thousand")
    with np.load(io.BytesIO(saved(shown, "NPZ")[1])) as arrays:
        classes = arrays["classes"]
        assert 5 < len(classes) < 1000
        assert arrays["logits"].shape == (1000,)
        np.testing.assert_allclose(arrays["grid"], shown.grid[classes], atol=0.001)


def test_the_png_is_the_photo_under_its_map(show: Show) -> None:
    shown = show("digits")
    name, data = saved(shown, "PNG")
    assert name == "scene_06.png"
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB"), np.float64)
    assert pixels.shape == (672 + 48, 672, 3)  # 96 x 96 by 7, and what it says below
    head, photo = shown.found[0].heads[0], np.asarray(Image.open(SCENES[0]).convert("RGB"), np.float64)
    plane = shown.grid[head.top[0].index]
    level = (plane - plane.min()) / (plane.max() - plane.min())
    places = shown.found[0].places
    assert places is not None
    for cell in ((3, 3), (8, 6), (2, 9)):
        x0, y0, x1, y1 = places[cell]
        x, y = int((x0 + x1) / 2), int((y0 + y1) / 2)
        grey = photo[y, x] @ [0.2126, 0.7152, 0.0722]
        share = opacity(level[cell])
        expected = share * sequential(level)[cell] + (1 - share) * grey
        np.testing.assert_allclose(pixels[7 * y + 3, 7 * x + 3], expected, atol=4)


def test_the_svg_has_a_rectangle_for_each_cell_and_says_what_it_shows(show: Show) -> None:
    shown = show("digits", "#rect=2,2,4,5")
    name, data = saved(shown, "SVG")
    assert name == "scene_06.svg"
    drawing = ElementTree.fromstring(data)  # noqa: S314  (made by the page)
    cells = drawing.findall(f"{SVG}g/{SVG}rect")
    assert len(cells) == shown.grid[0].size
    head = shown.found[0].heads[0]
    plane = shown.grid[head.top[0].index]
    level = (plane - plane.min()) / (plane.max() - plane.min())
    shares = np.array([float(cell.attrib["fill-opacity"]) for cell in cells]).reshape(plane.shape)
    np.testing.assert_allclose(shares, opacity(level), atol=0.005)
    texts = [text.text or "" for text in drawing.iter(f"{SVG}text")]
    assert head.top[0].label in texts[0]
    assert "digits_torch_legacy.onnx, exact head" in texts[1]
    shown.page.locator("#drawn [data-value='1']").click()
    expect(shown.page.locator(".badge")).to_be_visible()
    smooth = ElementTree.fromstring(saved(shown, "SVG")[1])  # noqa: S314
    assert "interpolated, not measured" in [text.text or "" for text in smooth.iter(f"{SVG}text")][1]


@pytest.mark.parametrize(
    ("address", "key", "part"),
    [
        ("#cell=3,4", "mean", (slice(3, 4), slice(4, 5))),
        ("#rect=2,3,5,7&pool=lse=2", "lse=2", (slice(2, 6), slice(3, 8))),
        ("#rect=0,0,1,11&pool=max", "max", (slice(0, 2), slice(0, 12))),
        ("#cell=0,0&pool=topk=7", "topk=7", (slice(0, 1), slice(0, 1))),
    ],
)
def test_three_lines_of_python_give_the_same_numbers(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, key: str, part: tuple[slice, slice]
) -> None:
    shown = show("digits", address)
    code = shown.page.locator("#code").text_content() or ""
    assert len(code.splitlines()) == 3
    for path in DIGITS.parent.glob("digits_torch_legacy.*"):
        shutil.copy(path, tmp_path)
    shutil.copy(SCENES[0], tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(code, names)  # noqa: S102  (what the page says is run as a reader would)
    np.testing.assert_allclose(names["here"].ravel(), shown.grid[:, part[0], part[1]].mean(axis=(1, 2)), atol=1e-4)
    expected = shown.found[0].logits if key == "mean" else parse_aggregator(key)(shown.grid)
    np.testing.assert_allclose(names["image"], expected, atol=1e-4)


def test_the_lines_say_that_a_photo_in_a_shard_is_no_file(show: Show, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        shard.add(SCENES[0], "0.png")
    predict(DIGITS, tmp_path / "s.tar", tmp_path, page=True, pictures=False)
    shown = show(((tmp_path / "predictions.html").read_text("utf-8"), []))
    expect(shown.page.locator("#code")).to_contain_text("# The photo lies in a shard or behind a URL")
    compile(shown.page.locator("#code").text_content() or "", "lines", "exec")


def test_a_link_is_copied(show: Show) -> None:
    shown = show("digits", "#cell=3,4", permissions=["clipboard-read", "clipboard-write"])
    shown.page.locator(".exports").get_by_role("button", name="Link").click()
    expect(shown.page.locator("#announcer")).to_have_text("Copied")
    assert shown.page.evaluate("navigator.clipboard.readText()") == shown.page.url
