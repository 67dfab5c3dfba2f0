"""Which font has the letters: those that come with the package, else those that the system has.

The package's own are cut from Noto's (``fonts/``, ``tools/fonts.py``), so that most names look the same everywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

import uharfbuzz as hb

_SHIPPED = Path(__file__).parent / "fonts"
_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
#: What a system's fonts are asked for at the most: some have many thousands.
_MOST_FILES = 4000
_THICKER = 0.03
#: Words in the name of a file of letters that are not upright, of even weight, and of their own width.
_SPECIAL = ("bold", "italic", "oblique", "black", "heavy", "light", "thin", "condensed", "mono", "serif", "display")
#: Joiners and variation selectors, which have no ink: a font that lacks them draws the letters all the same.
_INKLESS = frozenset({0x034F, 0x200C, 0x200D, *range(0xFE00, 0xFE10)})


@dataclass(frozen=True, eq=False)
class Face:
    """One font.

    Attributes:
        path: its file.
        outlines: HarfBuzz's, in the font's own units.
        units: of these to the em.
        characters: code points that it has letters for; HarfBuzz's set, since a system's fonts have millions in all.
        bold: whether its letters are bold by themselves.
    """

    path: Path
    outlines: hb.Face
    units: int
    characters: hb.Set
    bold: bool = False

    @cached_property
    def font(self) -> hb.Font:
        """As it is."""
        return hb.Font(self.outlines)

    @cached_property
    def thick(self) -> hb.Font:
        """Bold: by itself, or made so."""
        font = hb.Font(self.outlines)
        if not self.bold:
            font.synthetic_bold = (_THICKER, _THICKER, False)
        return font

    def has(self, cluster: str) -> bool:
        """Whether it has all letters of a cluster: a letter with its marks."""
        return all(ord(letter) in self.characters or ord(letter) in _INKLESS for letter in cluster)


@lru_cache(maxsize=8192)
def face_of(cluster: str, *, bold: bool = False) -> Face | None:
    """The first font that has a cluster; None if no font of this machine has it.

    Args:
        cluster: a letter with the marks on it.
        bold: prefer bold letters, where they are.
    """
    return next((face for face in _in_order(bold) if face.has(cluster)), None)


def _in_order(bold: bool) -> Iterator[Face]:
    """The system's are read once, and not before a letter is in none of the package's."""
    if bold:
        yield shipped("NotoSans-Bold")
    yield shipped("NotoSans-Regular")
    yield from _shipped_others()
    yield from system_faces()


@cache
def shipped(name: str) -> Face:
    """A font of the package, by its name without the suffix."""
    path = next(path for path in _SHIPPED.iterdir() if path.stem == name and path.suffix in _SUFFIXES)
    face = _open(path)
    if face is None:
        raise RuntimeError(f"{path}, which comes with the package, is no font; install onnx-gapmil anew.")
    return face


@cache
def _shipped_others() -> tuple[Face, ...]:
    names = sorted(path.stem for path in _SHIPPED.iterdir() if path.suffix in _SUFFIXES)
    return tuple(shipped(name) for name in names if not name.startswith("NotoSans-"))


@cache
def system_faces() -> tuple[Face, ...]:
    """The fonts that this machine has, the plainest first."""
    files = [path for folder in font_folders() for path in _files_below(folder)][:_MOST_FILES]
    found = (_open(path) for path in sorted(set(files), key=_how_special))
    return tuple(face for face in found if face is not None)


def font_folders() -> list[Path]:
    """Where systems keep fonts: fontconfig's folders, macOS's, Windows's."""
    home = Path.home()
    if sys.platform == "win32":
        windows, own = os.environ.get("WINDIR", r"C:\Windows"), os.environ.get("LOCALAPPDATA", str(home))
        return [Path(windows) / "Fonts", Path(own) / "Microsoft" / "Windows" / "Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    data = os.environ.get("XDG_DATA_HOME") or str(home / ".local" / "share")
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path(data) / "fonts", home / ".fonts"]


def _files_below(folder: Path) -> list[Path]:
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)  # no folder: nothing
    return sorted(path for path in found if path.suffix.lower() in _SUFFIXES)


def _how_special(path: Path) -> tuple[int, str]:
    name = path.name.lower()
    return sum(word in name for word in _SPECIAL) - ("regular" in name), str(path)


def _open(path: Path) -> Face | None:
    """A font, None for what is none, or has pictures in place of outlines (colour emoji)."""
    try:
        face = hb.Face(hb.Blob.from_file_path(path))
        tables = set(face.table_tags)
        if not tables & {"glyf", "CFF ", "CFF2"}:
            return None
        return Face(path, face, face.upem, face.unicodes, "Bold" in path.stem)
    except (OSError, ValueError, hb.HarfBuzzError):
        return None
