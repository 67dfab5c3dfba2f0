"""The command line in a process of its own that stands still at a photo, so that it can be stopped right there.

However slow or busy the machine, the run is neither over nor any further when the signal arrives.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

#: Reading a photo whose name is the first one's or comes after it waits until Ctrl-C, which then is what it always is.
_PROGRAM = """
import signal, sys, threading
from onnx_gapmil.cli import main
from onnx_gapmil.running.pipeline import stream

first, read, go_on = sys.argv[1], stream.read_samples, threading.Event()

def held(path):
    if path.stem >= first:
        go_on.wait()
    return read(path)

def interrupt(number, frame):
    go_on.set()
    signal.default_int_handler(number, frame)

stream.read_samples = held
signal.signal(signal.SIGINT, interrupt)
sys.exit(main(sys.argv[2:]))
"""
#: Seconds after which a run that shows nothing is taken for broken; no run is meant to come near it.
_BROKEN = 300


def held_at(first: str, *arguments: object) -> list[str]:
    """The command that runs ``onnx-gapmil ARGUMENTS`` and reads no photo whose name, sorted, is ``first`` or later."""
    return [sys.executable, "-c", _PROGRAM, first, *map(str, arguments)]


def wait_until(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what a running process does; fails if it ends before, or does nothing for minutes."""
    start = time.monotonic()
    while not seen():
        if process.poll() is not None or time.monotonic() - start > _BROKEN:
            process.kill()
            raise AssertionError(f"ended with {process.poll()} before anything was seen: {process.communicate()[1]}")
        time.sleep(0.01)
