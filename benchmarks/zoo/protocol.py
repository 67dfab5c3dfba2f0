"""What every script in this folder speaks with ``make_zoo.py``: one JSON line in, one out.

``SCRIPT --list`` prints the cases, one to a line; a case has at least ``exporter``, ``group``, ``model``, ``pools``
(does the model end in a pool and linear, norm or MLP layers) and ``head`` (that head, for people).
``SCRIPT --serve FOLDER`` answers each case that it reads with ``{"file": name, ...}``, a file in FOLDER, or
``{"error": text}``, until its input ends. Scripts run in environments of their own: nothing here needs more than
Python.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Case = dict[str, Any]


def main(list_cases: Callable[[], Iterable[Case]], answer: Callable[[Case, Path], dict[str, Any]]) -> None:
    """The whole of a script: list the cases, or serve.

    Args:
        list_cases: the cases, in the order of the table.
        answer: does one case; what it raises becomes the answer's ``error``.
    """
    out = _own_stdout()
    if sys.argv[1:2] == ["--list"]:
        for case in list_cases():
            print(json.dumps(case), file=out, flush=True)
    elif sys.argv[1:2] == ["--serve"] and len(sys.argv) == 3:
        serve(answer, Path(sys.argv[2]), out)
    else:
        sys.exit(f"usage: {Path(sys.argv[0]).name} --list | --serve FOLDER")


def serve(answer: Callable[[Case, Path], dict[str, Any]], folder: Path, out: TextIO) -> None:
    """Answer each line of standard input."""
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        start = time.perf_counter()
        try:
            reply = answer(json.loads(line), folder)
        except Exception as error:  # noqa: BLE001 - the answer says what it was
            first = next((text for text in str(error).splitlines() if text.strip()), "")
            reply = {"error": f"{type(error).__name__}: {first.strip()[:300]}"}
        print(json.dumps({**reply, "seconds": round(time.perf_counter() - start, 2)}), file=out, flush=True)


def _own_stdout() -> TextIO:
    """Standard output for answers alone: what frameworks print there goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out
