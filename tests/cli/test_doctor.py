from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from onnx_gapmil.cli import main
from onnx_gapmil.ort import doctor
from onnx_gapmil.ort.cuda import CudaDevice, CudaDriver, CudaProblem
from onnx_gapmil.ort.doctor import diagnose
from onnx_gapmil.ort.providers import CudaStatus

H200 = CudaDevice("NVIDIA H200", 140 * 2**30, "9.0")


@pytest.fixture
def machine(monkeypatch):
    """Pretend a machine: `machine(status, driver=..., missing=..., wheels=...)`."""

    def pretend(status, *, driver=None, missing=(), wheels=None, failures=None):
        listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        fake = SimpleNamespace(get_available_providers=lambda: listed)
        monkeypatch.setattr(doctor, "onnxruntime_module", lambda: fake)
        monkeypatch.setattr(doctor, "cuda_status", lambda: status)
        monkeypatch.setattr(doctor, "probe_driver", lambda: driver or status.problem)
        monkeypatch.setattr(doctor, "built_for_cuda", lambda: (13, 0))
        monkeypatch.setattr(doctor, "missing_libraries", lambda: missing)
        monkeypatch.setattr(doctor, "provider_failure", lambda name, _: (failures or {}).get(name))
        if wheels is not None:
            monkeypatch.setattr(doctor, "installed_wheels", lambda family: wheels if family is doctor.OPENCV else {})

    return pretend


NO_CUDNN = CudaStatus(problem=CudaProblem("libcudnn.so.9 is missing", "Run: pip install 'onnx-gapmil[cuda]'"))


def test_the_real_machine_runs_something_and_prints_no_noise(capfd):
    assert main(["doctor", "--json"]) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    found = json.loads(printed.out)
    assert found["schema_version"] == 1
    assert found["works"] is True
    assert {"name": "cpu", "works": True, "failure": None} in found["providers"]
    assert found["threads"] >= 1
    assert found["versions"]["numpy"]


def test_working_cuda_is_the_verdict(machine, capsys):
    machine(CudaStatus(device=H200), driver=CudaDriver((13, 1), (H200,)))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "CUDA works on NVIDIA H200." in out
    assert "140 GiB, compute capability 9.0" in out
    assert "serves CUDA 13.1; ONNX Runtime is built for 13.0" in out


def test_a_missing_library_is_named_with_what_to_install(machine, capsys):
    machine(NO_CUDNN, driver=CudaDriver((13, 1), (H200,)), missing=("libcudnn.so.9",))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "The CPU works; CUDA does not, because libcudnn.so.9 is missing." in out
    assert "Run: pip install 'onnx-gapmil[cuda]'" in out
    cuda = diagnose().cuda
    assert cuda.libraries["libcudnn.so.9"] is False
    assert cuda.libraries["libcudart.so.13"] is True
    assert cuda.problem == "libcudnn.so.9 is missing"


def test_two_wheels_of_a_family_are_a_loud_warning(machine, capsys):
    wheels = {"opencv-python": "4.14.0", "opencv-python-headless": "5.0.0"}
    machine(CudaStatus(device=H200), driver=CudaDriver((13, 1), (H200,)), wheels=wheels)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "Warning: opencv-python and opencv-python-headless are installed together" in out
    assert "pip uninstall -y opencv-python opencv-python-headless" in out
    assert "the installation is damaged" in out


def test_nothing_that_works_is_exit_code_1(machine, capsys):
    machine(NO_CUDNN, failures={"CPUExecutionProvider": "illegal instruction"})
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["works"] is False
    assert found["verdict"] == "No provider works: models cannot be run here."
    assert {"name": "cpu", "works": False, "failure": "illegal instruction"} in found["providers"]
