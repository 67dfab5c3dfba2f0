"""How a failure is told: a line on stderr, an exit code, and JSON on stdout where JSON was asked for."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from onnx_gapmil.cli.output import document_begun, say, say_document, silence
from onnx_gapmil.cli.supervising import STOPPED, LateError, StoppedError
from onnx_gapmil.errors import GapmilError
from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.urls import said, said_text
from onnx_gapmil.lift.verdict import UnsupportedHeadError

USAGE = 2
BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141
#: Where a clause of a message begins that tells what to do: with an order.
_ORDER = re.compile(
    r"(?:; |\. |: |, so |^)(?=(?:add|ask|begin|build|check|choose|convert|copy|crop|download|edit|export|fetch|fit|fix"
    r"|free|give|install|leave|look|lower|make|mend|merge|move|name|pass|pip|place|put|raise|remove|repool|replace|rewrite"
    r"|run|save|say|scale|see|set|split|state|start|train|try|update|use|wait|write) )",
    re.IGNORECASE,
)
#: What the system says of a stream that takes no more.
_STREAM_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


class PipeClosedError(Exception):
    """Nobody reads stdout any more, as after `| head`."""


@dataclass
class Invocation:
    """What is known of one call of the command line.

    Attributes:
        arguments: as they were given.
        debug: show tracebacks.
        verb: the verb's context, once its parameters were read.
        results: is closed when the verb has ended, and then puts results behind URLs.
    """

    arguments: tuple[str, ...] = ()
    debug: bool = False
    verb: click.Context | None = field(default=None)
    results: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def report_failure(error: BaseException, invocation: Invocation) -> int:
    """Tell the user what went wrong and return the exit code; then what is kept of the work all the same."""
    code = _report(error, invocation)
    for note in _notes(error):
        say(visible(note), err=True, copies=True)
    return code


def _notes(error: BaseException) -> list[str]:
    """What was noted on an error, or on what click made its own of."""
    cause = error.__cause__
    return [*getattr(error, "__notes__", ()), *(getattr(cause, "__notes__", ()) if cause is not None else ())]


def _report(error: BaseException, invocation: Invocation) -> int:
    if isinstance(error, BrokenPipeError | PipeClosedError):
        silence(sys.stdout)
        return BROKEN_PIPE
    if isinstance(error, LateError) or isinstance(error.__cause__, LateError):
        return STOPPED
    if isinstance(error, StoppedError) or isinstance(error.__cause__, StoppedError):  # click makes an Abort of it
        return _ended("stopped", "Stopped.", STOPPED, invocation)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _ended("interrupted", "Interrupted.", INTERRUPTED, invocation)
    if invocation.debug:
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        told = io.StringIO()
        error.show(file=told)
        say(told.getvalue().rstrip("\n"), err=True)
        _print_error("usage", error.format_message(), invocation, _usage_advice(error))
        return USAGE
    if isinstance(error, UnsupportedHeadError) and _json_wanted(invocation):
        _print(refusal_json(error, invocation))
        return _say(f"Error: {error}", error.exit_code)
    code, message, exit_code = _said(error)
    if exit_code == BUG and not invocation.debug:
        message += " Run it again as 'onnx-gapmil --debug ...' for the traceback."
    _print_error(code, message.removeprefix("Error: "), invocation)
    return _say(message, exit_code)


def report_child(what: str, why: str, invocation: Invocation) -> int:
    """Tell what became of a child process that could not tell it itself, and return the exit code.

    Args:
        what: "limit", "crash", "killed", or "stopped" by another signal.
        why: the signal's name.
        invocation: the call.
    """
    if what == "stopped":
        return _ended(what, f"Stopped ({why}).", 128 + signal.Signals[why].value, invocation)
    message = {
        "limit": "The limit of time for reading, tracing and proving a model is met, in a step that does not look up; "
        "raise it with --limit-seconds.",
        "crash": f"ONNX Runtime or another library crashed ({why}); the file is damaged or hostile.",
        "killed": "The process was killed, most likely because the machine ran out of memory; free some, or lower "
        "--limit-memory to be told in time.",
    }[what]
    _print_error(what, message, invocation)
    return _say(f"Error: {message}", USAGE)


def refusal_json(error: UnsupportedHeadError, invocation: Invocation) -> str:
    """Return the refusal as JSON: schema_version, model, and the refusal's code, node, message and advice."""
    from onnx_gapmil.files.json_text import json_text  # it brings NumPy, for which no help text should wait

    model = None if invocation.verb is None else invocation.verb.params.get("model")
    return json_text(
        {
            "schema_version": 1,
            "model": None if model is None else said(os.fspath(model)),
            "refusal": error.refusal.to_json(),
        },
        indent=2,
    )


def _said(error: BaseException) -> tuple[str, str, int]:
    """What kind of error it is, in a word and in a sentence, and its exit code."""
    if isinstance(error, GapmilError):
        return type(error).__name__.removesuffix("Error").lower(), f"Error: {error}", error.exit_code
    if isinstance(error, MemoryError):
        return "limit", "Error: there is not enough memory; raise --limit-memory, or free some.", USAGE
    if isinstance(error, OSError):
        if error.filename is not None:
            return "input", f"Error: {error.filename}: {error.strerror}.", USAGE
        if error.errno in _STREAM_ERRORS:
            silence(sys.stdout)
            return "output", f"Error: stdout cannot be written: {error.strerror}.", USAGE
    return "bug", f"Bug: {type(error).__name__}: {error}. Please report it.", BUG


def _ended(code: str, message: str, exit_code: int, invocation: Invocation) -> int:
    """A run that somebody ended; another Ctrl-C does not end the telling of it."""
    with _undisturbed():
        say(message, err=True)
        _print_error(code, message, invocation, "Run the same command again; what can go on where it was does.")
    return exit_code


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, to which signals go
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _usage_advice(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"See '{context.command_path} --help'." if context is not None else ""


def _print_error(code: str, message: str, invocation: Invocation, advice: str | None = None) -> None:
    """The error as JSON on stdout, where JSON was asked for."""
    if not _json_wanted(invocation):
        return
    message = said_text(" ".join(message.split()))
    if advice is None:
        advice = advice_in(message)
    # NumPy, for which our own JSON asks, would take longer than all else that fails here.
    _print(
        json.dumps({"schema_version": 1, "error": {"code": code, "message": message, "advice": advice}}, indent=2),
    )


def advice_in(message: str) -> str:
    """What a message tells its reader to do, as a sentence by itself: its end, from a clause that begins with an order.

    "" where it tells nothing of the kind: its last clause is then no advice, but part of what was found.
    """
    begin = _ORDER.search(message)
    if begin is None:
        return ""
    told = message[begin.end() :]
    return told[0].upper() + told[1:] if told[:4] != "pip " else told


def _print(text: str) -> None:
    """Print the call's document, unless it has begun one: what went wrong behind that is on stderr."""
    if document_begun():
        return
    try:
        say_document([text + "\n"])
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)


def _json_wanted(invocation: Invocation) -> bool:
    """By what was written, however far it was read: also where ``--json`` stands in the place of a missing value."""
    flags = invocation.arguments
    return "--json" in (flags[: flags.index("--")] if "--" in flags else flags)


def _say(message: str, exit_code: int) -> int:
    say(visible(" ".join(message.split())), err=True)
    return exit_code
