from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.ort import probe
from onnx_gapmil.ort.probe import probe_model, provider_failure


def test_cpu_passes_its_probe():
    assert provider_failure("CPUExecutionProvider", {}) is None


def test_wrong_numbers_fail_the_probe(monkeypatch):
    broken = probe_model()
    (weights,) = broken.graph.initializer
    weights.raw_data = np.zeros(4 * 3 * 3 * 3, np.float32).tobytes()
    monkeypatch.setattr(probe, "probe_model", lambda: broken)
    assert provider_failure("CPUExecutionProvider", {}) == "a trial convolution gave wrong numbers"


def test_a_provider_that_cannot_be_loaded_says_why_and_prints_nothing(capfd):
    failure = provider_failure("NoSuchExecutionProvider", {})
    assert failure is not None
    assert "NoSuchExecutionProvider" in failure
    assert capfd.readouterr() == ("", "")


def test_asking_for_cuda_prints_nothing_whether_it_works_or_not(capfd):
    provider_failure("CUDAExecutionProvider", {})
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_cuda_passes_its_probe():
    assert provider_failure("CUDAExecutionProvider", {}) is None
