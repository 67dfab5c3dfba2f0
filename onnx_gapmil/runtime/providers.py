"""Choose the execution provider: CUDA if it truly works, else CPU, and always say which and why."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx_gapmil.errors import ProviderError
from onnx_gapmil.runtime.cuda import (
    INSTALL_CUDA,
    CudaDevice,
    CudaDriver,
    Missing,
    built_for_cuda,
    missing_libraries,
    probe_driver,
)
from onnx_gapmil.runtime.quiet import onnxruntime_module
from onnx_gapmil.runtime.trial import provider_failure
from onnx_gapmil.runtime.wheels import ONNXRUNTIME, installed_wheels

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@dataclass(frozen=True)
class ProviderChoice:
    """Which provider a session shall use, and why.

    Attributes:
        requested: what the caller asked for: "auto", "cuda", "cpu", "tensorrt", ...
        used: what it got, in the same short words; never "auto".
        providers: ONNX Runtime's provider names with their options, best first.
        reason: one sentence.
        device: the device's name as its driver gives it; None for the CPU.
    """

    requested: str
    used: str
    providers: tuple[tuple[str, Mapping[str, str]], ...]
    reason: str
    device: str | None = None

    @property
    def explicit(self) -> bool:
        """Whether the caller named an accelerator, so that running without it would be a lie."""
        return self.requested not in ("auto", "cpu")

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON values."""
        return {
            "requested": self.requested,
            "used": self.used,
            "device": self.device,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class CudaStatus:
    """Whether ONNX Runtime can really use CUDA here.

    Attributes:
        device: the device that it uses, None if it cannot.
        problem: what is missing, None if it can.
    """

    device: CudaDevice | None = None
    problem: Missing | None = None


def choose_providers(request: str = "auto", *, allow_tf32: bool = False) -> ProviderChoice:
    """Choose the providers for a session.

    Args:
        request: "auto" (CUDA if it truly works, else CPU), "cuda", "cpu", or another provider of the
            installed ONNX Runtime, without "ExecutionProvider" and in any case: "tensorrt", "openvino".
        allow_tf32: let CUDA round float32 products to TensorFloat-32 (10 bits of mantissa). It is faster, and
            residuals are then far above what float32 allows.

    Raises:
        ProviderError: the provider was asked for by name and cannot really be used.
    """
    wanted = request.strip().lower()
    if wanted == "cpu":
        return ProviderChoice(wanted, "cpu", _listed(_CPU), "CPU, as asked for.")
    if wanted == "auto":
        return _automatic(allow_tf32)
    if wanted == "cuda":
        status = cuda_status()
        if status.problem is not None:
            raise ProviderError(f"CUDA cannot be used: {status.problem.what}. {status.problem.advice}")
        return ProviderChoice(
            wanted, "cuda", _listed(_CUDA, _CPU, allow_tf32=allow_tf32), "CUDA, as asked for.", _name(status)
        )
    return _by_name(wanted, allow_tf32)


def _automatic(allow_tf32: bool) -> ProviderChoice:
    status = cuda_status()
    if status.problem is not None:
        return ProviderChoice("auto", "cpu", _listed(_CPU), f"CPU, because {status.problem.what}.")
    providers = _listed(_CUDA, _CPU, allow_tf32=allow_tf32)
    return ProviderChoice("auto", "cuda", providers, f"CUDA works on {_name(status)}.", _name(status))


def _by_name(wanted: str, allow_tf32: bool) -> ProviderChoice:
    available = onnxruntime_module().get_available_providers()
    stem = wanted.removesuffix("executionprovider")
    name = next((name for name in available if short_name(name) == stem), None)
    if name is None:
        known = ", ".join(short_name(name) for name in available)
        raise ProviderError(
            f"The provider {wanted!r} is not part of the installed ONNX Runtime, which has: {known}. "
            "Use one of these, or install the ONNX Runtime wheel that brings it."
        )
    if name in (_CPU, _CUDA):
        return choose_providers(short_name(name), allow_tf32=allow_tf32)
    failure = provider_failure(name, {})
    if failure is not None:
        raise ProviderError(f"The provider {wanted!r} cannot be used: {failure.rstrip('.')}.")
    behind = (_CUDA, _CPU) if name == _TENSORRT and cuda_status().problem is None else (_CPU,)
    return ProviderChoice(
        wanted, short_name(name), _listed(name, *behind, allow_tf32=allow_tf32), f"{name}, as asked for."
    )


@functools.cache
def cuda_status() -> CudaStatus:
    """Find out, once in a process, whether CUDA works: driver, wheel, libraries, then a trial run."""
    driver = probe_driver()
    if isinstance(driver, Missing):
        return CudaStatus(problem=driver)
    problem = _wheel_problem() or _driver_too_old(driver) or _libraries_problem() or _trial_problem()
    return CudaStatus(problem=problem) if problem is not None else CudaStatus(device=driver.devices[0])


def _wheel_problem() -> Missing | None:
    if _CUDA in onnxruntime_module().get_available_providers():
        return None
    wheels = installed_wheels(ONNXRUNTIME)
    if len(wheels) > 1:
        return Missing(
            f"{' and '.join(wheels)} are both installed and overwrite each other's files",
            f"Run: pip uninstall -y {' '.join(wheels)}; then {INSTALL_CUDA}",
        )
    name = next(iter(wheels), "onnxruntime")
    return Missing(
        f"the installed ONNX Runtime wheel ({name}) is built for the CPU only",
        f"Run: pip uninstall -y {name}; then {INSTALL_CUDA}",
    )


def _driver_too_old(driver: CudaDriver) -> Missing | None:
    needed = built_for_cuda()
    if needed is None or driver.cuda_version[0] >= needed[0]:
        return None
    served = ".".join(map(str, driver.cuda_version))
    return Missing(
        f"the NVIDIA driver serves CUDA {served} at most and this ONNX Runtime is built for CUDA {needed[0]}",
        f"Update the NVIDIA driver to one that serves CUDA {needed[0]}.",
    )


def _libraries_problem() -> Missing | None:
    missing = missing_libraries()
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return Missing(f"{', '.join(missing)} {verb} missing", f"Run: {INSTALL_CUDA}")


def _trial_problem() -> Missing | None:
    failure = provider_failure(_CUDA, _cuda_options(allow_tf32=False))
    if failure is None:
        return None
    return Missing(
        f"a trial model did not run on CUDA ({failure.rstrip('.')})",
        f"Run onnx-gapmil doctor; reinstalling helps often: {INSTALL_CUDA}",
    )


def _cuda_options(*, allow_tf32: bool) -> dict[str, str]:
    # EXHAUSTIVE, the default, searches up to a second at each new shape; DEFAULT can be 50x slower.
    return {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": str(int(allow_tf32))}


def _listed(*names: str, allow_tf32: bool = False) -> tuple[tuple[str, Mapping[str, str]], ...]:
    return tuple((name, _cuda_options(allow_tf32=allow_tf32) if name == _CUDA else {}) for name in names)


def short_name(provider: str) -> str:
    """Return "cuda" for "CUDAExecutionProvider"."""
    return provider.removesuffix("ExecutionProvider").lower()


def _name(status: CudaStatus) -> str | None:
    return None if status.device is None else status.device.name
