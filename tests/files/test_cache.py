"""What was found once is found again, and nothing fails where it cannot be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.files.cache import cache_folder, recall, remember


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "onnx-gapmil"


def test_a_text_is_found_by_its_whole_key() -> None:
    remember("text", "a", "b")
    assert recall("a", "b") == "text"
    assert recall("ab") is None
    assert recall("a", "c") is None


def test_the_folder_is_the_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == folder
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder().is_relative_to(Path.home())


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    remember("text", "a")
    assert recall("a") is None


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"x" * (2 << 20)])
def test_what_is_damaged_or_too_large_is_not_read(folder: Path, damage: bytes) -> None:
    remember("text", "a")
    (path,) = folder.iterdir()
    path.write_bytes(damage)
    assert recall("a") is None
