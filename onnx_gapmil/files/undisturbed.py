"""Ctrl-C and SIGTERM put off for a moment, so that what is made is known to whoever tidies up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off the signals that raise an exception until the block has ended; then they do what they would have done.

    A signal mask would not do: another thread may take the signal, and Python raises in the main one all the same. In
    other threads nothing is raised, and nothing is put off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late: list[int] = []
    before = {number: handler for number in _STOPS if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, lambda found, _: late.append(found))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for found in dict.fromkeys(late):
            signal.raise_signal(found)
