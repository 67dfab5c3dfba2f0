"""Cut the fonts of the pictures from Noto's: the characters that class names are written in, without hints.

The subsets lie in ``onnx_gapmil/show/drawing/fonts`` and go into the wheel; Noto's licence, the SIL Open Font License
1.1, allows both and lies beside them. Needs fonttools, and Noto's files (``NotoSans-Regular.ttf``,
``NotoSansArabic-Regular.ttf``, ..., ``NotoSansCJK-Regular.ttc``) anywhere below one folder::

    python -m tools.fonts /usr/share/fonts

Han characters have one form for all languages here, the simplified Chinese one. Of them there are those of the first
levels of GB 2312, JIS X 0208 and Big5: what is rarer is left to the fonts of the system that draws.
"""

from __future__ import annotations

import io
import sys
from itertools import product
from pathlib import Path

from fontTools import subset  # type: ignore[import-not-found]
from fontTools.ttLib import TTFont  # type: ignore[import-not-found]

TARGET = Path(__file__).parent.parent / "onnx_gapmil" / "show" / "drawing" / "fonts"
#: Scripts with a file each, all of whose characters are kept.
WHOLE = [
    "Arabic",
    "Armenian",
    "Bengali",
    "Devanagari",
    "Ethiopic",
    "Georgian",
    "Gujarati",
    "Gurmukhi",
    "Hebrew",
    "Kannada",
    "Khmer",
    "Lao",
    "Malayalam",
    "Myanmar",
    "Oriya",
    "Sinhala",
    "Tamil",
    "Telugu",
    "Thai",
]
#: Latin, Greek, Cyrillic, marks, punctuation, currencies, letterlike, arrows, operators, shapes.
LATIN = (
    (0x20, 0x7E),
    (0xA0, 0x52F),
    (0x1E00, 0x209F),
    (0x20A0, 0x20CF),
    (0x2100, 0x214F),
    (0x2190, 0x22FF),
    (0x25A0, 0x25FF),
    (0xFB00, 0xFB06),
    (0xFFFD, 0xFFFD),
)
_PLAIN_FEATURES = ["ccmp", "kern", "mark", "mkmk"]
#: CJK punctuation, kana, full-width forms.
KANA = ((0x3000, 0x303F), (0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF00, 0xFFEF))


def main(folder: Path) -> None:
    """Write all subsets, and say how large they are."""
    TARGET.mkdir(exist_ok=True)
    files = {path.name: path for path in sorted(folder.rglob("Noto*")) if path.suffix in (".ttf", ".ttc", ".otf")}
    wanted = {f"NotoSans-{weight}": (files[f"NotoSans-{weight}.ttf"], _ranges(LATIN)) for weight in ("Regular", "Bold")}
    for script in WHOLE:
        path = files[f"NotoSans{script}-Regular.ttf"]
        wanted[f"NotoSans{script}-Regular"] = (path, set(TTFont(path).getBestCmap()))
    wanted["NotoSansCJK-Regular"] = (files["NotoSansCJK-Regular.ttc"], _ranges(KANA) | _ideographs())
    total = 0
    for name, (path, characters) in wanted.items():
        content = _cut(path, characters)
        (TARGET / f"{name}{'.otf' if path.suffix == '.ttc' else '.ttf'}").write_bytes(content)
        total += len(content)
        print(f"{name:28} {len(content) / 1024:6.0f} KiB")
    print(f"{'all':28} {total / 1024:6.0f} KiB")


def _ideographs() -> set[int]:
    """Han characters and Hangul syllables."""
    simplified, kanji = _encoded("gb2312", (0xB0, 0xD7)), _encoded("euc_jp", (0xB0, 0xCF))
    hangul, traditional = _encoded("euc_kr", (0xB0, 0xC8)), _encoded("big5", (0xA4, 0xC6), 0x40)
    return simplified | kanji | hangul | traditional


def _encoded(encoding: str, leads: tuple[int, int], trail: int = 0xA1) -> set[int]:
    """The characters that a double-byte encoding has from one lead byte to another."""
    found: set[int] = set()
    for pair in product(range(leads[0], leads[1] + 1), range(trail, 0xFF)):
        text = bytes(pair).decode(encoding, "ignore")
        found |= {ord(text)} if len(text) == 1 and ord(text) > 0x7F else set()
    return found


def _ranges(ranges: tuple[tuple[int, int], ...]) -> set[int]:
    return {code for first, last in ranges for code in range(first, last + 1)}


def _cut(path: Path, characters: set[int]) -> bytes:
    whole = path.name.removeprefix("NotoSans").split("-")[0] in WHOLE
    features = ["*"] if whole else _PLAIN_FEATURES  # alternates of Han and Latin letters double the files
    options = subset.Options(hinting=False, layout_features=features, name_IDs=[0, 1, 2, 3, 4, 5, 6, 7, 13, 14])
    options.drop_tables += ["DSIG", "VORG", "vhea", "vmtx", "meta"]
    font = TTFont(path, fontNumber=2 if path.suffix == ".ttc" else -1, recalcTimestamp=False)  # 2: simplified Chinese
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=characters)
    cutter.subset(font)
    stream = io.BytesIO()
    font.save(stream)
    return stream.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
