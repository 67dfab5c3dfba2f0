"""The layout of the picture: header, photo beside winners, a panel for each class, the scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.cells import SURE
from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.show.drawing.canvas import Canvas, text_width
from onnx_gapmil.show.drawing.gridmap import Panel, Region, blend, borders, regions
from onnx_gapmil.show.drawing.palette import CATEGORICAL, HAIRLINE, INK, MUTED, OTHER, PAPER, Color, evidence
from onnx_gapmil.show.drawing.scores import ClassScores, Scores

WIDTH = 1680
"""Width of every picture in pixels; its height follows from its contents."""

_MARGIN = 56
_GAP = 32
_CONTENT = WIDTH - 2 * _MARGIN
_LEGEND = 420
_TALLEST = 600
_NARROWEST = 330
_PER_ROW = 4
_COLORED = 6
_TINT = 0.66
_FAINTEST = 0.1
_BOXES = 5

_HOW_TO_READ = (
    "Each cell has a logit for every class, by the model's own head; "
    "their mean over the cells is the image's logit. "
    "A cell has the colour of its highest class, the stronger the more of the cell's softmax it has. "
    "Boxes surround the largest connected areas that are sure."
)


class PictureLayout:
    """Everything that is on the picture, and where.

    Args:
        photo: (H, W, 3), RGB, uint8.
        geometry: where the window that the cells divide lies in it.
        scores: of the photo.
        top: how many classes get a panel.
        faded: why what lies outside that window is faded.
    """

    def __init__(
        self, photo: npt.NDArray[np.uint8], geometry: Geometry, scores: Scores, top: int, *, faded: str
    ) -> None:
        self.scores = scores
        self.faded = faded
        self.named = scores.named_winners(_COLORED)
        self.shown = scores.shown(top)
        self.colors = _assign_colors([*self.named, *self.shown])
        shape = (scores.winners.shape[0], scores.winners.shape[1])
        aspect = photo.shape[0] / photo.shape[1]
        self.panel = Panel(photo, geometry, shape, _panel_size((_CONTENT - _LEGEND - 2 * _GAP) // 2, aspect))
        columns = min(len(self.shown), _PER_ROW)
        self.slot = (_CONTENT - _GAP * (_PER_ROW - 1)) // _PER_ROW
        self.small = Panel(photo, geometry, shape, _panel_size(self.slot, aspect, tallest=480))
        self.rows = -(-len(self.shown) // max(columns, 1))

    def draw(self, title: str, subtitle: str) -> npt.NDArray[np.uint8]:
        """The picture, (height, WIDTH, 3), RGB, uint8."""
        header, legend_rows = 176, len(self.named) + 1
        first = max(self.panel.size[0], 34 * legend_rows + 60) + 84
        second = self.rows * (self.small.size[0] + 112) + 56
        third = 78 + 44 * len(self.shown)
        self.page = Canvas(WIDTH, header + first + second + third + _MARGIN)
        self._header(title, subtitle)
        self._photo_and_winners(header)
        self._evidence(header + first)
        self._table(header + first + second)
        return self.page.pixels()

    def _header(self, title: str, subtitle: str) -> None:
        self.page.text((_MARGIN, 76), title, 36, bold=True, width=_CONTENT)
        self.page.text((_MARGIN, 108), subtitle, 19, color=MUTED, width=_CONTENT)
        self.page.text((_MARGIN, 148), self._finding(), 23, width=_CONTENT)

    def _finding(self) -> str:
        """The sentence to remember."""
        answer, winner = self.scores.of(self.scores.answer), self.scores.of(self.scores.winner)
        said = f"Image level: {answer.name} ({self._score(answer.image)})."
        total = f"{self.scores.cells} ({_percent(winner.share)})"
        if answer.index == winner.index:
            amount = "most" if winner.share > 0.5 else "the largest share of the"
            return f"{said} The same class wins {amount} cells: {winner.won} of {total}."
        verb = "Most cells disagree" if winner.share > 0.5 else "No class wins most cells"
        return f"{said} {verb}: {winner.name} wins {winner.won} of {total}, {answer.name} {answer.won}."

    def _photo_and_winners(self, y: int) -> None:
        width = max(self.panel.size[1], _NARROWEST)
        left, middle, right = _MARGIN, _MARGIN + width + _GAP, _MARGIN + 2 * (width + _GAP)
        hidden = not bool(self.panel.seen.all())
        self._heading(
            (left, y + 18),
            "Photo",
            self.faded if hidden else "",
            width,
        )
        rows, cols = self.scores.winners.shape
        self._heading((middle, y + 18), "Winning class of each cell", f"{rows} × {cols} cells", width)
        self.page.paste((left, y + 32), self.panel.dimmed(self.panel.photo))
        self.page.paste((middle, y + 32), self._winner_map())
        self._boxes(middle, y + 32)
        self._legend(right, y, min(WIDTH - _MARGIN - right, 560))

    def _winner_map(self) -> npt.NDArray[np.uint8]:
        groups = self._groups()
        table = np.array([*(self.colors[k] for k in self.named), OTHER], dtype=np.uint8)
        spread = self.panel.spread(groups)
        sure = np.asarray(self.panel.spread(self.scores.certainty), dtype=np.float64)
        alpha = np.where(spread == len(self.named), 0.0, _TINT * (_FAINTEST + (1 - _FAINTEST) * sure))[:, :, None]
        tinted = blend(self.panel.grey(), table[spread], alpha)
        tinted[borders(spread, 2)] = PAPER
        return self.panel.dimmed(np.where(self.panel.seen[:, :, None], tinted, self.panel.grey()))

    def _groups(self) -> npt.NDArray[np.intp]:
        """(h, w): the place in `named` of each cell's winner; `len(named)` for the other classes, and for nobody."""
        place = np.full(len(self.scores.logits) + 1, len(self.named), dtype=np.intp)  # the last, -1, is nobody's
        place[self.named] = np.arange(len(self.named))
        groups: npt.NDArray[np.intp] = place[self.scores.winners]
        return groups

    def _boxes(self, x: int, y: int) -> None:
        """Box the largest connected region of each named class; of many boxes, the largest few."""
        seen: set[int] = set()
        groups = np.where(self.scores.certainty >= SURE, self._groups(), len(self.named))
        for region in regions(groups):
            if region.value == len(self.named) or region.value in seen or not self._worth_a_box(region):
                continue
            seen.add(region.value)
            if len(seen) > _BOXES:
                break
            x0, y0, x1, y1 = self.panel.rectangle(region.rows, region.cols)
            box = (x + x0, y + y0, x + x1, y + y1)
            self.page.box(box, outline=PAPER, width=6)
            inner = (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1)
            self.page.box(inner, outline=self.colors[self.named[region.value]], width=4)

    def _worth_a_box(self, region: Region) -> bool:
        return bool(max(2.0, 0.03 * self.scores.cells) <= region.cells < self.scores.cells)

    def _legend(self, x: int, y: int, width: int) -> None:
        self.page.text((x, y + 18), "Class", 17, color=MUTED)
        self.page.text((x + width - 84, y + 18), "cells", 17, color=MUTED, anchor="rs")
        self.page.text((x + width, y + 18), "share", 17, color=MUTED, anchor="rs")
        self.page.box((x, y + 32, x + width, y + 33), fill=HAIRLINE)
        lines = [(self.scores.of(k), self.colors[k]) for k in self.named]
        baseline = y + 62
        for entry, color in lines:
            self._legend_line((x, baseline), width, entry.name, color, entry.won)
            baseline += 34
        rest = self.scores.won.astype(bool)
        rest[self.named] = False
        if rest.any():
            name = f"{int(rest.sum())} other classes" if rest.sum() > 1 else "1 other class"
            self._legend_line((x, baseline), width, name, OTHER, int(self.scores.won[rest].sum()))
            baseline += 34
        bottom = y + 32 + self.panel.size[0]
        self.page.paragraph((x, baseline + 14), _HOW_TO_READ, 16, color=MUTED, width=width, bottom=bottom)

    def _legend_line(self, xy: tuple[int, int], width: int, name: str, color: Color, cells: int) -> None:
        x, baseline = xy
        self.page.box((x, baseline - 16, x + 18, baseline + 2), fill=color)
        self.page.text((x + 30, baseline), name, 19, width=width - 180)
        self.page.text((x + width - 84, baseline), str(cells), 19, anchor="rs")
        self.page.text((x + width, baseline), _percent(cells / self.scores.cells), 19, anchor="rs")

    def _evidence(self, y: int) -> None:
        planes = self.scores.grid[self.shown]
        low, high = float(planes.min()), float(planes.max())
        self._heading((_MARGIN, y + 18), "Evidence for each class", "one colour scale for all", _CONTENT - 700)
        self._color_bar(WIDTH - _MARGIN, y, low, high)
        for place, index in enumerate(self.shown):
            x = _MARGIN + (place % _PER_ROW) * (self.slot + _GAP)
            top = y + 40 + (place // _PER_ROW) * (self.small.size[0] + 112)
            entry = self.scores.of(index)
            level = (planes[place] - low) / max(high - low, 1e-12)
            level = self.small.spread(level).astype(np.float64)
            tinted = evidence(self.small.grey(), level)
            seen = np.where(self.small.seen[:, :, None], tinted, self.small.grey())
            self.page.paste((x, top), self.small.dimmed(seen))
            self._mark(x, top, entry.best_cell)
            self._caption(x, top + self.small.size[0], entry)

    def _mark(self, x: int, y: int, cell: tuple[int, int]) -> None:
        row, col = cell
        x0, y0, x1, y1 = self.small.rectangle((row, row + 1), (col, col + 1))
        self.page.box((x + x0, y + y0, x + x1, y + y1), outline=INK, width=4)
        self.page.box((x + x0 + 1, y + y0 + 1, x + x1 - 1, y + y1 - 1), outline=PAPER, width=2)

    def _caption(self, x: int, y: int, entry: ClassScores) -> None:
        self.page.box((x, y + 14, x + 16, y + 30), fill=self.colors[entry.index])
        self.page.text((x + 26, y + 29), entry.name, 20, bold=True, width=self.slot - 26)
        image = f"image: rank {entry.rank}, logit {entry.logit:.2f}"
        best = f"best cell: row {entry.best_cell[0]}, column {entry.best_cell[1]}, logit {entry.best_logit:.2f}"
        if self.scores.activation != "none":
            image += f", {_percent(entry.image)}"
        self.page.text((x, y + 55), image, 17, color=MUTED, width=self.slot)
        self.page.text((x, y + 78), best, 17, color=MUTED, width=self.slot)

    def _color_bar(self, right: int, y: int, low: float, high: float) -> None:
        length, gap = 300, 10
        low_text, high_text = f"{low:.1f}", f"{high:.1f}"
        bar_right = right - int(text_width(high_text, 17)) - gap
        ramp = np.tile(np.linspace(0.0, 1.0, length), (16, 1))
        self.page.paste((bar_right - length, y + 4), evidence(np.full((16, length, 3), 190, np.uint8), ramp))
        self.page.text((right, y + 18), high_text, 17, anchor="rs")
        used = self.page.text((bar_right - length - gap, y + 18), low_text, 17, anchor="rs")
        note = "cell logit (mean over cells = image logit)"
        self.page.text((bar_right - length - 2 * gap - used, y + 18), note, 17, color=MUTED, anchor="rs")

    def _table(self, y: int) -> None:
        """A row for each class, a column of bars for each measure."""
        name_width, number = 330, 76
        column = (_CONTENT - name_width - 2 * _GAP) // 3
        bar = column - number
        probability = self.scores.activation != "none"
        kind = "probability" if probability else "logit"
        self._heading((_MARGIN, y + 18), "Image and cells", "", name_width)
        for place, heading in enumerate((f"Image-level {kind}", f"Best cell's {kind}", "Share of cells won")):
            self.page.text((_MARGIN + name_width + place * (column + _GAP), y + 18), heading, 17, color=MUTED)
        self.page.box((_MARGIN, y + 32, WIDTH - _MARGIN, y + 33), fill=HAIRLINE)
        entries = [self.scores.of(index) for index in self.shown]
        low = 0.0 if probability else min(0.0, *(min(e.image, e.best) for e in entries))
        high = 1.0 if probability else max(low + 1e-9, 0.0, *(max(e.image, e.best) for e in entries))
        zero = -low / (high - low)
        for line, entry in enumerate(entries):
            top, color = y + 46 + 44 * line, self.colors[entry.index]
            self.page.box((_MARGIN, top + 6, _MARGIN + 18, top + 24), fill=color)
            self.page.text((_MARGIN + 30, top + 22), entry.name, 19, width=name_width - 50)
            cells = (
                (entry.image, zero, (entry.image - low) / (high - low), self._score(entry.image)),
                (entry.best, zero, (entry.best - low) / (high - low), self._score(entry.best)),
                (entry.share, 0.0, entry.share, _percent(entry.share)),
            )
            for place, (_, start, end, text) in enumerate(cells):
                x = _MARGIN + name_width + place * (column + _GAP)
                self.page.bar((x, top + 4, x + bar, top + 26), start, end, color)
                self.page.text((x + bar + 10, top + 22), text, 19)

    def _heading(self, xy: tuple[int, int], text: str, note: str, width: int) -> None:
        used = self.page.text(xy, text, 21, bold=True, width=width)
        if note:
            self.page.text((xy[0] + used + 14, xy[1]), note, 17, color=MUTED, width=max(0.0, width - used - 14))

    def _score(self, value: float) -> str:
        return f"{value:.2f}" if self.scores.activation == "none" else _percent(value)


def _assign_colors(classes: Sequence[int]) -> dict[int, Color]:
    """A colour for each class while they last; grey for the rest."""
    distinct = list(dict.fromkeys(classes))
    return {k: CATEGORICAL[place] if place < len(CATEGORICAL) else OTHER for place, k in enumerate(distinct)}


def _panel_size(width: int, aspect: float, tallest: int = _TALLEST) -> tuple[int, int]:
    """(height, width) of a photo fitted into the room; a strip of a photo is stretched to be seen."""
    height = width * aspect
    if height > tallest:
        return tallest, max(48, round(tallest / aspect))
    return max(48, round(height)), width


def _percent(share: float) -> str:
    percent = 100 * share
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99 < percent < 100:
        return f"{math.floor(10 * percent) / 10} %" if percent < 99.9 else ">99.9 %"
    return f"{percent:.1f} %" if percent < 10 and percent else f"{percent:.0f} %"
