"""Texts that lie as letters are the very texts, in the order that Python gives them."""

from __future__ import annotations

from onnx_gapmil.files.texts import Texts

#: Above the letters of one UTF-16 unit lies one of two; more than one part of them.
TEXTS = ["b", "", "a/ü.png", "\uffee", "\U0001f600", "b", *(f"{number}.jpg" for number in range(5000))]


def test_they_are_what_was_added() -> None:
    found = Texts.of(iter(TEXTS))
    assert (len(found), list(found)) == (len(TEXTS), TEXTS)
    assert Texts.of(found) is found
    assert list(found.at([3, 0, 5000])) == [TEXTS[3], TEXTS[0], TEXTS[5000]]


def test_their_order_is_that_of_python_and_keeps_equal_ones() -> None:
    found = Texts.of(TEXTS)
    assert found.order().to_pylist() == sorted(range(len(TEXTS)), key=TEXTS.__getitem__)
    assert list(found.at(found.order())) == sorted(TEXTS)


def test_none_are_none() -> None:
    found = Texts.of([])
    assert (len(found), list(found), found.order().to_pylist(), list(found.at(found.order()))) == (0, [], [], [])


def test_shared_ones_are_those_that_both_have_in_the_order_of_the_first() -> None:
    assert list(Texts.of(TEXTS).shared(Texts.of(["1.jpg", "b", "ü", "\U0001f600"]))) == [
        "b",
        "\U0001f600",
        "b",
        "1.jpg",
    ]
    assert len(Texts.of(TEXTS).shared(Texts.of([]))) == 0
