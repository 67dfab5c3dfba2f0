"""The panels of evidence: one class's logits over the photo, on one colour scale for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_gapmil.show.drawing.canvas import Canvas, line_step
from onnx_gapmil.show.drawing.gridmap import Panel
from onnx_gapmil.show.drawing.palette import INK, MUTED, PAPER, Color, opacity, sequential
from onnx_gapmil.show.drawing.scores import ClassScores, Scores
from onnx_gapmil.show.drawing.sentences import percent
from onnx_gapmil.show.drawing.typesetting import width as text_width

_GAP = 32
_RAMP = 260
#: A mark around a cell is at least this large.
_SMALLEST_MARK = 14


class EvidencePanels:
    """The panels, their captions and their scale.

    Args:
        page: to draw on.
        panel: the photo at their size.
        scores: of the photo.
        shown: the classes, one a panel.
        colors: of the classes.
    """

    def __init__(
        self, page: Canvas, panel: Panel, scores: Scores, shown: Sequence[int], colors: Mapping[int, Color]
    ) -> None:
        self._page, self._panel, self._scores, self._shown, self._colors = page, panel, scores, shown, colors
        planes = scores.grid[list(shown)]
        self._low, self._high = float(planes.min()), float(planes.max())

    def draw(self, xy: tuple[int, int], columns: int, slot: int, width: int) -> int:
        """Draw them in rows.

        Args:
            xy: top left corner.
            columns: panels in a row.
            slot: room of a panel.
            width: of all of them.

        Returns:
            Where they end.
        """
        x, y = xy
        used = self._page.text((x, y + 18), "Evidence for each class", 21, bold=True)
        note = "logit of each cell" + (", one scale for all" if len(self._shown) > 1 else "")
        used += 14 + self._page.text((x + used + 14, y + 18), note, 17, color=MUTED)
        if self._low == self._high:
            note = f": {_number(self._low)} everywhere"
            self._page.text((x + used, y + 18), note, 17, color=MUTED)
        else:
            if width - used < _RAMP + 200:  # beside the scores there is room for it below the heading only
                y += 34
            self._color_bar(x + width, y)
        y += 44
        for first in range(0, len(self._shown), columns):
            row = self._shown[first : first + columns]
            y = max(self._one(x + place * (slot + _GAP), y, index, slot) for place, index in enumerate(row)) + 28
        return y - 28

    def _one(self, x: int, y: int, index: int, slot: int) -> int:
        entry = self._scores.of(index)
        level = (self._scores.grid[index] - self._low) / max(self._high - self._low, 1e-12)
        self._page.paste((x, y), self._panel.tinted(sequential(level), opacity(level), None))
        self._mark(x, y, entry.best_cell)
        return self._caption(x, y + self._panel.size[0], entry, slot)

    def _mark(self, x: int, y: int, cell: tuple[int, int]) -> None:
        row, col = cell
        x0, y0, x1, y1 = self._panel.rectangle((row, row + 1), (col, col + 1))
        if x1 <= x0 or y1 <= y0:  # in the padding, where there is no photo
            return
        wider, higher = (max(0.0, _SMALLEST_MARK - length) / 2 for length in (x1 - x0, y1 - y0))
        box = (max(x, x + x0 - wider), max(y, y + y0 - higher), x + x1 + wider, y + y1 + higher)
        self._page.box(box, outline=INK, width=4)
        self._page.box((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=PAPER, width=2)

    def _caption(self, x: int, y: int, entry: ClassScores, slot: int) -> int:
        self._page.box((x, y + 14, x + 16, y + 30), fill=self._colors[entry.index])
        y += 29
        y += self._page.paragraph((x + 26, y), entry.name, 20, bold=True, room=slot - 26, most=2)
        score = f", {percent(entry.image)}" if self._scores.probabilities else ""
        row, column = entry.best_cell
        best = f"best cell: row {row}, column {column}, logit {entry.best_logit:.2f}"
        for text in (f"image: rank {entry.rank}, logit {entry.logit:.2f}{score}", best):
            y += self._page.paragraph((x, y), text, 17, color=MUTED, room=slot)
        return y - line_step(17) + 6

    def _color_bar(self, right: int, y: int) -> None:
        """The scale with its ends, and 0 marked where it lies between them."""
        low, high, gap = _number(self._low), _number(self._high), 10
        end = right - round(text_width(high, 17)) - gap
        start = end - _RAMP
        ramp = np.linspace(0.0, 1.0, _RAMP)
        alpha = opacity(ramp)[:, None]
        colors = (190 * (1 - alpha) + sequential(ramp) * alpha).astype(np.uint8)
        self._page.paste((start, y + 4), np.tile(colors, (16, 1, 1)))
        self._page.text((right, y + 18), high, 17, anchor="right")
        self._page.text((start - gap, y + 18), low, 17, anchor="right")
        if self._low < 0 < self._high:
            zero = start + round(_RAMP * -self._low / (self._high - self._low))
            self._page.box((zero - 1, y, zero + 1, y + 24), fill=INK)
            self._page.text((zero, y + 37), "0", 14, anchor="middle")


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}" if abs(value) < 1e6 else f"{value:.2g}"
