"""The versions of what decodes, resizes and runs: with others, numbers may be others."""

from __future__ import annotations

import functools
from importlib import metadata

_LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless", "pillow")


@functools.cache
def library_versions() -> str:
    """Those that are installed, as one text."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(f"{name} {version}" for name, version in found.items())
