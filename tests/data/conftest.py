"""Small data sets, laid out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def photo(tmp_path: Path) -> Write:
    """`photo("a/b.png", 40, 30)` writes an image of 40 x 30 (width x height) below the test's folder."""

    def write(name: str | Path, width: int = 40, height: int = 30) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (90, 120, 30)).save(path)
        return path

    return write


@pytest.fixture
def lay(tmp_path: Path) -> Write:
    """`lay("labels.csv", content)` writes text, bytes, or anything else as JSON."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode("utf-8")
        path.write_bytes(content)
        return path

    return write
