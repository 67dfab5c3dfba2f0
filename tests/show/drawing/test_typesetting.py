"""Lines of text against what is not of this package: FreeType's letters, raqm's shaping, unicode-bidi's order."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from bidi import get_display
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, features

from onnx_gapmil.show.drawing import faces, typesetting
from onnx_gapmil.show.drawing.typesetting import ellipsized, isolated, line, spelled_out, width, wrapped

FONTS = Path(faces.__file__).parent / "fonts"
FSI, PDI = "\u2068", "\u2069"

#: Pixels to the em at which FreeType's hints move letters by little.
LARGE = 160
#: One name a script, and the package's font that has it.
NAMES = {
    "Latin": ("Käse, Œuvre", "NotoSans-Regular.ttf"),
    "Greek": ("Γάτα", "NotoSans-Regular.ttf"),
    "Cyrillic": ("Кошка", "NotoSans-Regular.ttf"),
    "Vietnamese": ("Mèo nhà lông ngắn", "NotoSans-Regular.ttf"),
    "Arabic": ("قطة", "NotoSansArabic-Regular.ttf"),
    "Persian": ("گربهٔ می‌خواهم", "NotoSansArabic-Regular.ttf"),
    "Hebrew": ("חתול", "NotoSansHebrew-Regular.ttf"),
    "Devanagari": ("बिल्ली", "NotoSansDevanagari-Regular.ttf"),
    "Thai": ("เด็กที่นี่", "NotoSansThai-Regular.ttf"),
    "Bengali": ("বিড়াল", "NotoSansBengali-Regular.ttf"),
    "Tamil": ("பூனை", "NotoSansTamil-Regular.ttf"),
    "Khmer": ("ឆ្មា", "NotoSansKhmer-Regular.ttf"),
    "Georgian": ("კატა", "NotoSansGeorgian-Regular.ttf"),
    "Armenian": ("Կատու", "NotoSansArmenian-Regular.ttf"),
    "Ethiopic": ("ድመት", "NotoSansEthiopic-Regular.ttf"),
    "Chinese": ("家猫", "NotoSansCJK-Regular.otf"),
    "Traditional": ("貓國語", "NotoSansCJK-Regular.otf"),
    "Japanese": ("ネコねこ猫", "NotoSansCJK-Regular.otf"),
    "Korean": ("고양이", "NotoSansCJK-Regular.otf"),
}


def by_freetype(text: str, font: Path, size: int, layout: ImageFont.Layout) -> np.ndarray:
    """The ink of a line by Pillow, FreeType and, with raqm, fribidi and Pillow's own HarfBuzz."""
    drawn = Image.new("L", (14 * size, 3 * size), 0)
    face = ImageFont.truetype(font, size, layout_engine=layout)
    ImageDraw.Draw(drawn).text((100, 2 * size), text, fill=255, font=face, anchor="ls")
    return cropped(np.asarray(drawn))


def cropped(ink: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(ink.max(1) > 60), np.flatnonzero(ink.max(0) > 60)
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two inks, laid over each other and blurred by a pixel, since one is hinted and one is not."""
    size = (max(one.shape[1], other.shape[1]), max(one.shape[0], other.shape[0]))
    blurred = [np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BILINEAR)) for ink in (one, other)]
    return float(np.corrcoef(blurred[0].ravel(), blurred[1].ravel())[0, 1])


@pytest.mark.parametrize("script", ["Cyrillic", "Chinese", "Korean", "Georgian"])
def test_letters_that_stand_alone_are_freetypes(script: str) -> None:
    text, font = NAMES[script]
    mine = cropped(line(text, LARGE).mask)
    expected = by_freetype(text, FONTS / font, LARGE, ImageFont.Layout.BASIC)
    assert abs(mine.shape[1] - expected.shape[1]) <= 3
    assert abs(mine.shape[0] - expected.shape[0]) <= 2
    assert likeness(mine, expected) > 0.95


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow finds no fribidi, so it shapes nothing")
@pytest.mark.parametrize("script", sorted(NAMES))
def test_every_script_is_shaped_as_raqm_shapes_it(script: str) -> None:
    text, font = NAMES[script]
    mine = cropped(line(isolated(text), LARGE).mask)
    expected = by_freetype(text, FONTS / font, LARGE, ImageFont.Layout.RAQM)
    assert abs(mine.shape[1] - expected.shape[1]) <= 3
    assert likeness(mine, expected) > 0.95  # not shaped, these are 0.6 at the most


@pytest.mark.parametrize("script", ["Arabic", "Persian", "Hebrew", "Devanagari", "Thai", "Bengali", "Tamil", "Khmer"])
def test_what_is_not_shaped_looks_otherwise(script: str) -> None:
    """So that the likeness above can fail."""
    text, font = NAMES[script]
    mine = cropped(line(isolated(text), LARGE).mask)
    assert likeness(mine, by_freetype(text, FONTS / font, LARGE, ImageFont.Layout.BASIC)) < 0.7


@pytest.mark.parametrize("script", sorted(NAMES))
def test_every_script_has_its_letters_in_the_packages_own_fonts(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "font_folders", list)
    faces.system_faces.cache_clear()
    faces.face_of.cache_clear()
    try:
        assert typesetting.drawable(NAMES[script][0])
        assert {face.path.parent for _, face in typesetting._clusters(NAMES[script][0])} == {FONTS}
    finally:
        faces.system_faces.cache_clear()
        faces.face_of.cache_clear()


def test_arabic_letters_join() -> None:
    apart = sum(width(letter, 40) for letter in "بيت")
    assert width("بيت", 40) < 0.8 * apart
    assert line("بيت", 40).mask.shape[1] < 0.8 * apart


def test_hebrew_runs_from_right_to_left() -> None:
    first, second, both = (cropped(line(text, 60).mask) for text in ("ש", "י", "שי"))
    assert likeness(both[:, -first.shape[1] :], first) > 0.95  # the first letter is at the right
    assert both.shape[1] > first.shape[1] + second.shape[1] - 2


@settings(deadline=None, max_examples=150)
@given(st.text(alphabet="אבגדה abc 123 .,-", max_size=20), st.sampled_from([0, 1]))
def test_the_order_of_mixed_text_is_unicode_bidis(text: str, base: int) -> None:
    runs = typesetting._reordered(typesetting._runs(text, base, False))
    mine = "".join(run.text[::-1] if run.level % 2 else run.text for run in runs)
    expected = get_display(text, base_dir="LR"[base])
    assert mine.strip() == expected.strip()


def test_a_name_from_right_to_left_moves_nothing_around_it() -> None:
    """Without its isolation the number behind it would go to its left."""
    said = list(typesetting._visual(f"Image: {isolated('חתול')} 97 %, next", bold=False))
    assert "".join(run.text[::-1] if run.level % 2 else run.text for run in said) == "Image: לותח 97 %, next"
    spoilt = typesetting._visual("Image: חתול 97 %, next", bold=False)
    assert "".join(run.text[::-1] if run.level % 2 else run.text for run in spoilt).startswith("Image: 97")


def test_joiners_have_no_ink_and_keep_what_they_do() -> None:
    assert width("می\u200cخواهم", 40) != width("میخواهم", 40)
    assert width("a\u200db", 40) == pytest.approx(width("ab", 40), abs=0.5)


def test_decomposed_accents_are_the_composed_ones() -> None:
    for text in ("Käse", "Việt", "й"):
        assert (line(unicodedata.normalize("NFD", text), 30).mask == line(text, 30).mask).all()


def test_a_letter_that_no_font_has_is_spelled_out() -> None:
    assert spelled_out("a \U0010fffd b") == "a \\U0010fffd b"
    assert spelled_out("a\ufdd0") == "a\\ufdd0"
    assert not typesetting.drawable("\ufdd0")
    shown, escaped = line("x \ufdd0", 30), line("x \\ufdd0", 30)
    assert (shown.mask == escaped.mask).all()


def test_bold_has_more_ink_in_every_script() -> None:
    for text, _ in NAMES.values():
        assert line(text, 40, bold=True).mask.sum() > 1.05 * line(text, 40).mask.sum()


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=12))
def test_any_text_can_be_set(text: str) -> None:
    drawn = line(text, 20)
    assert drawn.mask.dtype == np.uint8
    assert width(text, 20) == pytest.approx(drawn.width, abs=0.01)


def test_an_empty_line_has_no_ink() -> None:
    for text in ("", "   ", FSI + PDI):
        assert line(text, 20).mask.max(initial=0) == 0


def test_ellipsized_is_the_longest_beginning_that_fits() -> None:
    text = "a fairly long name of a class"
    short = ellipsized(text, 20, 150)
    assert width(short, 20) <= 150
    assert short.endswith("…")
    assert width(text[: len(short)].rstrip() + "…", 20) > 150
    assert ellipsized(text, 20, 1000) == text
    assert width(ellipsized(isolated("قطة منزلية صغيرة جدا"), 20, 80), 20) <= 80


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.sampled_from(["one", "sentence", "家猫和狗", "very-long-word-" * 5, "x" * 60, "Кошка", "97 %", "("]),
        max_size=12,
    ),
    st.integers(80, 600),
)
def test_wrapped_lines_fit_and_nothing_is_lost(words: list[str], room: int) -> None:
    text = " ".join(words)
    lines = wrapped(text, 20, room)
    assert all(width(entry, 20) <= room for entry in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_name_that_is_wrapped_stays_isolated() -> None:
    name = "قطة منزلية صغيرة جدا في البيت"
    lines = wrapped(f"This is {isolated(name)}, and it sleeps.", 20, 170)
    assert len(lines) > 2
    assert all(entry.count(FSI) == entry.count(PDI) for entry in lines)
    assert "".join(lines).replace(FSI, "").replace(PDI, "").replace(" ", "") == f"Thisis{name},anditsleeps.".replace(
        " ", ""
    )


def test_marks_are_not_torn_from_their_letters() -> None:
    for entry in wrapped("เด็กที่นี่" * 8, 20, 90):
        assert not unicodedata.combining(entry[0])
        assert unicodedata.category(entry[0]) != "Mn"
