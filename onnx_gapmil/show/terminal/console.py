"""Where reports are printed: laid out for a terminal, plain lines for a pipe or a file; and nothing in them steers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment

from onnx_gapmil.files.printable import visible, visible_lines
from onnx_gapmil.files.urls import said_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import ConsoleOptions, RenderableType
    from rich.text import Text

#: Columns in a pipe or a file: no line of a report is longer, so that nothing is wrapped there.
UNWRAPPED = 20_000


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """The console that reports are printed on.

    Args:
        stderr: instead of stdout.
        width: columns to lay out for; None takes the terminal's, and in a pipe or a file wraps nothing.
    """
    stream = sys.stderr if stderr else sys.stdout
    if width is None and stream is not None and stream.isatty():
        return _SafeConsole(stderr=stderr, highlight=False, markup=False, emoji=False)
    # Environments that force colours (FORCE_COLOR in pipelines) do not make a terminal of a pipe.
    return _PlainConsole(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        width=width or UNWRAPPED,
        force_terminal=False,
        color_system=None,
    )


class _SafeConsole(Console):
    """A console on which no text steers the terminal, by control codes, rich's markup or otherwise."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Text of a cell, which is a line."""
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render, with what would steer spelled out."""
        for segment in super().render(renderable, options):
            if segment.control is None and (text := visible_lines(said_text(segment.text))) != segment.text:
                yield Segment(text, segment.style)
            else:
                yield segment


class _PlainConsole(_SafeConsole):
    """One whose lines end where their text does: tables are not filled up with spaces."""

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print, without the spaces at the ends of lines."""
        with self.capture() as captured:
            super().print(*objects, **settings)
        self.file.write("".join(f"{line.rstrip(' ')}\n" for line in captured.get().split("\n")[:-1]))
        self.file.flush()
