"""How a failure is told: a line on stderr, an exit code, and a refusal as JSON where JSON was asked for."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

import click

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.lift.verdict import UnsupportedHeadError

USAGE = 2
BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141


class PipeClosedError(Exception):
    """Nobody reads stdout any more, as after `| head`."""


@dataclass
class Invocation:
    """What is known of one call of the command line.

    Attributes:
        debug: show tracebacks.
        verb: the verb's context, once its parameters were read.
    """

    debug: bool = False
    verb: click.Context | None = None


def report_failure(error: BaseException, invocation: Invocation) -> int:
    """Tell the user what went wrong and return the exit code."""
    if isinstance(error, BrokenPipeError | PipeClosedError):
        _silence_stdout()
        return BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    if invocation.debug:
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        error.show()
        return USAGE
    if isinstance(error, GapmilError):
        if isinstance(error, UnsupportedHeadError) and _json_wanted(invocation):
            click.echo(refusal_json(error, invocation))
        return _say(f"Error: {error}", error.exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        return _say(f"Error: {error.filename}: {error.strerror}.", USAGE)
    hint = "" if invocation.debug else " Run it again as 'onnx-gapmil --debug ...' for the traceback."
    return _say(f"Bug: {type(error).__name__}: {error}. Please report it.{hint}", BUG)


def refusal_json(error: UnsupportedHeadError, invocation: Invocation) -> str:
    """Return the refusal as JSON: schema_version, model, and the refusal's code, node, message and advice."""
    from onnx_gapmil.files.json_text import json_text  # it brings NumPy, for which no help text should wait

    model = None if invocation.verb is None else invocation.verb.params.get("model")
    return json_text(
        {
            "schema_version": 1,
            "model": None if model is None else os.fspath(model),
            "refusal": error.refusal.to_json(),
        },
        indent=2,
    )


def _json_wanted(invocation: Invocation) -> bool:
    verb = invocation.verb
    if verb is None:
        return False
    return any(
        "--json" in parameter.opts and bool(verb.params.get(parameter.name or "")) for parameter in verb.command.params
    )


def _say(message: str, exit_code: int) -> int:
    click.echo(" ".join(message.split()), err=True)
    return exit_code


def _silence_stdout() -> None:
    """Point stdout at nothing, so that Python's own flush at exit does not complain of the pipe."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is closed, or is no file at all
        return
