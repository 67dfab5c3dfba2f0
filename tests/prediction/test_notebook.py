"""What a notebook shows of a prediction: static, small, and the library's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from onnx_gapmil import Classifier, ImagePrediction
from tests.helpers.report_pages import EVIL
from tests.helpers.view_pages import DIGITS, KINDS, SCENES, pixel_model, pixels


@pytest.fixture(scope="module")
def found() -> ImagePrediction:
    return Classifier(DIGITS).predict(SCENES[0])


def test_each_cell_names_its_five_best_classes(found: ImagePrediction, browser: Browser) -> None:
    page = browser.new_page()
    try:
        page.set_content(found._repr_html_())
        titles = page.locator("rect title").all_text_contents()
    finally:
        page.close()
    assert found.grid is not None
    grid = np.asarray(found.grid, np.float64)
    assert len(titles) == grid[0].size
    for place in (0, 40, 143):
        row, column = divmod(place, 12)
        order = np.argsort(-grid[:, row, column], kind="stable")[:5]
        named = [f"{found.heads[0].name(int(index))} {grid[index, row, column]:.2f}" for index in order]
        assert titles[place].split("\n") == [f"row {row}, column {column}", *named]


def test_its_table_is_the_image_s_answer(found: ImagePrediction) -> None:
    text = found._repr_html_()
    for entry in found.heads[0].top:
        assert f"<bdi>{entry.label}</bdi>" in text
        assert f">{entry.logit:.2f}<" in text
    assert "scene_06.png" in text
    assert "logits, exact" in text


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_small_static_and_loads_nothing(kind: str) -> None:
    model, photos = KINDS[kind]()
    text = model.predict(photos[0])._repr_html_()
    assert len(text) < 120_000
    assert "<script" not in text
    assert 'href="data:image/' in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_names_stay_text() -> None:
    model = pixel_model(3, names=[EVIL, "\u202ex", "y"])
    text = model.predict(pixels())._repr_html_()
    assert "<img" not in text
    assert "\u202e" not in text


def test_arrays_have_a_table_alone(tmp_path: Path) -> None:
    model = Classifier(DIGITS)
    text = model.predict(np.zeros((1, 3, 96, 96), np.float32))._repr_html_()
    assert "<svg" not in text
    assert "<table>" in text
