"""What a stranger's text may do to a terminal or a page: nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_gapmil.files.printable import visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("a\nError: none\r\t", "a\\nError: none\\r\\t"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe\u2066\u200f", "\\u202egnp.exe\\u2066\\u200f"),
        ("\u2028\ufeff\ud800", "\\u2028\\ufeff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\u65e5\u672c \u0645\u0631\u062d\u0628\u0627 e\u0301 \U0001f600", None),
    ],
)
def test_what_steers_is_spelled_out_and_the_rest_stays(text: str, shown: str | None) -> None:
    assert visible(text) == (text if shown is None else shown)


def test_lines_stay_lines() -> None:
    assert visible_lines("a\nb\x1b") == "a\nb\\x1b"


@given(st.text())
def test_no_control_character_and_no_half_letter_is_left(text: str) -> None:
    left = {unicodedata.category(letter) for letter in visible(text)}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(letter) for letter in visible(text)} & {
        *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    }
