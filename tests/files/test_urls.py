"""URLs as texts: no secret of one is shown, and copies are called by what they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.files import urls
from onnx_gapmil.files.urls import note_origin, said, said_text, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a@b/c.onnx", "s3://bucket/a@b/c.onnx"),
        ("https://me:hidden@host/m.onnx", "https://***@host/m.onnx"),
        ("https://host/m.onnx?X-Sig=hidden&n=1", "https://host/m.onnx?X-Sig=***&n=***"),
        ("https://host/m.onnx?X-Sig=hidden: no such file.", "https://host/m.onnx?X-Sig=***: no such file."),
        ("zip://a::https://me@host/a.zip?t=hidden", "zip://a::https://***@host/a.zip?t=***"),
        ("say 'ftp://u:hidden@h/x' and \"http://h/?k=hidden\"", "say 'ftp://***@h/x' and \"http://h/?k=***\""),
        ("a?b=c", "a?b=c"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_copies_are_called_by_their_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "_origins", {})
    note_origin(Path("/cache/s3/out"), "s3://out")
    note_origin(Path("/cache/s3/out/m.onnx"), "zip://m.onnx::s3://me:hidden@out/a.zip")
    assert said(Path("/cache/s3/out/a/b.png")) == "s3://out/a/b.png"
    assert said_text("wrote /cache/s3/out/m.onnx.") == "wrote zip://m.onnx::s3://***@out/a.zip."
    assert said(Path("/cache/s3/other")) == "/cache/s3/other"
