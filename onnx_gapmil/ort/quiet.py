"""Keep ONNX Runtime's own chatter off the terminal.

ONNX Runtime writes to file descriptor 2 from C++ and to `sys.stdout` from Python when a provider cannot be
loaded. No logging option reaches all of it, and what it says is found out and said better in `providers`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def native_output_discarded() -> Iterator[None]:
    """Discard what C++ writes to stderr, and what Python prints or warns, while the block runs.

    The redirection holds for the whole process, other threads included: keep the block short.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(_descriptor_discarded(2))
        yield


@contextlib.contextmanager
def _descriptor_discarded(descriptor: int) -> Iterator[None]:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()
    try:
        kept = os.dup(descriptor)
    except OSError:  # a daemon with stderr closed: there is nothing to keep quiet
        yield
        return
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, descriptor)
        os.close(sink)
        try:
            yield
        finally:
            os.dup2(kept, descriptor)
    finally:
        os.close(kept)


@functools.cache
def onnxruntime_module() -> ModuleType:
    """Import `onnxruntime`; on a machine without a graphics card its import alone may print warnings."""
    with native_output_discarded():
        import onnxruntime
    module: ModuleType = onnxruntime
    return module
