"""What the tests of pages to point at share: models of every kind on made photos, the opened page, its readings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, expect

from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.prediction.answers import ImagePrediction
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.page.content import page_model, page_photo
from onnx_gapmil.prediction.page.page import render_page
from tests.helpers.report_kinds import ARABIC, CHINESE
from tests.helpers.support import text_model

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
DIGITS, KERAS, VIT = (SAMPLES / f"digits_{name}.onnx" for name in ("torch_legacy", "keras", "torch_vit"))
SCENES = tuple(str(SAMPLES / "scenes" / f"scene_0{place}.png") for place in (6, 3))


@dataclass
class Shown:
    """An opened page, what the library says of its photos, and what the page complained of or asked for."""

    page: Page
    found: list[ImagePrediction]
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def grid(self) -> np.ndarray:
        """Of the first photo and head, (K, rows, columns), float64."""
        grid = self.found[0].grid
        assert grid is not None
        return np.asarray(grid, np.float64)

    @property
    def stage(self) -> Locator:
        return self.page.locator(".stage").first

    @property
    def here(self) -> Locator:
        return self.page.locator(".reading").first

    @property
    def whole(self) -> Locator:
        return self.page.locator(".reading").nth(1)


Show = Callable[..., Shown]


def pixel_model(
    classes: int,
    side: int = 14,
    *,
    tail: str = "",
    names: Sequence[str] | None = None,
    thresholds: float | Sequence[float] | None = None,
    seed: int = 0,
) -> Classifier:
    """A model whose feature map is its input, so that a cell is a pixel; ``tail`` is its activation."""
    rng = np.random.default_rng(seed + classes)
    weights = {"w": rng.normal(0, 0.02, (classes, 3)).astype(np.float32), "b": rng.normal(0, 1, classes)}
    last = f"y = {tail}(z)" if tail else "y = Identity(z)"
    model = text_model(
        f"f = GlobalAveragePool(x)  q = Flatten(f)  z = Gemm<transB=1>(q, w, b)  {last}",
        x=f"float[N,3,{side},{side}] x",
        y=f"float[N,{classes}] y",
        init={"w": weights["w"], "b": weights["b"].astype(np.float32)},
    )
    plain = ("NCHW", "RGB", (side, side), "squash", 1.0, "nearest", 1.0, (0.0,) * 3, (1.0,) * 3, "float32")
    return Classifier(model, preprocess=Preprocess(*plain), names=names, thresholds=thresholds)


def pixels(side: int = 14, seed: int = 3) -> np.ndarray:
    """A photo of coloured noise."""
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)


#: Models of every kind that a page meets, each with its photos.
KINDS: dict[str, Callable[[], tuple[Classifier, list[Any]]]] = {
    "digits": lambda: (Classifier(DIGITS), list(SCENES)),
    "class-token": lambda: (Classifier(VIT, class_token="auto"), [SCENES[0]]),  # noqa: S106
    "one-logit": lambda: (pixel_model(1, tail="Sigmoid", names=["plain", "striped"]), [pixels()]),
    "sigmoids": lambda: (pixel_model(14, tail="Sigmoid", thresholds=0.6), [pixels()]),
    "thousand": lambda: (pixel_model(1000, tail="Softmax<axis=1>"), [pixels(), pixels(seed=8)]),
    "arabic": lambda: (pixel_model(6, tail="Softmax<axis=1>", names=ARABIC), [pixels()]),
    "chinese": lambda: (pixel_model(6, names=CHINESE), [pixels()]),
}


def rendered(
    model: Classifier, photos: Sequence[Any], most: int | None = None, names: Sequence[str] = ()
) -> tuple[str, list[ImagePrediction]]:
    """The page of photos as text, and the answers that it is of."""
    found = [model.predict(photo) for photo in photos]
    called = list(names) or [Path(photo).name if isinstance(photo, str) else "noise.png" for photo in photos]
    shown = [page_photo([one], name, most=most) for one, name in zip(found, called, strict=True)]
    return render_page([page_model(model)], shown), found


def drawn(part: Page | Locator) -> None:
    """Wait until what was asked for is drawn: the page does that in the next frame."""
    frames = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(null))))"
    (part if isinstance(part, Page) else part.page).evaluate(frames)


def number(text: str) -> float:
    """A logit as the page prints it."""
    return float(text.replace("\u2212", "-"))


def ranking(part: Locator) -> list[tuple[str, float]]:
    """The rows of a list: (name, logit)."""
    rows = part.locator(".ranking li:not([hidden])")
    names, logits = rows.locator(".name").all_text_contents(), rows.locator(".logit").all_text_contents()
    return list(zip(names, map(number, logits), strict=True))


def expect_ranking(part: Locator, found: ImagePrediction, logits: np.ndarray, *, within: float, count: int = 5) -> None:
    """A list shows the highest of these logits (K,), to the digits that the page keeps."""
    head = found.heads[0]
    order = np.argsort(-head.reading.above(logits), kind="stable")[:count]
    names = [re.escape(head.name(int(index)).split(", ")[0]) for index in order]
    drawn(part)
    expect(part.locator(".ranking li:not([hidden]) .name")).to_have_text([re.compile(f"^{name}") for name in names])
    shown = [logit for _, logit in ranking(part)]
    np.testing.assert_allclose(shown, logits[order], atol=within + 0.0051)


def point(shown: Shown, cell: tuple[int, int], *, click: bool = False, stage: Locator | None = None) -> None:
    """Move the mouse to the middle of a cell of the first photo, or click there."""
    x, y = middle(shown, cell, stage)
    if click:
        shown.page.mouse.click(x, y)
    else:
        shown.page.mouse.move(x, y)


def middle(shown: Shown, cell: tuple[int, int], stage: Locator | None = None) -> tuple[float, float]:
    """The middle of a cell in pixels of the window: that of the dashed or whole window of the network."""
    part = shown.stage if stage is None else stage
    part.scroll_into_view_if_needed()
    area = part.locator("canvas.map").evaluate(
        "map => { const {left, top, width, height} = map.getBoundingClientRect(); return [left, top, width, height]; }"
    )
    rows, columns = shown.grid.shape[1:]
    return (area[0] + area[2] * (cell[1] + 0.5) / columns, area[1] + area[3] * (cell[0] + 0.5) / rows)


def drag(shown: Shown, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag a rectangle from one cell to another."""
    (x0, y0), (x1, y1) = middle(shown, start), middle(shown, end)
    mouse = shown.page.mouse
    mouse.move(x0, y0)
    mouse.down()
    mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    mouse.move(x1, y1)
    mouse.up()


def set_slider(shown: Shown, name: str, value: int) -> None:
    """Move a slider as a reader does."""
    slider = shown.page.locator(f"#{name}")
    slider.fill(str(value))
    expect(slider).to_have_value(str(value))


def canvas(part: Locator) -> np.ndarray:
    """A map's canvas, (rows, columns, RGBA)."""
    drawn(part)
    values = part.evaluate("c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    return np.array(values[2:], np.uint8).reshape(values[0], values[1], 4)
