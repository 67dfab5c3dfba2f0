"""What every verb has: ``--quiet``; and ``--limit-seconds`` and ``--limit-memory`` where it takes a model."""

from __future__ import annotations

import math
import re

import click

from onnx_gapmil.cli.output import set_quiet
from onnx_gapmil.ort.limits import SECONDS, set_memory, set_seconds

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def add_quiet(command: click.Command) -> None:
    """Give a verb ``--quiet``, once."""
    if any(parameter.name == "quiet" for parameter in command.params):
        return
    command.params.append(
        click.Option(
            ["--quiet"],
            is_flag=True,
            callback=_quiet,
            expose_value=False,
            is_eager=True,
            help="Print only the result, and errors.",
        )
    )


def add_limits(command: click.Command) -> None:
    """Give a verb the two options, once."""
    if any(parameter.name == "limit_seconds" for parameter in command.params):
        return
    command.params += [
        click.Option(
            ["--limit-seconds"],
            callback=_seconds,
            expose_value=False,
            is_eager=True,
            metavar="S",
            help=f"Seconds that reading, tracing and proving a model may take.  [default: {SECONDS:g}]",
        ),
        click.Option(
            ["--limit-memory"],
            callback=_memory,
            expose_value=False,
            is_eager=True,
            metavar="SIZE",
            help="Memory that this may take, as 6GB or 500MB. Default: 4 GB beyond what the file's own size takes, or "
            "half of what is free where that is less.",
        ),
    ]


def _quiet(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    set_quiet(value)


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        set_seconds(None)
        return
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise click.BadParameter(f"{value!r} is no number of seconds above 0.", context, parameter)
    set_seconds(seconds)


def _memory(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        set_memory(None)
        return
    match = _SIZE.fullmatch(value.strip())
    if match is None or not (count := int(float(match[1]) * _UNITS[match[2].lower()])):
        raise click.BadParameter(f"{value!r} is no size such as 6GB, 500MB or a number of bytes.", context, parameter)
    set_memory(count)
