"""Which wheels of a family are there."""

from __future__ import annotations

from importlib import metadata

import pytest

from onnx_gapmil.ort import wheels


def test_every_installed_wheel_of_a_family_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"onnxruntime": "1.2", "onnxruntime-gpu": "1.3", "numpy": "2.0"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(metadata, "version", version)
    assert wheels.installed_wheels(wheels.ONNXRUNTIME) == {"onnxruntime": "1.2", "onnxruntime-gpu": "1.3"}
    assert wheels.installed_wheels(wheels.OPENCV) == {}


def test_what_runs_these_tests_is_found() -> None:
    import cv2
    import onnxruntime

    assert onnxruntime.__version__ in wheels.installed_wheels(wheels.ONNXRUNTIME).values()
    assert any(cv2.__version__.startswith(found[:3]) for found in wheels.installed_wheels(wheels.OPENCV).values())
