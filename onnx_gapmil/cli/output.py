"""What the command line says: made fit to be shown, on stdout or stderr."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from onnx_gapmil.files.printable import visible_lines


def say(text: str, *, err: bool = False, end: bool = True, bold: bool = False) -> None:
    """Print a line or several; what would steer the terminal is spelled out.

    Args:
        text: without escape sequences of our own.
        err: on stderr, where what cannot be written is lost.
        end: end the line.
        bold: on a terminal.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is None:  # a program without a terminal, as Windows has them
        return
    shown = visible_lines(text)
    if bold and stream.isatty():
        shown = click.style(shown, bold=True)
    try:
        # click's own echo writes UTF-8 where it thinks that a stream's ASCII is a mistake.
        stream.write(f"{shown}\n" if end else shown)
        stream.flush()
    except OSError:
        if not err:
            raise
        silence(sys.stderr)


def silence(stream: object) -> None:
    """Point a stream that cannot be written at nothing, so that Python's own flush at exit does not complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or no file at all
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())  # type: ignore[attr-defined]
        os.close(nothing)
