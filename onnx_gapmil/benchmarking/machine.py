"""What a measurement was taken on, so that a figure never stands without its machine."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.ort.wheels import ONNXRUNTIME, installed_wheels

_PACKAGES = ("onnx-gapmil", "onnx", "numpy")


def machine() -> dict[str, Any]:
    """Processor, usable threads, system."""
    return {"cpu": cpu_name(), "threads": thread_count(), "system": f"{platform.system()} {platform.machine()}"}


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Python and the packages that decide on speed, by distribution name."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **installed_wheels(ONNXRUNTIME),
    }
