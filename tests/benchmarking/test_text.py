"""The table of ``bench``, on a report made by hand."""

from __future__ import annotations

import pytest
from rich.console import Console

from onnx_gapmil.benchmarking.memory import PeakMemory
from onnx_gapmil.benchmarking.results import BenchReport, Measurement, Series
from onnx_gapmil.benchmarking.text import bench_note
from onnx_gapmil.benchmarking.timing import Spread

SECONDS = Spread(0.0402, 0.039, 0.0511, 0.040, 0.041, 90)


def report(*, interrupted: bool = False, device: str | None = None) -> BenchReport:
    memory = PeakMemory(412_000_000, 900_000_000 if device else None)
    measurements = (
        Measurement("original", 8, SECONDS, None, 1000, 1.0, memory),
        Measurement("grid", 8, SECONDS, Spread(1.021, 0.9, 1.1, 1.015, 1.03, 90), 1025, 1.025, memory),
        Measurement("argmax", 8, SECONDS, Spread(1.3, 1.2, 1.4, 1.25, 1.35, 90), 1025, 1.025),
        Measurement("peaks", 8, SECONDS, Spread(1.2, 0.9, 1.4, 1.03, 1.35, 90), 1025, 1.025),
        Measurement("[grid]", 1, Spread(0.00012, 0.0001, 0.0002, 0.0001, 0.0002, 90), None, 0, None),
    )
    series = Series(
        {"requested": "cuda", "used": "cuda" if device else "cpu", "device": device, "reason": ""},
        "fp16",
        True,
        (("image", (8, 3, 224, 224), "float16"),),
        "as asked for",
        {"original": {"CPUExecutionProvider": 57}, "grid": {"CUDAExecutionProvider": 60, "CPUExecutionProvider": None}},
        measurements,
    )
    machine = {"cpu": "A Processor", "threads": 4, "system": "Linux"}
    return BenchReport("m.onnx", "exact", machine, {"onnx": "1.0"}, ("So it was measured.",), (series,), interrupted)


def text(found: BenchReport, *, color: bool = False) -> str:
    screen = Console(width=140, force_terminal=color, highlight=False, color_system="standard" if color else None)
    with screen.capture() as capture:
        screen.print(bench_note(found))
    return capture.get()


def line(found: str, word: str) -> str:
    return " ".join(next(entry for entry in found.splitlines() if word in entry).split())


def test_a_row_has_times_rate_ratio_interval_bound_and_memory() -> None:
    found = text(report())
    assert line(found, "original  ").startswith("8 original 40.20 39.00 to 51.10 199 412 MB")
    assert line(found, " grid ") == "grid 40.20 39.00 to 51.10 199 1.021 (1.015 to 1.030) 1.025 412 MB"
    assert line(found, "[grid]") == "1 [grid] 0.120 0.100 to 0.200 8,333"


def test_what_was_measured_is_said_above_and_below() -> None:
    found = text(report())
    assert line(found, "model") == "model m.onnx (exact)"
    assert line(found, "A Processor") == "machine A Processor, 4 threads, Linux"
    assert line(found, "converted") == (
        "cpu, fp16, converted for this measurement, image (N, 3, 224, 224) float16 (as asked for)"
    )
    assert "CUDAExecutionProvider 60, CPUExecutionProvider ?" in found
    assert "So it was measured." in found
    assert "Interrupted" not in found


def test_a_device_has_its_name_and_its_own_memory() -> None:
    found = text(report(device="A Card"))
    assert "cuda (A Card), fp16" in found
    assert "412 MB, device 900 MB" in found


def test_an_interrupted_report_says_so() -> None:
    assert "Interrupted: this is what was measured until then." in text(report(interrupted=True))


@pytest.mark.parametrize(("word", "color"), [("1.021", "36"), ("1.300", "33"), ("1.200", "36")])
def test_only_a_ratio_clearly_above_its_bound_is_yellow(word: str, color: str) -> None:
    assert f"\x1b[{color}m{word}\x1b[0m" in text(report(), color=True)
