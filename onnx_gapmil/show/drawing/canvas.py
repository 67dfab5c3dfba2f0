"""A sheet of paper to draw on: text, boxes, bars, pictures. It grows downwards as it is drawn on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnx_gapmil.show.drawing import typesetting
from onnx_gapmil.show.drawing.palette import INK, PAPER, TRACK, Color

_FIRST_HEIGHT = 2048
#: Lines of text are this many of their size apart.
_LEADING = 1.42


class Canvas:
    """A white RGB sheet; coordinates in pixels, x to the right, y down.

    Args:
        width: of the sheet.
    """

    def __init__(self, width: int) -> None:
        self._pixels = np.full((_FIRST_HEIGHT, width, 3), PAPER[0], dtype=np.uint8)

    def pixels(self, height: int) -> npt.NDArray[np.uint8]:
        """The sheet down to a height as (height, width, 3), RGB, uint8."""
        self._reach(height)
        return self._pixels[:height]

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        size: int,
        *,
        color: Color = INK,
        anchor: str = "left",
        bold: bool = False,
        room: float | None = None,
    ) -> float:
        """Write one line; longer than `room`, it ends in an ellipsis.

        Args:
            xy: on the baseline.
            text: what to write.
            size: of the font, in pixels.
            color: of the letters.
            anchor: which end of the line is at `xy`: ``left``, ``right`` or ``middle``.
            bold: bold letters.
            room: for the line, in pixels.

        Returns:
            The width of what was written, in pixels.
        """
        shown = text if room is None else typesetting.ellipsized(text, size, room, bold=bold)
        line = typesetting.line(shown, size, bold=bold)
        start = xy[0] - line.width * {"left": 0.0, "middle": 0.5, "right": 1.0}[anchor]
        self._ink(round(start) + line.left, round(xy[1]) - line.top, line.mask, color)
        return line.width

    def paragraph(
        self,
        xy: tuple[float, float],
        text: str,
        size: int,
        *,
        room: float,
        color: Color = INK,
        bold: bool = False,
        most: int | None = None,
    ) -> int:
        """Write lines wrapped to `room`.

        Args:
            xy: where the first baseline starts.
            text: what to write.
            size: of the font, in pixels.
            room: for each line, in pixels.
            color: of the letters.
            bold: bold letters.
            most: lines; what is left ends the last of them, cut with an ellipsis. By default as many as it takes.

        Returns:
            How much further down than `xy` the baseline of a line below them would be.
        """
        lines = typesetting.wrapped(text, size, room, bold=bold)
        if most is not None and len(lines) > most:
            lines = (*lines[: most - 1], " ".join(lines[most - 1 :]))
        step = line_step(size)
        for place, line in enumerate(lines):
            self.text((xy[0], xy[1] + step * place), line, size, color=color, bold=bold, room=room)
        return step * len(lines)

    def box(
        self,
        rectangle: tuple[float, float, float, float],
        *,
        fill: Color | None = None,
        outline: Color | None = None,
        width: int = 1,
    ) -> None:
        """Fill or outline (x0, y0, x1, y1), the far edges exclusive; of no area, it draws nothing."""
        x0, y0, x1, y1 = (max(0, round(value)) for value in rectangle)
        if x1 <= x0 or y1 <= y0:
            return
        self._reach(y1)
        area = self._pixels[y0:y1, x0:x1]
        if fill is not None:
            area[:] = fill
        if outline is not None:
            area[:width], area[-width:], area[:, :width], area[:, -width:] = outline, outline, outline, outline

    def bar(self, rectangle: tuple[float, float, float, float], start: float, end: float, color: Color) -> None:
        """A bar from `start` to `end`, shares of the width of its pale track; never invisible."""
        x0, y0, x1, y1 = rectangle
        self.box(rectangle, fill=TRACK)
        low, high = sorted((min(max(start, 0.0), 1.0), min(max(end, 0.0), 1.0)))
        if start != end:
            left, right = x0 + low * (x1 - x0), x0 + high * (x1 - x0)
            self.box((min(left, x1 - 2), y0, max(right, left + 2), y1), fill=color)

    def paste(self, xy: tuple[int, int], pixels: npt.NDArray[np.uint8]) -> None:
        """Lay a picture, (h, w, 3) RGB uint8, with its top left corner at `xy`."""
        x, y = xy
        self._reach(y + pixels.shape[0])
        self._pixels[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels

    def _ink(self, x: int, y: int, mask: npt.NDArray[np.uint8], color: Color) -> None:
        self._reach(y + mask.shape[0])
        left, top = max(0, -x), max(0, -y)
        area = self._pixels[y + top : y + mask.shape[0], x + left : x + mask.shape[1]]
        ink = mask[top:, left : left + area.shape[1], None].astype(np.int32)
        area += ((np.array(color, np.int32) - area) * ink // 255).astype(np.uint8)  # modulo 256, as it should

    def _reach(self, height: int) -> None:
        short = height - len(self._pixels)
        if short > 0:
            grown = max(short, len(self._pixels))
            more = np.full((grown, *self._pixels.shape[1:]), PAPER[0], dtype=np.uint8)
            self._pixels = np.concatenate([self._pixels, more])


def line_step(size: int) -> int:
    """From one line's baseline to the next, in pixels."""
    return round(size * _LEADING)
