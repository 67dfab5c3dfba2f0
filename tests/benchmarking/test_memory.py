"""Peak memory by a fresh process, and a CUDA driver that the test plays."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil.benchmarking.inputs import bench_inputs
from onnx_gapmil.benchmarking.memory import DeviceMemory, peak_memory, peak_resident
from onnx_gapmil.benchmarking.variants import Variant
from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.graph.view import ModelGraph
from tests.helpers.support import text_model

BODY = "f = Conv(x, w)  p = GlobalAveragePool(f)  y = Flatten(p)"


def variant(channels: int = 5, outputs: tuple[str, ...] = ("y",)) -> Variant:
    init = {"w": np.ones((channels, 3, 1, 1), np.float32)}
    proto = text_model(BODY, x="float[N,3,512,512] x", y=f"float[N,{channels}] y", init=init)
    return Variant("original", load_model(proto), outputs)


def peak(of: Variant, batch: int = 1) -> int:
    inputs = bench_inputs(ModelGraph(of.model.proto), batch, None, "m")
    found = peak_memory(of, "cpu", inputs, runs=1)
    assert found.device_bytes is None
    assert found.host_bytes is not None
    return found.host_bytes


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a process's peak")
def test_a_larger_map_shows_in_the_peak_of_a_process_of_its_own() -> None:
    small, large = peak(variant(1)), peak(variant(101))
    # ONNX Runtime takes its memory in doubling steps, so that there may be more of it than the map.
    assert 100 * 512 * 512 * 4 * 0.9 < large - small < 100 * 512 * 512 * 4 * 3
    assert 20e6 < small < 400e6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_peak_of_this_process_is_at_least_what_it_has_now() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    now = peak_resident()
    assert now is not None
    assert now >= pages * 4096 * 0.9


def test_a_process_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(ModelError, match=r"Peak memory of 'original': its process failed \(.*nothing_like_it"):
        peak(variant(outputs=("nothing_like_it",)))


class Driver:
    """libcuda with 100 bytes free, then 60; any function can be made to fail."""

    def __init__(self, **failing: int) -> None:
        self._failing, self._free, self.called = failing, iter((100, 60)), list[str]()

    def __getattr__(self, name: str):
        def function(*arguments) -> int:
            self.called.append(name)
            if name == "cuMemGetInfo_v2" and name not in self._failing:
                arguments[0]._obj.value = next(self._free)
            return self._failing.get(name, 0)

        return function


def test_device_memory_is_asked_of_the_driver_after_its_context_was_made() -> None:
    driver = Driver()
    memory = DeviceMemory(driver)
    assert memory.free() - memory.free() == 40
    assert driver.called[:4] == ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"]


@pytest.mark.parametrize("function", ["cuInit", "cuDevicePrimaryCtxRetain", "cuMemGetInfo_v2"])
def test_a_driver_that_fails_is_an_error_and_not_a_zero(function: str) -> None:
    with pytest.raises(ModelError, match=rf"{function} answers with error 101"):
        DeviceMemory(Driver(**{function: 101})).free()
