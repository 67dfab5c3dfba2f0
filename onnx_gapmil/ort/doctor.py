"""Say which providers really work on this machine, and what CUDA lacks where it does not."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from onnx_gapmil.ort.cpu import cpu_name, thread_count
from onnx_gapmil.ort.cuda import (
    CudaDriver,
    CudaProblem,
    built_for_cuda,
    library_names,
    missing_libraries,
    probe_driver,
)
from onnx_gapmil.ort.probe import provider_failure
from onnx_gapmil.ort.providers import CudaStatus, cuda_status, short_name
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.ort.wheels import ONNXRUNTIME, OPENCV, installed_wheels

SCHEMA_VERSION = 1
_PACKAGES = ("onnx-gapmil", "onnx", "onnx-graphsurgeon", "numpy", "pillow")


@dataclass(frozen=True)
class ProviderProbe:
    """One provider that the installed ONNX Runtime lists.

    Attributes:
        name: as in `--provider`.
        works: whether it ran a convolution, alone, with the right numbers.
        failure: why it does not work; None if it does.
    """

    name: str
    works: bool
    failure: str | None


@dataclass(frozen=True)
class CudaReport:
    """What there is of CUDA.

    Attributes:
        built_for: the CUDA version that ONNX Runtime was built for, "13.0"; None for a CPU-only wheel.
        driver: the newest CUDA version that the driver serves, "13.0"; None without a driver.
        devices: name, memory_bytes and compute_capability of each device.
        libraries: whether each CUDA and cuDNN library can be loaded, by file name.
        problem: why CUDA cannot be used; None if it can.
        advice: what to do about it; None if there is nothing to do.
    """

    built_for: str | None
    driver: str | None
    devices: tuple[dict[str, Any], ...]
    libraries: dict[str, bool]
    problem: str | None
    advice: str | None


@dataclass(frozen=True)
class Diagnosis:
    """What `onnx-gapmil doctor` found.

    Attributes:
        versions: Python and each package, by distribution name.
        warnings: installations that break each other; empty when all is well.
        cpu: the processor's name.
        threads: cores that this process may use.
        memory_bytes: of the machine, None where it cannot be told.
        cuda: what there is of CUDA.
        providers: each provider that ONNX Runtime lists, tried.
        verdict: one sentence.
        next_step: one sentence on what to do; None if there is nothing to do.
    """

    versions: dict[str, str]
    warnings: tuple[str, ...]
    cpu: str
    threads: int
    memory_bytes: int | None
    cuda: CudaReport
    providers: tuple[ProviderProbe, ...]
    verdict: str
    next_step: str | None

    @property
    def works(self) -> bool:
        """Whether any provider works."""
        return any(probe.works for probe in self.providers)

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        return {"schema_version": SCHEMA_VERSION, "works": self.works, **dataclasses.asdict(self)}


def diagnose() -> Diagnosis:
    """Look at the installation and try every provider; never raises for a broken one, never prints."""
    status = cuda_status()
    providers = tuple(_try(name, status) for name in onnxruntime_module().get_available_providers())
    wheels, opencv = installed_wheels(ONNXRUNTIME), installed_wheels(OPENCV)
    warnings = _clashes(wheels) + _clashes(opencv)
    verdict, next_step = _verdict(providers, status, warnings)
    return Diagnosis(
        versions={"python": platform.python_version(), **_versions(), **wheels, **opencv},
        warnings=warnings,
        cpu=cpu_name(),
        threads=thread_count(),
        memory_bytes=_memory_bytes(),
        cuda=_cuda_report(status),
        providers=providers,
        verdict=verdict,
        next_step=next_step,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _clashes(wheels: dict[str, str]) -> tuple[str, ...]:
    if len(wheels) < 2:
        return ()
    names = " and ".join(wheels)
    return (
        f"{names} are installed together: they write the same files and break each other silently. "
        f"Run: pip uninstall -y {' '.join(wheels)}; then install onnx-gapmil again.",
    )


def _try(provider: str, status: CudaStatus) -> ProviderProbe:
    """Try one provider; the NVIDIA ones are not even asked where the driver is missing."""
    name = short_name(provider)
    if name == "cuda":
        failure = status.problem.what if status.problem is not None else None
    elif name == "tensorrt" and status.problem is not None:
        failure = f"it needs CUDA: {status.problem.what}"
    else:
        failure = provider_failure(provider, {})
    return ProviderProbe(name, failure is None, failure)


def _verdict(
    providers: tuple[ProviderProbe, ...], status: CudaStatus, warnings: tuple[str, ...]
) -> tuple[str, str | None]:
    working = [probe.name for probe in providers if probe.works]
    if not working:
        return "No provider works: models cannot be run here.", "Install onnxruntime again."
    if warnings:
        return f"{_words(working)} works, but the installation is damaged.", warnings[0]
    if status.device is not None:
        return f"CUDA works on {status.device.name}.", None
    if status.problem is None or sys.platform == "darwin":
        return f"{_words(working)} works.", None
    return f"The CPU works; CUDA does not, because {status.problem.what}.", status.problem.advice


def _words(names: list[str]) -> str:
    return ", ".join(name.upper() if name in ("cpu", "cuda") else name for name in names)


def _cuda_report(status: CudaStatus) -> CudaReport:
    built_for, driver, problem = built_for_cuda(), probe_driver(), status.problem
    missing = missing_libraries()
    libraries = {} if built_for is None else {name: name not in missing for name in library_names(built_for[0])}
    return CudaReport(
        built_for=None if built_for is None else _dotted(built_for),
        driver=_dotted(driver.cuda_version) if isinstance(driver, CudaDriver) else None,
        devices=()
        if isinstance(driver, CudaProblem)
        else tuple(dataclasses.asdict(device) for device in driver.devices),
        libraries=libraries,
        problem=None if problem is None else problem.what,
        advice=None if problem is None else problem.advice,
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
