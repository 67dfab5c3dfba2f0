"""A sheet of paper to draw on: text in Pillow's embedded font, boxes, bars, pictures."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from onnx_gapmil.show.drawing.palette import INK, PAPER, TRACK, Color

_ELLIPSIS = "..."
_UNASSIGNED = "\U0010ffff"
_LONGEST = 400
_PLAIN = str.maketrans({"×": "x", "–": "-", "—": "-", "‐": "-", "…": "...", "ß": "ss", "ø": "o", "ł": "l", "æ": "ae"})


class Canvas:
    """A white RGB sheet; coordinates in pixels, x to the right, y down.

    Args:
        width: of the sheet.
        height: of the sheet.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The sheet as (height, width, 3), RGB, uint8."""
        return np.array(self.image, dtype=np.uint8)

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        size: int,
        *,
        color: Color = INK,
        anchor: str = "ls",
        bold: bool = False,
        width: float | None = None,
    ) -> float:
        """Write one line; longer than `width`, it ends in an ellipsis.

        Args:
            xy: the anchor's place.
            text: what to write; characters that the font lacks become `?`.
            size: of the font, in pixels.
            color: of the letters.
            anchor: Pillow's: `ls` is the left end of the baseline, `rs` its right end, `ms` its middle.
            bold: thicken the letters.
            width: room for the line, in pixels.

        Returns:
            The width of what was written, in pixels.
        """
        shown = drawable(text)
        if width is not None:
            shown = ellipsize(shown, size, width)
        for shift in (0.0, 0.6) if bold else (0.0,):  # the embedded font has no bold face: strike twice
            self._draw.text((xy[0] + shift, xy[1]), shown, fill=color, font=_font(size), anchor=anchor)
        return text_width(shown, size)

    def box(
        self,
        rectangle: tuple[float, float, float, float],
        *,
        fill: Color | None = None,
        outline: Color | None = None,
        width: int = 1,
    ) -> None:
        """Fill or outline (x0, y0, x1, y1), the far edges exclusive; of no area, it draws nothing."""
        x0, y0, x1, y1 = (round(value) for value in rectangle)
        if x1 > x0 and y1 > y0:
            self._draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=fill, outline=outline, width=width)

    def paragraph(
        self, xy: tuple[float, float], text: str, size: int, *, color: Color, width: float, bottom: float
    ) -> None:
        """Write lines broken at spaces to `width`, if all of them end above `bottom`; else none."""
        lines = [""]
        for word in drawable(text).split(" "):
            longer = f"{lines[-1]} {word}".strip()
            if text_width(longer, size) <= width:
                lines[-1] = longer
            else:
                lines.append(word)
        step = round(size * 1.45)
        if xy[1] + step * (len(lines) - 1) <= bottom:
            for place, line in enumerate(lines):
                self.text((xy[0], xy[1] + step * place), line, size, color=color, width=width)

    def bar(self, rectangle: tuple[float, float, float, float], start: float, end: float, color: Color) -> None:
        """A bar from `start` to `end`, shares of the width of its pale track; never invisible."""
        x0, y0, x1, y1 = rectangle
        self.box(rectangle, fill=TRACK)
        low, high = sorted((min(max(start, 0.0), 1.0), min(max(end, 0.0), 1.0)))
        if start != end:
            left, right = x0 + low * (x1 - x0), x0 + high * (x1 - x0)
            self.box((left, y0, max(right, left + 2), y1), fill=color)

    def paste(self, xy: tuple[int, int], pixels: npt.NDArray[np.uint8]) -> None:
        """Lay a picture, (h, w, 3) RGB uint8, with its top left corner at `xy`."""
        self.image.paste(Image.fromarray(pixels), xy)


def text_width(text: str, size: int) -> float:
    """Width of a line in pixels."""
    return float(_font(size).getlength(text))


def ellipsize(text: str, size: int, width: float) -> str:
    """The longest beginning of `text` that fits into `width` pixels, with `...` where something was cut."""
    text = text[:_LONGEST]
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + _ELLIPSIS, size) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS


def drawable(text: str) -> str:
    """The text on one line, in the font's glyphs: accents are dropped, what is still missing becomes `?`.

    >>> drawable("Käse\\n猫")
    'Kase ?'
    """
    line = " ".join(text[:_LONGEST].split()).translate(_PLAIN)
    return "".join(_plain(character) for character in line)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow built without FreeType has no scalable font
        raise RuntimeError("Pillow lacks FreeType support; install Pillow from its wheel.")
    return font


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """The character, or its base letters, or `?`."""
    if _has_glyph(character):
        return character
    base = [part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part)]
    return "".join(part if _has_glyph(part) else "?" for part in base)


def _has_glyph(character: str) -> bool:
    if " " <= character <= "~":
        return True
    if not character.isprintable():
        return False
    font = _font(24)
    return bytes(font.getmask(character)) != bytes(font.getmask(_UNASSIGNED))
