"""The table of scores: a row for each class, a column of bars for each measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx_gapmil.show.drawing.canvas import Canvas
from onnx_gapmil.show.drawing.palette import HAIRLINE, INK, MUTED, Color
from onnx_gapmil.show.drawing.scores import ClassScores, Scores
from onnx_gapmil.show.drawing.sentences import percent, score_text

_GAP = 28
_NUMBER = 80
_ROW, _HIGHEST_ROW = 50, 76


def draw_table(
    page: Canvas,
    xy: tuple[int, int],
    width: int,
    scores: Scores,
    listed: Sequence[int],
    colors: Mapping[int, Color],
    room: int = 0,
) -> int:
    """Draw it.

    Args:
        page: to draw on.
        xy: top left corner.
        width: of the table.
        scores: of the photo.
        listed: the classes, one a row.
        colors: of the classes.
        room: for the rows, in pixels, which they fill as far as it looks well.

    Returns:
        Where it ends.
    """
    x, y = xy
    names = max(180, round(0.21 * width))
    column = (width - names - 2 * _GAP) // 3
    starts = [x + names + place * (column + _GAP) for place in range(3)]
    kind = "probability" if scores.probabilities else "logit"
    page.text((x, y + 18), "Image and cells", 21, bold=True, room=names)
    wide = column > 230
    headings = (f"Image-level {kind}", f"Best cell's {kind}", "Share of cells won")
    for start, heading in zip(starts, headings, strict=True):
        page.text((start, y + 18), heading, 17 if wide else 15, color=MUTED)
    page.box((x, y + 32, x + width, y + 33), fill=HAIRLINE)
    entries = [scores.of(index) for index in listed]
    low, high = _ends(entries, scores)
    zero = -low / (high - low)
    level = scores.level if scores.probabilities else zero if low < 0 < high else None
    step = min(max(_ROW, room // len(entries)), _HIGHEST_ROW)
    for line, entry in enumerate(entries):
        top = y + 46 + step * line
        page.box((x, top + 6, x + 18, top + 24), fill=colors[entry.index])
        _name(page, (x + 30, top + 22), entry.name, names - 44)
        values = (
            ((entry.image - low) / (high - low), zero, score_text(entry.image, scores), level),
            ((entry.best - low) / (high - low), zero, score_text(entry.best, scores), level),
            (entry.share, 0.0, percent(entry.share), None),
        )
        for start, (end, origin, text, tick) in zip(starts, values, strict=True):
            right = start + column - _NUMBER
            page.bar((start, top + 4, right, top + 26), origin, end, colors[entry.index])
            if tick is not None:
                place = start + round(tick * (right - start))
                page.box((place - 1, top, place + 1, top + 30), fill=INK)
            page.text((right + 10, top + 22), text, 19, room=_NUMBER)
    bottom = y + 46 + step * len(entries)
    if level is not None:
        what = f"marks the threshold, {scores.level:g}" if scores.probabilities else "marks 0"
        page.text((starts[0], bottom + 12), f"The line {what}.", 16, color=MUTED)
        bottom += 20
    return bottom


def _name(page: Canvas, xy: tuple[int, int], name: str, room: int) -> None:
    """In one line, else in two smaller ones."""
    from onnx_gapmil.show.drawing.typesetting import width

    if width(name, 19) <= room:
        page.text(xy, name, 19)
    else:
        page.paragraph((xy[0], xy[1] - 9), name, 16, room=room, most=2)


def _ends(entries: Sequence[ClassScores], scores: Scores) -> tuple[float, float]:
    if scores.probabilities:
        return 0.0, 1.0
    low = min(0.0, *(min(entry.image, entry.best) for entry in entries))
    return low, max(low + 1e-9, 0.0, *(max(entry.image, entry.best) for entry in entries))
