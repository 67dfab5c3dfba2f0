"""Installed wheels of a family, beside what is really imported."""

from __future__ import annotations

from importlib import metadata

import cv2
import onnxruntime
import pytest

from onnx_gapmil.ort.wheels import ONNXRUNTIME, OPENCV, installed_wheels


def test_the_wheel_that_is_imported_is_found_with_its_version() -> None:
    assert onnxruntime.__version__ in installed_wheels(ONNXRUNTIME).values()
    assert any(version.startswith(cv2.__version__) for version in installed_wheels(OPENCV).values())


def test_only_what_is_installed_is_listed_in_the_familys_order(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime-gpu": "1.31.1", "onnxruntime": "1.30.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    assert list(installed_wheels(ONNXRUNTIME).items()) == [("onnxruntime", "1.30.0"), ("onnxruntime-gpu", "1.31.1")]
    assert installed_wheels(OPENCV) == {}
