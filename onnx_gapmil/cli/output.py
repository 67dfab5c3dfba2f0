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
    shown = visible_lines(text)
    try:
        click.echo(click.style(shown, bold=True) if bold else shown, err=err, nl=end)
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
