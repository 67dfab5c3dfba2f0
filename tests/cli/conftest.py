"""A sample model for the verbs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.verbs import SAMPLES


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sample model with its labels and preprocessing, in a folder of its own."""
    for name in ("digits_torch_legacy.onnx", "digits_torch_legacy.labels.txt", "digits_torch_legacy.preprocess.json"):
        shutil.copy(SAMPLES / name, tmp_path / name)
    return tmp_path / "digits_torch_legacy.onnx"
