"""The process's settings: made where they exist, harmless where they do not."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import cv2
import pytest

from onnx_gapmil.running.pipeline.tuning import tune_process


@pytest.fixture(autouse=True)
def threads_restored():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_opencv_keeps_to_the_thread_that_calls_it() -> None:
    tune_process()
    assert cv2.getNumThreads() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_freed_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    library = SimpleNamespace(mallopt=lambda key, value: calls.append((key, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    tune_process()
    assert calls == [(-3, 2**25), (-1, 2**28)]


def test_without_mallopt_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    tune_process()
