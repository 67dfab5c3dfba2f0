"""Text and JSON that lie beside a model: UTF-8, strict, and every mistake with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.errors import LabelsError, PreprocessError
from onnx_gapmil.files.text import MAX_BYTES, parse_json, read_text


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_is_read_with_and_without_a_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(mark + "grün\n".encode())
    assert read_text(path, LabelsError) == "grün\n"


def test_another_encoding_is_told_with_the_first_byte_that_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("grün\n".encode("latin-1"))
    with pytest.raises(LabelsError, match=r"a: not UTF-8 text \(byte 2\); save it as UTF-8\.$"):
        read_text(path, LabelsError)


def test_a_file_that_is_no_small_text_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(LabelsError, match="more than a small text file should have"):
        read_text(path, LabelsError)


def test_json_is_what_pythons_own_reader_makes_of_it() -> None:
    text = '{"a": [1, 2.5, null, true], "b": {"c": "\\u00fc"}}'
    assert parse_json(text, "x.json", PreprocessError) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1,\n "b" 2}', r"x\.json: not JSON: Expecting ':' delimiter in line 2, column 6\."),
        ("", r"x\.json: not JSON: Expecting value in line 1, column 1\."),
        ('{"a": 1, "a": 2}', r"x\.json: not JSON that is accepted: key 'a' occurs twice\."),
        ('{"a": {"b": 1, "b": 1}}', "key 'b' occurs twice"),
        ("[NaN]", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("[" * 200_000, "not JSON that is accepted"),
    ],
)
def test_json_that_two_readers_may_take_differently_is_refused(text: str, told: str) -> None:
    with pytest.raises(PreprocessError, match=told):
        parse_json(text, "x.json", PreprocessError)
