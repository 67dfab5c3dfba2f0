"""What a measurement was taken on, so that a figure never stands without its machine."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from onnx_gapmil.ort.cpu import cpu_name, thread_count
from onnx_gapmil.ort.wheels import ONNXRUNTIME, installed_wheels

_PACKAGES = ("onnx-gapmil", "onnx", "numpy")


def machine() -> dict[str, Any]:
    """Processor, usable threads, system."""
    return {"cpu": cpu_name(), "threads": thread_count(), "system": f"{platform.system()} {platform.machine()}"}


def versions() -> dict[str, str]:
    """Python and the packages that decide on speed, by distribution name."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **installed_wheels(ONNXRUNTIME),
    }
