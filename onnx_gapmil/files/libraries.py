"""The versions of what decodes, resizes and runs: with others, numbers may be others."""

from __future__ import annotations

import functools
import importlib

_LIBRARIES = ("numpy", "onnxruntime", "cv2", "PIL")


@functools.cache
def library_versions() -> str:
    """Theirs, as one text; they are imported if need be."""
    return ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in _LIBRARIES)
