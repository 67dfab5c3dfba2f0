"""Which of several wheels that claim the same import name are installed.

Two of a family write into one folder and break each other silently, so each is worth a loud word.
"""

from __future__ import annotations

from importlib import metadata

ONNXRUNTIME = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-migraphx",
    "onnxruntime-rocm",
    "onnxruntime-qnn",
)
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def installed_wheels(family: tuple[str, ...]) -> dict[str, str]:
    """Return the version of each wheel of `family` that is installed, by distribution name."""
    found = {}
    for name in family:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
