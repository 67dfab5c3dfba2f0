"""A verb in a process of its own: the one that was started waits, and survives what the other does not.

A hostile model can crash ONNX Runtime, or keep one of its kernels busy for ever; no exception tells of either. So the
process forks before anything heavy is imported (a few milliseconds), the child does the work under its limits, and the
parent ends it where it passes its deadline, and says in a sentence what became of it. Where there is no `fork` and no
`sigtimedwait` (Windows, macOS), the verb runs as it is, and only what looks up ends at a limit.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable

from onnx_gapmil.cli.output import follow_document, note_document

STOPPED = 143
#: Seconds after the deadline until the child is asked to end, and then made to.
_GRACE, _LAST_GRACE = 1.0, 2.0
_PR_SET_PDEATHSIG = 1
_CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"})


class StoppedError(KeyboardInterrupt):
    """SIGTERM: somebody wants this process to end, as by Ctrl-C."""


class LateError(StoppedError):
    """It is the waiting process that wants it, since a limit is met; it tells that itself."""


def can_supervise() -> bool:
    """Whether this system has what it takes."""
    return hasattr(os, "fork") and hasattr(signal, "sigtimedwait")


def supervised(work: Callable[[], int], tell: Callable[[str, str], int]) -> int:
    """Do the work in a child process.

    Args:
        work: gives the exit code; runs in the child.
        tell: tells of a child that could not, as (what, why), and gives the exit code; runs in this process, but for
            a signal that comes before the work has begun.

    Returns:
        The exit code; in the child and in its parent.
    """
    shared = mmap.mmap(-1, 10)  # the deadline; whether a document was begun; whether the child is late
    _write(shared, math.inf)
    waited = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _die_with(parent)
        return _work(work, tell, shared, before)
    status, late = _wait(child, shared, waited)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if shared[8]:
        note_document()
    code = os.waitstatus_to_exitcode(status)
    if code >= 0 and not (late and code == STOPPED):  # stopped by this process, which then tells why
        return code
    if late:
        return tell("limit", "")
    name = signal.Signals(-code).name
    if name in _CRASHES:
        return tell("crash", name)
    return tell("killed" if name == "SIGKILL" else "stopped", name)


def _work(
    work: Callable[[], int], tell: Callable[[str, str], int], shared: mmap.mmap, before: set[int | signal.Signals]
) -> int:
    """What the child does."""
    from onnx_gapmil.ort.limits import set_process

    signal.signal(signal.SIGTERM, lambda *_: _stop(late=bool(shared[9])))
    set_process(lambda until: _write(shared, until))
    follow_document(lambda: shared.__setitem__(8, 1))
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return work()
    except KeyboardInterrupt as error:
        return tell("stopped", "SIGTERM" if isinstance(error, StoppedError) else "SIGINT")


def _wait(child: int, shared: mmap.mmap, waited: set[signal.Signals]) -> tuple[int, bool]:
    """Wait for the child's end, and hurry it where it is late; gives its status, and whether it was."""
    late = False
    while True:
        until = _read(shared)
        now = time.monotonic()
        if now > until + _GRACE + _LAST_GRACE:
            late = True
            os.kill(child, signal.SIGKILL)
        elif now > until + _GRACE and not late:
            late = True
            shared[9] = 1
            os.kill(child, signal.SIGTERM)
        event = signal.sigtimedwait(waited, 1.0 if math.isinf(until) else min(max(until + _GRACE - now, 0.05), 1.0))
        if event is None:
            pass
        elif event.si_signo != signal.SIGCHLD:
            # Ctrl-C of a terminal reaches the child by itself; what a process sends is handed on.
            if event.si_code <= 0:
                os.kill(child, event.si_signo)
            continue
        found, status = os.waitpid(child, os.WNOHANG)
        if found == child:
            return status, late


def _die_with(parent: int) -> None:
    """Let the system end this process when its parent is killed."""
    import ctypes

    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):  # another system than Linux
        return
    if os.getppid() != parent:  # it was, before that
        os._exit(STOPPED)


def _stop(*, late: bool) -> None:
    raise LateError if late else StoppedError


def _write(shared: mmap.mmap, until: float) -> None:
    shared[:8] = struct.pack("d", until)


def _read(shared: mmap.mmap) -> float:
    return float(struct.unpack("d", shared[:8])[0])


def is_help(arguments: list[str]) -> bool:
    """Whether nothing is done but to print a help text."""
    return not arguments or any(argument in ("-h", "--help", "--version") for argument in arguments)


def interactive() -> bool:
    """Whether a debugger is at work, which wants one process."""
    return sys.gettrace() is not None
