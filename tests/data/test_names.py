"""The parts of a class's name. How labels are matched by them is in test_classes.py."""

from __future__ import annotations

import pytest

from onnx_gapmil.data.names import is_background, normalized, without_wnid, wnid_of


@pytest.mark.parametrize(
    ("name", "wnid", "rest"),
    [
        ("n01440764", "n01440764", ""),
        ("n01440764 tench", "n01440764", "tench"),
        ("n01440764-great_white", "n01440764", "great_white"),
        (" n01440764, tench ", "n01440764", "tench"),
        ("crane (n02012849)", "n02012849", "crane"),
        ("crane", None, "crane"),
        ("n0144076 tench", None, "n0144076 tench"),
        ("n014407640", None, "n014407640"),
        ("(n02012849)", None, "(n02012849)"),
        ("", None, ""),
    ],
)
def test_a_wordnet_id_before_or_behind_a_name(name: str, wnid: str | None, rest: str) -> None:
    assert (wnid_of(name), without_wnid(name)) == (wnid, rest)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Great White-Shark", "great_white  shark"),
        ("STRASSE", "straße"),
        ("caf\u00e9", "cafe\u0301"),
        (" _cat- ", "cat"),
        ("\u0130x", "i\u0307x"),
    ],
)
def test_spellings_of_one_name_are_one(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


def test_different_names_stay_different() -> None:
    assert len({normalized(name) for name in ("cat", "cats", "c at", "cat.", "cät")}) == 5


def test_a_background_class_is_known_by_its_whole_name() -> None:
    assert all(is_background(name) for name in ("background", "BG", " Dummy ", "void"))
    assert not any(is_background(name) for name in ("background noise", "", "avoid", "0"))
