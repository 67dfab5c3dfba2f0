"""How far a run is: a bar on a terminal, one line at the end elsewhere, nothing where nothing is wanted."""

from __future__ import annotations

import re
import sys

import pytest

from onnx_gapmil.cli.progress import PhotoProgress


def run(shown: bool, *, fails: bool = False) -> None:
    with PhotoProgress(3, shown=shown) as progress:
        for place in range(3):
            progress.advance()
            if place == 1:
                progress.say("Error: [b.png] is damaged")
                if fails:
                    raise KeyboardInterrupt


def test_without_a_terminal_there_is_one_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    run(shown=True)
    streams = capsys.readouterr()
    assert streams.out == ""
    assert re.fullmatch(r"Error: \[b\.png\] is damaged\n3 photos in \d+\.\d s, \d+\.\d photos/s\n", streams.err), (
        streams.err
    )


def test_what_is_not_wanted_is_not_shown_but_errors_are(capsys: pytest.CaptureFixture[str]) -> None:
    run(shown=False)
    assert capsys.readouterr().err == "Error: [b.png] is damaged\n"


def test_an_interrupted_run_claims_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(shown=True, fails=True)
    assert "photos/s" not in capsys.readouterr().err


def test_on_a_terminal_there_is_a_bar_and_markup_in_names_is_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    run(shown=True)
    err = capsys.readouterr().err
    assert "3/3" in err
    assert "photos/s" in err
    assert "Error: [b.png] is damaged" in err


def test_no_photo_is_no_division_by_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with PhotoProgress(0, shown=True):
        pass
    assert capsys.readouterr().err == ""
