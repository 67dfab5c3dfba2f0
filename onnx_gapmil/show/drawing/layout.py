"""The layout of the picture: header, photo beside winners, a panel for each class, the scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onnx_gapmil.images.geometry import Geometry
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.show.drawing.canvas import Canvas, line_step
from onnx_gapmil.show.drawing.evidence import EvidencePanels
from onnx_gapmil.show.drawing.gridmap import Panel, Region, regions
from onnx_gapmil.show.drawing.palette import CATEGORICAL, CAUTION, HAIRLINE, MUTED, OTHER, PAPER, Color
from onnx_gapmil.show.drawing.pool_weights import draw_pool_weights
from onnx_gapmil.show.drawing.scores import Scores
from onnx_gapmil.show.drawing.sentences import Caption, finding, how_to_read, least_boxed, percent
from onnx_gapmil.show.drawing.table import draw_table

WIDTH = 1680
"""Width of every picture in pixels; its height follows from its contents."""

_MARGIN = 56
_GAP = 32
_CONTENT = WIDTH - 2 * _MARGIN
_LEGEND = 420
_TALLEST = 600
_NARROWEST = 410
_PER_ROW = 4
_COLORED = 6
_TINT = 0.66
_FAINTEST = 0.1
_BOXES = 5
#: Maps of weights; heads of many parts have a pool for each.
_POOLS = 2
_LISTED, _LISTED_BESIDE = 4, 7
_OTHERS = 0.4
#: A photo flatter than this lies above its map of winners, not beside it.
_STRIP = 0.3


class PictureLayout:
    """Everything that is on the picture, and where.

    Args:
        photo: (H, W, 3), RGB, uint8.
        geometry: where the window that the cells divide lies in it.
        scores: of the photo.
        shown: classes that get a panel.
        faded: why what lies outside that window is faded.
        pools: whose maps of weights stand beside the grid.
    """

    def __init__(
        self,
        photo: npt.NDArray[np.uint8],
        geometry: Geometry,
        scores: Scores,
        shown: Sequence[int],
        *,
        faded: str,
        pools: Sequence[WeightedPool] = (),
    ) -> None:
        self.scores = scores
        self.pools = pools
        self.faded = faded
        self.pool = "mean"
        self.named = scores.named_winners(_COLORED)
        self.shown = list(shown)
        columns = 2 if photo.shape[0] < _STRIP * photo.shape[1] else 3 if len(self.shown) in (1, 3) else _PER_ROW
        self.beside = len(self.shown) < min(columns, 3)  # one or two panels leave room beside them for the scores
        self.listed = scores.listed(shown, min(_LISTED_BESIDE if self.beside else _LISTED, len(scores.logits)))
        self.colors = _assign_colors([*self.named, *self.listed])
        shape = (scores.winners.shape[0], scores.winners.shape[1])
        self.aspect = photo.shape[0] / photo.shape[1]
        self.strip = self.aspect < _STRIP
        room = _CONTENT - _LEGEND - _GAP
        room = room if self.strip else (room - _GAP) // 2
        self.panel = Panel(photo, geometry, shape, panel_size(room, self.aspect))
        self.slot = (_CONTENT - _GAP * (columns - 1)) // columns
        self.columns = min(columns, len(self.shown))
        size = panel_size(self.slot, self.aspect, tallest=480)
        reduced = size[1] <= self.panel.size[1] <= photo.shape[1]  # it need not be read twice, then
        self.small = Panel(self.panel.photo if reduced else photo, geometry, shape, size)

    def draw(self, caption: Caption) -> npt.NDArray[np.uint8]:
        """The picture, (height, WIDTH, 3), RGB, uint8."""
        self.page = Canvas(WIDTH)
        self.pool = caption.pool
        bottom = self._photo_and_winners(self._header(caption) + 28)
        panels = EvidencePanels(self.page, self.small, self.scores, self.shown, self.colors)
        width = self.columns * (self.slot + _GAP) - _GAP
        top = bottom + 44
        if self.beside:  # so that the sheet has no hole
            beside = _CONTENT - width - _GAP
            lowest = panels.draw((_MARGIN, top), self.columns, self.slot, width)
            corner, height = (_MARGIN + width + _GAP, top), self.small.size[0]
            table = draw_table(self.page, corner, beside, self.scores, self.listed, self.colors, height)
            return self.page.pixels(max(lowest, table) + _MARGIN)
        lowest = panels.draw((_MARGIN, top), self.columns, self.slot, _CONTENT)
        table = draw_table(self.page, (_MARGIN, lowest + 44), _CONTENT, self.scores, self.listed, self.colors)
        return self.page.pixels(table + _MARGIN)

    def _header(self, caption: Caption) -> int:
        """Returns where it ends."""
        y = 76 + self.page.paragraph((_MARGIN, 76), caption.title, 34, bold=True, room=_CONTENT)
        y -= line_step(34) - 34
        y += self.page.paragraph((_MARGIN, y), caption.model, 19, color=MUTED, room=_CONTENT)
        if caption.preprocessing:
            how = f" ({caption.guessed})" if caption.guessed else ""
            text = f"Preprocessing{how}: {caption.preprocessing}"
            color = CAUTION if caption.guessed else MUTED
            y += self.page.paragraph((_MARGIN, y), text, 19, color=color, room=_CONTENT)
        y += 12 + self.page.paragraph((_MARGIN, y + 12), finding(self.scores), 23, room=_CONTENT)
        for note in caption.notes:
            self.page.box((_MARGIN, y - 14, _MARGIN + 6, y + 3), fill=CAUTION)
            y += self.page.paragraph((_MARGIN + 18, y), note, 18, color=CAUTION, room=_CONTENT - 18)
        return y - 18

    def _photo_and_winners(self, y: int) -> int:
        """Returns where it ends."""
        width = max(self.panel.size[1], _NARROWEST)
        height = self.panel.size[0]
        first = (_MARGIN, y)
        second = (_MARGIN, y + height + 68) if self.strip else (_MARGIN + width + _GAP, y)
        right = second[0] + width + _GAP
        self._heading(first, "Photo", "" if self.panel.all_seen else self.faded, width)
        rows, cols = self.scores.winners.shape
        self._heading(second, "Winning class of each cell", f"{rows} × {cols} cells", width)
        self.page.paste((first[0], first[1] + 32), self.panel.faded_photo())
        self.page.paste((second[0], second[1] + 32), self._winner_map())
        self._boxes(second[0], second[1] + 32)
        legend = self._legend(right, y, min(WIDTH - _MARGIN - right, 560))
        return max(second[1] + 32 + height, legend)

    def _winner_map(self) -> npt.NDArray[np.uint8]:
        groups = self._groups()
        table = np.array([*(self.colors[k] for k in self.named), OTHER], dtype=np.float64)
        strength = _TINT * (_FAINTEST + (1 - _FAINTEST) * self.scores.strength)
        others = groups == len(self.named)
        strength[others] = np.where(self.scores.winners[others] < 0, 0.0, _OTHERS)
        return self.panel.tinted(table[groups], strength, np.where(self.scores.winners < 0, -1, groups))

    def _groups(self) -> npt.NDArray[np.intp]:
        """(h, w): the place in `named` of each cell's winner; `len(named)` for the other classes, and for nobody."""
        place = np.full(len(self.scores.logits) + 1, len(self.named), dtype=np.intp)  # the last, -1, is nobody's
        place[self.named] = np.arange(len(self.named))
        groups: npt.NDArray[np.intp] = place[self.scores.winners]
        return groups

    def _boxes(self, x: int, y: int) -> None:
        """Box the largest connected region of each named class; of many boxes, the largest few."""
        seen: set[int] = set()
        for region in sorted(self._regions(), key=lambda region: -region.cells):
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

    def _regions(self) -> list[Region]:
        """Connected sure cells, by the place in `named`; where classes are read each by itself, they may overlap."""
        others = len(self.named)
        if not self.scores.multi_label:
            return regions(np.where(self.scores.sure, self._groups(), others))
        layers = (np.where(self.scores.above(index), place, others) for place, index in enumerate(self.named))
        return [region for layer in layers for region in regions(layer)]

    def _worth_a_box(self, region: Region) -> bool:
        return bool(least_boxed(self.scores.cells) <= region.cells < self.scores.cells)

    def _legend(self, x: int, y: int, width: int) -> int:
        """Returns where it ends."""
        self.page.text((x, y + 18), "Class", 17, color=MUTED)
        self.page.text((x + width - 84, y + 18), "cells", 17, color=MUTED, anchor="right")
        self.page.text((x + width, y + 18), "share", 17, color=MUTED, anchor="right")
        self.page.box((x, y + 32, x + width, y + 33), fill=HAIRLINE)
        y += 62
        for index in self.named:
            entry = self.scores.of(index)
            y = self._legend_line((x, y), width, entry.name, self.colors[index], entry.won)
        rest = self.scores.won.astype(bool)
        rest[self.named] = False
        if rest.any():
            name = f"{int(rest.sum())} other classes" if rest.sum() > 1 else "1 other class"
            y = self._legend_line((x, y), width, name, OTHER, int(self.scores.won[rest].sum()))
        if self.scores.nobody:
            name = "none: no class above its threshold" if self.scores.multi_label else "nobody: two equally high"
            y = self._legend_line((x, y), width, name, None, self.scores.nobody)
        text = how_to_read(self.scores, self.pool)
        y += 12 + self.page.paragraph((x, y + 12), text, 16, color=MUTED, room=width) - line_step(16) + 6
        for pool in self.pools[:_POOLS]:
            y = draw_pool_weights(self.page, (x, y + 24), width, pool)
        more = len(self.pools) - _POOLS
        if more > 0:
            said = (
                f"{more} more pool{'s have' if more > 1 else ' has'} weights of {'their' if more > 1 else 'its'} own."
            )
            y += 30 + self.page.paragraph((x, y + 30), said, 16, color=MUTED, room=width) - line_step(16)
        return y

    def _legend_line(self, xy: tuple[int, int], width: int, name: str, color: Color | None, cells: int) -> int:
        """Returns the next line's baseline."""
        x, y = xy
        square = (x, y - 16, x + 18, y + 2)
        self.page.box(square, fill=color, outline=HAIRLINE if color is None else None, width=2)
        self.page.text((x + width - 84, y), str(cells), 19, anchor="right")
        self.page.text((x + width, y), percent(cells / self.scores.cells), 19, anchor="right")
        used = self.page.paragraph((x + 30, y), name, 19, room=width - 180, most=2)
        return y + used + 34 - line_step(19)

    def _heading(self, corner: tuple[int, int], text: str, note: str, width: int) -> None:
        x, y = corner[0], corner[1] + 18
        used = self.page.text((x, y), text, 21, bold=True)
        if note:
            self.page.text((x + used + 14, y), note, 17, color=MUTED, room=max(0.0, width - used - 14))


def _assign_colors(classes: Sequence[int]) -> dict[int, Color]:
    """A colour for each class while they last; grey for the rest."""
    distinct = list(dict.fromkeys(classes))
    return {k: CATEGORICAL[place] if place < len(CATEGORICAL) else OTHER for place, k in enumerate(distinct)}


def panel_size(width: int, aspect: float, tallest: int = _TALLEST) -> tuple[int, int]:
    """(height, width) of a photo fitted into the room; a strip of a photo is stretched to be seen."""
    height = width * aspect
    if height > tallest:
        return tallest, max(48, round(tallest / aspect))
    return max(48, round(height)), width
