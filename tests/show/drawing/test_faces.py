"""Which font a letter is taken from, and what is done with files that are none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnx_gapmil.show.drawing import faces


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only folder of fonts that the system has."""

    def forget() -> None:
        faces.system_faces.cache_clear()
        faces.face_of.cache_clear()

    monkeypatch.setattr(faces, "font_folders", lambda: [tmp_path, tmp_path / "none"])
    forget()
    yield tmp_path
    forget()


def test_the_packages_own_fonts_come_first(folder: Path) -> None:
    for letter in "aäжγ":
        found = faces.face_of(letter)
        assert found is not None
        assert found.path.stem == "NotoSans-Regular"
    bold = faces.face_of("a", bold=True)
    assert bold is not None
    assert bold.path.stem == "NotoSans-Bold"


def test_letters_that_they_lack_are_looked_for_in_the_systems(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "_shipped_others", tuple)
    assert faces.face_of("ท") is None
    (folder / "deep").mkdir()
    shutil.copy(faces._SHIPPED / "NotoSansThai-Regular.ttf", folder / "deep" / "any.ttf")
    faces.system_faces.cache_clear()
    faces.face_of.cache_clear()
    found = faces.face_of("ท")
    assert found is not None
    assert found.path == folder / "deep" / "any.ttf"


def test_files_that_are_no_fonts_are_passed_over(folder: Path) -> None:
    (folder / "empty.ttf").write_bytes(b"")
    (folder / "garbage.otf").write_bytes(bytes(range(256)) * 20)
    whole = (faces._SHIPPED / "NotoSansThai-Regular.ttf").read_bytes()
    (folder / "half.ttf").write_bytes(whole[: len(whole) // 2])
    (folder / "folder.ttf").mkdir()
    assert all(face.has("ท") for face in faces.system_faces())


def test_plain_faces_come_before_bold_and_slanted_ones(folder: Path) -> None:
    for name in ("A-BoldItalic.ttf", "B-Bold.ttf", "C.ttf", "D-Regular.ttf"):
        shutil.copy(faces._SHIPPED / "NotoSansThai-Regular.ttf", folder / name)
    assert [face.path.name for face in faces.system_faces()] == [
        "D-Regular.ttf",
        "C.ttf",
        "B-Bold.ttf",
        "A-BoldItalic.ttf",
    ]


def test_the_systems_fonts_are_not_read_for_letters_of_our_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "font_folders", lambda: pytest.fail("they were read"))
    for letter in "aж家고قबท":
        assert faces.face_of(letter) is not None


def test_the_fonts_bring_their_licence() -> None:
    text = (faces._SHIPPED / "OFL.txt").read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE" in text
    assert "Version 1.1" in text
    assert "Copyright" in text
