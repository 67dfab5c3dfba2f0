"""Numbers in words: plurals, shares and points, one way everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnx_gapmil.files.wording import are, column_percent, count, of_are, of_were, percent, percent_range, points, were

PACKAGE = Path(__file__).resolve().parents[2] / "onnx_gapmil"


@pytest.mark.parametrize(
    ("value", "one", "said"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "image", "2 images"),
        (1300, "image", "1,300 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "box", "3 boxes"),
        (2, "usable thread", "2 usable threads"),
        (2, "more class", "2 more classes"),
    ],
)
def test_one_is_singular_and_all_else_is_plural(value: int, one: str, said: str) -> None:
    assert count(value, one) == said


def test_verbs_agree() -> None:
    assert (are(1, "label"), are(2, "label")) == ("1 label is", "2 labels are")
    assert (were(1, "name"), were(0, "name")) == ("1 name was", "0 names were")
    assert (of_are(1, 200, "image"), of_are(3, 1, "image")) == ("1 of 200 images is", "3 of 1 image are")
    assert (of_were(1, 8, "photo"), of_were(4, 8, "photo")) == ("1 of 8 photos was", "4 of 8 photos were")


@pytest.mark.parametrize(
    ("share", "prose", "column"),
    [(0.775, "77.5 %", "77.5 %"), (1, "100 %", "100.0 %"), (0.0, "0 %", "0.0 %"), (None, "–", "–")],
)
def test_a_share_has_a_space_before_its_sign(share: float | None, prose: str, column: str) -> None:
    assert percent(share) == prose
    assert column_percent(share) == column


def test_points_have_a_sign_and_no_negative_nothing() -> None:
    assert (points(-0.23), points(0.005), points(-0.0001)) == ("-23.0", "+0.5", "+0.0")
    assert percent_range((0.731, 1)) == "73.1 % to 100 %"


def test_no_text_of_the_package_words_its_own_percentages_or_optional_plurals() -> None:
    """What would be worded otherwise than by this module: ``{share:.1%}``, ``12%``, ``image(s)``."""
    own = re.compile(r":\.\d%\}|\}%[^0-9a-zA-Z\s)\"']|\} \w+\((?:s|es)\)[ .,;:]")
    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if own.search(line)
    ]
    assert found == []
