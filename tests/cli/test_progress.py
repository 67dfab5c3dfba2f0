"""How far a run is: a bar on a terminal, one line at the end elsewhere, nothing where nothing is wanted."""

from __future__ import annotations

import re
import sys

import pytest

from onnx_gapmil.cli.output import set_quiet
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


def lines(total: int, steps: list[int], capsys: pytest.CaptureFixture[str], before: int = 0) -> list[str]:
    """What is told without a terminal, without figures of speed."""
    with PhotoProgress(total, shown=True, before=before) as progress:
        for step in steps:
            progress.advance(step)
    return [re.sub(r"(,| in) [\d.]+ (s, [\d.]+ )?photos/s$", "", line) for line in capsys.readouterr().err.splitlines()]


def test_without_a_terminal_a_long_run_has_a_line_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    told = [f"{20 * tenth} of 200 photos, {10 * tenth} %" for tenth in range(1, 10)]
    assert lines(200, [1] * 200, capsys) == [*told, "200 photos"]
    assert lines(1000, [250] * 4, capsys) == [f"{part} of 1,000 photos, {part // 10} %" for part in (250, 500, 750)] + [
        "1,000 photos"
    ]


def test_a_run_that_goes_on_counts_from_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(40, [10, 10], capsys, before=20) == ["30 of 40 photos, 75 %", "20 photos"]


def test_of_few_photos_a_tenth_is_told_where_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr("onnx_gapmil.cli.progress.time.perf_counter", lambda: float(next(clock)))
    assert lines(4, [1] * 4, capsys) == [
        "1 of 4 photos, 25 %",
        "2 of 4 photos, 50 %",
        "3 of 4 photos, 75 %",
        "4 photos",
    ]


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    set_quiet(True)
    try:
        assert lines(100, [1] * 100, capsys) == []
    finally:
        set_quiet(False)
