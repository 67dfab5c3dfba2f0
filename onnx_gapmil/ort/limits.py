"""What looking at a stranger's model may cost: seconds and bytes, decided before they are spent.

`limited` is the block in which a model is read, traced, lifted and proved. Within it every run of ONNX Runtime ends at
the deadline, what would take longer or more than is left is refused beforehand by `require_seconds` and
`require_memory`, and whatever became of a limit that was met, the block ends with a `LimitError`. Kernels that never
look up, and crashes, are survived by the command line's process alone (`onnx_gapmil.cli.supervising`).
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from onnx_gapmil.errors import LimitError
from onnx_gapmil.files.memory import available_memory, private_memory

SECONDS = 40.0
"""How long reading, tracing, lifting and proving a model may take, by default."""

MEMORY = 4_000_000_000
"""Bytes that it may take beyond what working on the model's own bytes takes, by default."""

#: Memory that reading, rewriting and writing takes at its peak, in sizes of the file (benchmarks/rewriting_size.py).
COPIES = 4
#: Nodes, attributes, metadata and other parts of a file that are walked in a second on a slow machine.
PARTS_PER_SECOND = 2_500
#: Multiply-adds in a second that a slow machine does; what needs more time than the limit at this pace and a trial run
#: at a tenth of it is not begun.
_MACS_PER_SECOND = 20e9
#: Elements of an input that are made, run and followed through the graph in a second.
_ELEMENTS_PER_SECOND = 2_000_000
#: The trial run's share of the limit: a proof takes dozens of runs, so that what spends this on one has no hope.
_TRIAL_SHARE = 0.25


@dataclass
class _Span:
    """One outermost block of `limited`."""

    seconds: float
    memory: int | None
    until: float
    met: str = ""
    running: set[Any] = field(default_factory=set)


@dataclass
class _Settings:
    """What this process was asked for.

    Attributes:
        seconds: of `limited`; None takes `SECONDS`.
        memory: bytes; None decides by what is free.
        bound: limit this process's own memory, which only a process that does nothing else may do.
        follow: is told the deadline (`time.monotonic`) when a block begins, and infinity when it ends.
    """

    seconds: float | None = None
    memory: int | None = None
    bound: bool = False
    follow: Callable[[float], None] = lambda _: None


_settings = _Settings()
_lock = threading.Lock()


class _Here(threading.local):
    """The block of `limited` that this thread is in."""

    span: _Span | None = None


_here = _Here()


def set_seconds(seconds: float | None) -> None:
    """Seconds that reading, tracing, lifting and proving one model may take; None stands for `SECONDS`."""
    _settings.seconds = seconds


def set_memory(memory: int | None) -> None:
    """Bytes that it may take; None decides by the model's size and by what is free."""
    _settings.memory = memory


def limits_set() -> tuple[float | None, int | None]:
    """What was set: seconds and bytes; None each where nothing was."""
    return _settings.seconds, _settings.memory


def set_process(follow: Callable[[float], None]) -> None:
    """Say that this process does nothing else: the system enforces its memory, and somebody follows its deadlines.

    Args:
        follow: is told each deadline (`time.monotonic`), and infinity when there is none.
    """
    _settings.bound, _settings.follow = True, follow


@contextlib.contextmanager
def limited(size: int = 0) -> Iterator[None]:
    """Read, trace, lift and prove one model in this block; blocks within it share its limits.

    Args:
        size: bytes of the model's file.

    Raises:
        LimitError: a limit was met, whatever the block made of it.
    """
    if _here.span is not None:
        yield
        return
    seconds = _asked()
    _here.span = span = _Span(seconds, _allowed(size), time.monotonic() + seconds)
    timer = threading.Timer(min(span.seconds, threading.TIMEOUT_MAX), _expire, (span,))
    timer.daemon = True
    timer.start()
    _settings.follow(span.until)
    restore = _bind(span.memory) if _settings.bound else None
    try:
        yield
        _require_unmet(span, None)
    except MemoryError as error:
        span.met = span.met or _memory_met(span)
        _require_unmet(span, error)
    except BaseException as error:
        _require_unmet(span, error)
        raise
    finally:
        timer.cancel()
        if restore is not None:
            restore()
        _settings.follow(math.inf)
        _here.span = None


def seconds_allowed() -> float:
    """Seconds that the block has in all; infinity outside of one."""
    return _here.span.seconds if _here.span is not None else math.inf


def require_parts(count: int, what: str) -> None:
    """Refuse what has more parts than can be walked in the time that is allowed.

    Args:
        count: how many.
        what: they are, for the message: "nodes (local functions inlined)".

    Raises:
        LimitError: there are too many.
    """
    seconds = min(seconds_allowed(), _asked())
    if count > seconds * PARTS_PER_SECOND:
        raise LimitError(
            f"it has {_number(count)} {what}, and {PARTS_PER_SECOND:,} are expected to be done in a second, so that "
            f"the limit of {seconds:g} s does for {seconds * PARTS_PER_SECOND:,.0f}; raise it with --limit-seconds."
        )


def require_memory(needed: int, what: str) -> None:
    """Refuse what would take more memory than is allowed, before any is taken.

    Args:
        needed: bytes.
        what: takes them, for the message.

    Raises:
        LimitError: it would.
    """
    allowed = _here.span.memory if _here.span is not None else _allowed(0)
    if allowed is not None and needed > allowed:
        raise LimitError(
            f"{what} takes {_bytes(needed)} of memory, more than the limit of {_bytes(allowed)}; raise it with "
            "--limit-memory."
        )


def require_elements(count: int, what: str) -> None:
    """Refuse an input of more elements than can be made, run and followed in the time that is allowed.

    Args:
        count: elements.
        what: has them, for the message.

    Raises:
        LimitError: there are too many.
    """
    seconds = seconds_allowed()
    if count > seconds * _ELEMENTS_PER_SECOND:
        raise LimitError(
            f"{what} has {_number(count)} elements, for which the limit of {seconds:g} s is too short; raise it with "
            "--limit-seconds."
        )


def require_work(macs: float, what: str) -> None:
    """Refuse a run that has no hope to end within the limit, before it is begun.

    Args:
        macs: multiply-adds that it takes at least.
        what: takes them, for the message.

    Raises:
        LimitError: it takes too many.
    """
    seconds = seconds_allowed()
    if macs > seconds * _MACS_PER_SECOND:
        raise LimitError(
            f"{what} takes {macs:.1e} multiply-adds, for which the limit of {seconds:g} s is too short; raise it with "
            "--limit-seconds."
        )


@contextlib.contextmanager
def trial_run() -> Iterator[None]:
    """The first run of a model: what takes a quarter of the limit for that is given up at once."""
    span = _here.span
    if span is None or math.isinf(span.seconds):
        yield
        return
    share = span.seconds * _TRIAL_SHARE
    timer = threading.Timer(share, _give_up, (span,))
    timer.daemon = True
    timer.start()
    _settings.follow(min(span.until, time.monotonic() + share))
    try:
        yield
    finally:
        timer.cancel()
        _settings.follow(span.until)


def bounded_run(run: Callable[[Any], Any], options: Any) -> Any:
    """Run ONNX Runtime until a limit is met.

    Args:
        run: is called with the run options.
        options: `onnxruntime.RunOptions`, made for this run.

    Raises:
        LimitError: a limit was met.
    """
    span = _here.span
    if span is None:
        return run(options)
    with _lock:
        span.running.add(options)
    try:
        _require_unmet(span, None)
        return run(options)
    except LimitError:
        raise
    except MemoryError as error:
        span.met = span.met or _memory_met(span)
        raise _error(span) from error
    except Exception as error:
        if _is_allocation(error):
            span.met = span.met or _memory_met(span)
        _require_unmet(span, error)
        raise
    finally:
        with _lock:
            span.running.discard(options)


def _is_allocation(error: Exception) -> bool:
    text = str(error)
    return any(
        word in text for word in ("bad_alloc", "bad allocation", "Failed to allocate memory", "std::length_error")
    )


def _asked() -> float:
    return SECONDS if _settings.seconds is None else _settings.seconds


def _allowed(size: int) -> int | None:
    """Bytes that one block may take; None where nothing is known."""
    if _settings.memory is not None:
        return _settings.memory
    free = available_memory()
    most = MEMORY + COPIES * size
    return most if free is None else min(most, max(free // 2, 2 * COPIES * size))


def _expire(span: _Span) -> None:
    with _lock:
        span.met = span.met or (
            f"the limit of {span.seconds:g} s for reading, tracing and proving a model is met; raise it with "
            "--limit-seconds."
        )
        for options in span.running:
            options.terminate = True


def _give_up(span: _Span) -> None:
    with _lock:
        span.met = span.met or (
            f"its trial run does not end within {span.seconds * _TRIAL_SHARE:g} s, a quarter of the limit; raise it "
            "with --limit-seconds."
        )
        for options in span.running:
            options.terminate = True


def _memory_met(span: _Span) -> str:
    known = f"the limit of {_bytes(span.memory)}" if span.memory is not None else "what there is"
    return f"it needs more memory than {known}; raise it with --limit-memory."


def _require_unmet(span: _Span, cause: BaseException | None) -> None:
    if not span.met and time.monotonic() > span.until:
        _expire(span)
    if span.met and not isinstance(cause, LimitError):
        raise _error(span) from cause


def _error(span: _Span) -> LimitError:
    return LimitError(span.met[0].upper() + span.met[1:])


def _bind(memory: int | None) -> Callable[[], None] | None:
    """Let the system refuse memory beyond the limit; gives what takes that back."""
    taken = private_memory()
    if memory is None or taken is None:
        return None
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = taken + memory
    if before[1] != resource.RLIM_INFINITY:
        limit = min(limit, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, before)


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 1e15 else f"{count:.1e} bytes"


def _number(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"{float(min(count, 10**300)):.1e}"
