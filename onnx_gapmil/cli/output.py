"""What the command line says: made fit to be shown, on stdout or stderr; and one JSON document at the most."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import click

from onnx_gapmil.files.printable import visible_lines
from onnx_gapmil.files.urls import said_text


@dataclass
class _Call:
    """What holds for one call of the command line.

    Attributes:
        quiet: only results and errors are said.
        begun: a document was begun on stdout, so that no other may follow.
        follow: is told when that happens.
        before: are called before a document is begun, for what has to be true by then.
    """

    quiet: bool = False
    begun: bool = False
    follow: Callable[[], None] = lambda: None
    before: list[Callable[[], None]] = field(default_factory=list)


_call = _Call()


def begin_call() -> None:
    """Forget what an earlier call in this process asked for and printed."""
    _call.quiet = _call.begun = False
    _call.before.clear()


def set_quiet(wanted: bool) -> None:
    """Say only results and errors."""
    _call.quiet = wanted


def is_quiet() -> bool:
    """Whether only results and errors are said."""
    return _call.quiet


def follow_document(follow: Callable[[], None]) -> None:
    """Be told when a document is begun: the process that waits for this one must not print another."""
    _call.follow = follow


def before_document(before: Callable[[], None]) -> None:
    """Have something done before the document of this call is begun: an error of it is then the document."""
    _call.before.append(before)


def note_document() -> None:
    """A document is begun on stdout."""
    _call.begun = True
    _call.follow()


def document_begun() -> bool:
    """Whether this call has begun a document."""
    return _call.begun


def say_document(parts: Iterable[str]) -> None:
    """Print the call's one JSON document on stdout, in parts."""
    for part in parts:
        if not _call.begun:
            while _call.before:
                _call.before.pop()()
            note_document()
        say(part, end=False, copies=True)


def tell(text: str, *, copies: bool = False) -> None:
    """Say on stderr what is neither a result nor an error: nothing with ``--quiet``; see `say`."""
    if not _call.quiet:
        say(text, err=True, copies=copies)


def say(text: str, *, err: bool = False, end: bool = True, bold: bool = False, copies: bool = False) -> None:
    """Print a line or several; what would steer the terminal is spelled out.

    Args:
        text: without escape sequences of our own.
        err: on stderr, where what cannot be written is lost.
        end: end the line.
        bold: on a terminal.
        copies: call copies of what is behind URLs by their own paths, and not by the URLs.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is None:  # a program without a terminal, as Windows has them
        return
    shown = visible_lines(text if copies else said_text(text))
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
