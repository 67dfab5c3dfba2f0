"""What a notebook shows of a prediction: static, small, without a script, so that it is there wherever it is opened."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.show.drawing.palette import opacity, sequential
from onnx_gapmil.show.html.formatting import short_names
from onnx_gapmil.show.html.markup import Markup, bdi, join, tag

if TYPE_CHECKING:
    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.prediction.head_answer import ClassScore, HeadPrediction

#: Longer side of the photo in pixels, and its JPEG quality.
_SIDE, _QUALITY = 360, 80
#: Classes that a cell names under the pointer, and cells above which none does: texts would be longer than all else.
_OF_A_CELL, _MOST_CELLS = 5, 400
_HARD = "image-rendering: pixelated;"
_CELL = "padding: 2px 12px 2px 0; text-align: left;"
_NUMBER = "padding: 2px 0 2px 12px; text-align: right;"


def prediction_html(
    head: HeadPrediction, name: str, photo: npt.NDArray[np.uint8] | None, geometry: Geometry | None
) -> str:
    """A head's answer to a photo as a part of a page.

    Args:
        head: the answer.
        name: of the photo.
        photo: (H, W, 3) RGB; None where it was not kept.
        geometry: where the window that the cells divide lies in it; None where that is not known.

    Returns:
        HTML: the photo under the map of its best class, each cell with its five best classes under the pointer, where
        photo, grid and places are known; and a table of the image's best classes.
    """
    drawing = None
    if photo is not None and head.grid is not None and geometry is not None and head.top:
        drawing = _drawing(head, head.grid, photo, geometry)
    return tag("div", drawing, _table(head, name), style="display: flex; flex-wrap: wrap; gap: 24px;")


def _drawing(
    head: HeadPrediction, grid: npt.NDArray[np.floating], photo: npt.NDArray[np.uint8], geometry: Geometry
) -> Markup:
    best = head.top[0].index
    plane = np.asarray(grid[best] - grid[1 - best] if head.one_logit else grid[best], dtype=np.float64)
    finite = plane[np.isfinite(plane)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    level = np.nan_to_num((plane - low) / ((high - low) or 1.0))
    address, (width, height) = _small(photo)
    scaled_down = width <= photo.shape[1]
    across, down = width / photo.shape[1], height / photo.shape[0]
    colours, shares = sequential(level), opacity(level)
    cells = []
    for row, column in np.ndindex(plane.shape):
        x0, y0, x1, y1 = geometry.cell_rectangle(row, column, head.plane)
        if x1 <= x0 or y1 <= y0:
            continue
        red, green, blue = (int(part) for part in colours[row, column])
        cells.append(
            tag(
                "rect",
                _cell_title(head, grid, row, column) if plane.size <= _MOST_CELLS else None,
                x=x0 * across,
                y=y0 * down,
                width=(x1 - x0) * across,
                height=(y1 - y0) * down,
                fill=f"rgb({red},{green},{blue})",
                fill_opacity=float(shares[row, column]),
            )
        )
    ends = f"{low:.2f} to {high:.2f}" + (", the logit less the other class's" if head.one_logit else "")
    return tag(
        "figure",
        tag(
            "svg",
            tag("image", href=address, width=width, height=height, style=None if scaled_down else _HARD),
            cells,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width} {height}",
            width=width,
            height=height,
            role="img",
            aria_label=f"Map of {head.top[0].label}",
        ),
        tag("figcaption", "Map of ", bdi(_short(head)[best]), f": {ends}"),
        style="margin: 0;",
    )


def _cell_title(head: HeadPrediction, grid: npt.NDArray[np.floating], row: int, column: int) -> Markup:
    logits = np.asarray(grid[:, row, column], dtype=np.float64)
    order = np.argsort(-head.reading.above(logits), kind="stable")[:_OF_A_CELL].tolist()
    named = "\n".join(f"{head.name(index)} {logits[index]:.2f}" for index in order)
    return tag("title", f"row {row}, column {column}\n{named}")


def _table(head: HeadPrediction, name: str) -> Markup:
    scored = head.reading.activation != "none"

    def line(entry: ClassScore) -> Markup:
        score = tag("td", f"{100 * entry.score:.1f} %", style=_NUMBER) if scored else None
        return tag(
            "tr", tag("td", bdi(entry.label), style=_CELL), tag("td", f"{entry.logit:.2f}", style=_NUMBER), score
        )

    titles = ["class", "logit", *(["score"] if scored else [])]
    heads = [tag("th", text, style=_NUMBER if place else _CELL) for place, text in enumerate(titles)]
    short = _short(head)
    won = [
        join(", " if place else "", bdi(short[one.index]), f" {one.cells}")
        for place, one in enumerate(head.winners[:3])
    ]
    return tag(
        "div",
        tag("div", tag("b", bdi(name)), style="margin-bottom: 4px;"),
        tag("table", tag("thead", tag("tr", heads)), tag("tbody", [line(entry) for entry in head.top])),
        tag("div", f"{head.size_text} cells, won by ", won or "no class", f" · {head.output}, {head.said_verdict}"),
        tag("div", head.said_placeless.removeprefix(", ")) if head.said_placeless else None,
    )


def _short(head: HeadPrediction) -> dict[int, str]:
    """The names that are told beside the table, of synonyms the first."""
    named = {entry.index: entry.label for entry in head.top}
    return short_names(named | {entry.index: entry.label for entry in head.winners})


def _small(photo: npt.NDArray[np.uint8]) -> tuple[str, tuple[int, int]]:
    """A photo as a ``data:`` address, small, and its (width, height) on the page; tiny ones grow by whole factors."""
    height, width = photo.shape[:2]
    scale = _SIDE / max(height, width)
    if scale >= 1:
        factor = max(1, int(scale))
        _, encoded = cv2.imencode(".png", np.ascontiguousarray(photo[:, :, ::-1]))
        return f"data:image/png;base64,{_text(encoded)}", (width * factor, height * factor)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{_text(encoded)}", size


def _text(encoded: npt.NDArray[np.uint8]) -> str:
    return base64.b64encode(encoded.tobytes()).decode()
