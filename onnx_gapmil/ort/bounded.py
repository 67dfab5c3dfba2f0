"""Sessions whose runs end when a limit is met, and whose failures for want of memory are told as such."""

from __future__ import annotations

import functools
from typing import Any

from onnx_gapmil.ort.limits import bounded_run
from onnx_gapmil.ort.quiet import onnxruntime_module


def bounded_session(model: Any, options: Any, **settings: Any) -> Any:
    """Make an `onnxruntime.InferenceSession`, within the limits of `onnx_gapmil.ort.limits.limited`.

    Args:
        model: a path or bytes.
        options: `onnxruntime.SessionOptions`.
        settings: what `InferenceSession` takes beside them.

    Raises:
        LimitError: a limit was met.
    """
    made = _session_class()
    return bounded_run(lambda _: made(model, options, **settings), onnxruntime_module().RunOptions())


@functools.cache
def _session_class() -> Any:
    """The class, made when ONNX Runtime is first needed."""
    onnxruntime = onnxruntime_module()
    base: Any = onnxruntime.InferenceSession

    def run(self: Any, names: Any, feeds: Any, options: Any = None) -> Any:
        """Run the model; see `onnxruntime.InferenceSession.run`."""
        return bounded_run(lambda used: base.run(self, names, feeds, used), options or onnxruntime.RunOptions())

    def run_with_iobinding(self: Any, binding: Any, options: Any = None) -> None:
        """Run the model on bound values."""
        bounded_run(lambda used: base.run_with_iobinding(self, binding, used), options or onnxruntime.RunOptions())

    return type("BoundedSession", (base,), {"run": run, "run_with_iobinding": run_with_iobinding})
