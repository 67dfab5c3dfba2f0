"""The diagnosis of machines that are pretended: what is tried, what is said, what is printed as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnx_gapmil.ort import doctor
from onnx_gapmil.ort.cuda import CudaDevice, CudaDriver, Missing
from onnx_gapmil.ort.doctor import Diagnosis, diagnose
from onnx_gapmil.ort.providers import CudaStatus

CARD = CudaDevice("NVIDIA H100", 80 * 2**30, "9.0")
DRIVER = CudaDriver((13, 1), (CARD,))
NO_DRIVER = Missing("no NVIDIA driver was found", "Install the NVIDIA driver.")
LISTED = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

Pretend = Callable[..., Diagnosis]


@pytest.fixture
def diagnosed(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """The diagnosis of a machine with a card and all libraries, but for what is said otherwise."""
    tried: list[str] = []

    def pretend(**facts: Any) -> Diagnosis:
        failures = facts.get("failures", {})
        status = facts.get("status", CudaStatus(device=CARD))

        def probe(name: str, _: object) -> str | None:
            tried.append(name)
            return failures.get(name)

        monkeypatch.setattr(
            doctor, "onnxruntime_module", lambda: SimpleNamespace(get_available_providers=lambda: LISTED)
        )
        monkeypatch.setattr(doctor, "cuda_status", lambda: status)
        monkeypatch.setattr(doctor, "probe_driver", lambda: DRIVER if status.device else status.problem)
        monkeypatch.setattr(doctor, "built_for_cuda", lambda: facts.get("built_for", (13, 0)))
        monkeypatch.setattr(doctor, "missing_libraries", lambda: facts.get("missing", ()))
        monkeypatch.setattr(doctor, "provider_failure", probe)
        wheels = facts.get("wheels", {"onnxruntime-gpu": "1.31.1"})
        monkeypatch.setattr(doctor, "installed_wheels", lambda family: wheels if family is doctor.ONNXRUNTIME else {})
        return diagnose()

    pretend.tried = tried  # type: ignore[attr-defined]
    return pretend


def test_a_machine_where_all_works(diagnosed: Pretend) -> None:
    found = diagnosed()
    assert [(probe.name, probe.works) for probe in found.providers] == [
        ("tensorrt", True),
        ("cuda", True),
        ("cpu", True),
    ]
    assert (found.verdict, found.next_step, found.warnings) == ("CUDA works on NVIDIA H100.", None, ())
    assert (found.cuda.built_for, found.cuda.driver, found.cuda.problem) == ("13.0", "13.1", None)
    assert found.cuda.devices == ({"name": "NVIDIA H100", "memory_bytes": 80 * 2**30, "compute_capability": "9.0"},)
    assert all(found.cuda.libraries.values())
    assert found.versions["python"] == platform.python_version()
    assert found.versions["numpy"] == np.__version__
    assert found.versions["onnxruntime-gpu"] == "1.31.1"


def test_without_a_driver_nvidias_providers_are_not_even_asked(diagnosed: Pretend) -> None:
    found = diagnosed(status=CudaStatus(problem=NO_DRIVER))
    assert diagnosed.tried == ["CPUExecutionProvider"]  # type: ignore[attr-defined]
    assert {probe.name: probe.failure for probe in found.providers} == {
        "tensorrt": "it needs CUDA: no NVIDIA driver was found",
        "cuda": "no NVIDIA driver was found",
        "cpu": None,
    }
    assert found.verdict == "The CPU works; CUDA does not, because no NVIDIA driver was found."
    assert found.next_step == "Install the NVIDIA driver."
    assert (found.cuda.driver, found.cuda.devices) == (None, ())
    assert found.works


def test_a_provider_that_fails_alone_says_why(diagnosed: Pretend) -> None:
    found = diagnosed(failures={"TensorrtExecutionProvider": "libnvinfer.so.10 is missing"})
    assert found.providers[0].failure == "libnvinfer.so.10 is missing"
    assert [probe.works for probe in found.providers] == [False, True, True]


def test_a_wheel_for_the_cpu_has_no_libraries_to_miss(diagnosed: Pretend) -> None:
    found = diagnosed(status=CudaStatus(problem=NO_DRIVER), built_for=None)
    assert (found.cuda.built_for, found.cuda.libraries) == (None, {})


def test_two_wheels_that_overwrite_each_other_come_before_the_verdict_on_cuda(diagnosed: Pretend) -> None:
    found = diagnosed(wheels={"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"})
    (warning,) = found.warnings
    assert warning.startswith("onnxruntime and onnxruntime-gpu are installed together")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in warning
    assert found.verdict == "tensorrt, CUDA, CPU works, but the installation is damaged."
    assert found.next_step == warning


def test_nothing_works(diagnosed: Pretend) -> None:
    found = diagnosed(status=CudaStatus(problem=NO_DRIVER), failures={"CPUExecutionProvider": "illegal instruction"})
    assert not found.works
    assert (found.verdict, found.next_step) == (
        "No provider works: models cannot be run here.",
        "Install onnxruntime again.",
    )


def test_json_has_every_field(diagnosed: Pretend) -> None:
    document = json.loads(json.dumps(diagnosed().to_json()))
    assert list(document) == [
        "schema_version",
        "works",
        "versions",
        "warnings",
        "cpu",
        "threads",
        "memory_bytes",
        "cuda",
        "providers",
        "verdict",
        "next_step",
    ]
    assert document["providers"][2] == {"name": "cpu", "works": True, "failure": None}
    assert set(document["cuda"]) == {"built_for", "driver", "devices", "libraries", "problem", "advice"}
