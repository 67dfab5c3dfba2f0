"""The gallery: its pages are made by the commands beside them, load nothing, and are all linked."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tools import gallery

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text("utf-8")


def test_the_page_links_and_shows_what_is_made() -> None:
    assert set(re.findall(r'href="gallery/([a-z-]+)\.html"', PAGE)) == set(gallery.PAGES)
    shown = re.findall(r"^\$ onnx-gapmil (.*)$", PAGE, re.MULTILINE)
    assert shown == [command for command, _ in gallery.PAGES.values()]


def test_every_page_is_made_whole_and_loads_nothing(tmp_path: Path) -> None:
    assert gallery.main(tmp_path / "gallery") == 0
    for name in gallery.PAGES:
        text = (tmp_path / "gallery" / f"{name}.html").read_text("utf-8")
        assert "data:image/" in text or "base64" in text
        assert not re.search(r"""(src|href)=["'](?!#|data:)[^"']""", re.sub(r"<a [^>]*>", "", text))
        assert "default-src 'none'" in text
        assert str(tmp_path) not in text
        assert str(Path(shutil.__file__).parent) not in text
    assert len(gallery.PAGES) == 5


def test_a_command_that_fails_fails_the_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery, "PAGES", {"look": ("inspect nowhere.onnx", "look.html")})
    monkeypatch.setattr(gallery, "prepare", lambda: None)
    assert gallery.main(tmp_path) == 2
    assert "nowhere.onnx: no such file" in " ".join(capsys.readouterr().err.split())
