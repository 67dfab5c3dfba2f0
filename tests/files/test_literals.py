"""Texts of metadata as values: JSON or Python's notation, and never code."""

import pytest

from onnx_gapmil.files.literals import parse_flag, parse_literal, parse_names, parse_numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{0: 'cat', 1: \"kid's\"}", {0: "cat", 1: "kid's"}),
        ('{"0": "cat"}', {"0": "cat"}),
        ("(1, 2)", (1, 2)),
        ("", None),
        ("cat", None),
        ("print(1)", None),
        ("__import__('os').getcwd()", None),
        ("[" * 100_000, None),
        ("{'a': " * 50, None),
        ("1" * 10_000, None),
    ],
)
def test_literals(text, value):
    assert parse_literal(text) == value


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("123.675 116.28 103.53", (123.675, 116.28, 103.53)),
        ("[0.5, .25,1e-3]", (0.5, 0.25, 0.001)),
        ("(64, 64)", (64.0, 64.0)),
        ("-1", (-1.0,)),
        ("", None),
        ("nan", None),
        ("1e999", None),
        ("1 2 x", None),
        ("1 " * 65, None),
    ],
)
def test_numbers(text, numbers):
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize(("text", "flag"), [("True", True), (" yes ", True), ("0", False), ("maybe", None), ("", None)])
def test_flags(text, flag):
    assert parse_flag(text) is flag


@pytest.mark.parametrize("value", [None, 3, [], [1], {"a": "b"}, {"0": 1.5}, {0: "a", 2: "b"}, {"0": "a", "00": "b"}])
def test_what_is_no_list_of_names_is_none(value):
    assert parse_names(value) is None
