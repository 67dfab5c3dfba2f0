from __future__ import annotations

import ctypes

import pytest

from onnx_gapmil.ort import cuda
from onnx_gapmil.ort.cuda import (
    CudaDevice,
    CudaDriver,
    CudaProblem,
    library_names,
    missing_libraries,
    probe_driver,
)


class FakeDriver:
    """Answers like libcuda: status codes returned, results written through pointers."""

    def __init__(self, *, status: int = 0, devices: int = 1) -> None:
        self.status, self.devices = status, devices

    def cuInit(self, flags):  # noqa: N802
        return self.status

    def cuGetErrorString(self, status, text):  # noqa: N802
        text._obj.value = b"system has unsupported driver"
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.devices
        return 0

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 13010
        return 0

    def cuDeviceGet(self, handle, index):  # noqa: N802
        handle._obj.value = index
        return 0

    def cuDeviceGetName(self, name, length, handle):  # noqa: N802
        name.value = f"Card {handle.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory, handle):  # noqa: N802
        memory._obj.value = 24 * 2**30  # more than 32 bits hold
        return 0

    def cuDeviceGetAttribute(self, value, attribute, handle):  # noqa: N802
        value._obj.value = {75: 8, 76: 9}[attribute]
        return 0


@pytest.fixture
def driver(monkeypatch):
    def install(**answers: int) -> None:
        monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver(**answers))

    return install


def test_driver_and_devices_are_described(driver):
    driver(devices=2)
    assert probe_driver() == CudaDriver(
        (13, 1), (CudaDevice("Card 0", 24 * 2**30, "8.9"), CudaDevice("Card 1", 24 * 2**30, "8.9"))
    )


def test_no_driver_library_is_said(monkeypatch):
    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    found = probe_driver()
    assert isinstance(found, CudaProblem)
    assert found.what.startswith("no NVIDIA driver was found")
    assert "driver" in found.advice


@pytest.mark.parametrize("answers", [{"devices": 0}, {"status": 100}])
def test_driver_without_a_device_is_said(driver, answers):
    driver(**answers)
    found = probe_driver()
    assert isinstance(found, CudaProblem)
    assert found.what == "the NVIDIA driver is there but shows no CUDA device"


def test_driver_that_does_not_start_gives_its_own_words(driver):
    driver(status=803)
    found = probe_driver()
    assert isinstance(found, CudaProblem)
    assert found.what.endswith("(cuInit: error 803, system has unsupported driver)")


def test_library_names_follow_platform_and_cuda_version():
    assert library_names(13, "linux") == (
        "libcudart.so.13",
        "libcublasLt.so.13",
        "libcublas.so.13",
        "libcurand.so.10",
        "libcudnn.so.9",
    )
    assert library_names(12, "win32")[0] == "cudart64_12.dll"


def test_missing_libraries_are_those_that_do_not_load(monkeypatch, capfd):
    def load(name):
        if "cudnn" in name:
            raise OSError(name)

    monkeypatch.setattr(cuda, "built_for_cuda", lambda: (13, 0))
    assert missing_libraries(load) == library_names(13)[-1:]
    assert capfd.readouterr() == ("", "")


def test_a_cpu_only_wheel_misses_no_library(monkeypatch):
    monkeypatch.setattr(cuda, "built_for_cuda", lambda: None)
    assert missing_libraries(lambda name: 1 / 0) == ()
