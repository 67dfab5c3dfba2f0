"""What a process of our own makes of its streams: right in any locale, closed or full, without others' noise."""

from __future__ import annotations

import codecs
import io
import os
import sys
import warnings
from typing import TextIO

#: What is written for characters of ours that an encoding lacks; all others are spelled out.
_PLAIN = {
    "×": "x",
    "→": "->",
    "←": "<-",
    "↓": "|",
    "…": "...",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "·": ".",
    "–": "-",
    "—": "-",
    "µ": "u",
    "²": "^2",
    "−": "-",
}
_HANDLER = "gapmil.plain"


def prepare_streams(*, noise: bool) -> bool:
    """Make this process's streams fit for it; False where there is no stdout.

    Descriptors 0 to 2 are opened if they are closed: a file that is written would take their number, and whatever a
    library prints would go into it. What libraries print on descriptor 2 themselves (ONNX Runtime, libtiff, libjpeg)
    goes nowhere: what they have to say arrives as an exception.

    Args:
        noise: let libraries print.
    """
    there = [_is_open(descriptor) for descriptor in range(3)]
    for descriptor, is_open in enumerate(there):
        if not is_open:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    codecs.register_error(_HANDLER, _replaced)
    if not there[2] or sys.stderr is None:
        sys.stderr = _text(2, "utf-8")
    elif not noise:
        encoding = sys.stderr.encoding
        sys.stderr.flush()
        sys.stderr = _text(os.dup(2), encoding)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
    if not noise and not sys.warnoptions:
        warnings.simplefilter("ignore")
    if not there[1] or sys.stdout is None:
        sys.stdout = _text(1, "utf-8")
        return False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_HANDLER)
    return True


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _text(descriptor: int, encoding: str) -> TextIO:
    return open(descriptor, "w", encoding=encoding, errors=_HANDLER, buffering=1)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in text
    ), error.end
