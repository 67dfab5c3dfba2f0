"""Choose the execution provider: CUDA if it truly works, else CPU, and always say which and why."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx_gapmil.errors import ProviderError
from onnx_gapmil.ort.cuda import (
    INSTALL_CUDA,
    CudaDevice,
    CudaDriver,
    Missing,
    built_for_cuda,
    missing_libraries,
    probe_driver,
)
from onnx_gapmil.ort.probe import provider_failure
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.ort.wheels import ONNXRUNTIME, installed_wheels

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


def choose_providers(request: str = "auto", *, allow_tf32: bool = False, cuda_graph: bool = False) -> ProviderChoice:
    """Choose the providers for a session.

    Args:
        request: "auto" (CUDA if it truly works, else CPU), "cuda", "cpu", or another provider of the
            installed ONNX Runtime, without "ExecutionProvider" and in any case: "tensorrt", "openvino".
        allow_tf32: let CUDA round float32 products to TensorFloat-32 (10 bits of mantissa). It is faster, and
            residuals are then far above what float32 allows. TensorRT decides for itself.
        cuda_graph: let CUDA record a run's kernels and replay them.

    Raises:
        ProviderError: the provider was asked for by name and cannot really be used, or CUDA graphs were and CUDA is not
            what runs.
    """
    choice = _chosen(request.strip().lower())
    if cuda_graph and choice.used != "cuda":
        raise ProviderError(
            f"CUDA graphs were asked for, and the model would run on {choice.used}: {choice.reason} "
            "Leave them off, or use --provider cuda."
        )
    options = {
        _CUDA: _cuda_options(allow_tf32=allow_tf32, cuda_graph=cuda_graph),
        _TENSORRT: _tensorrt_options() if choice.used == "tensorrt" else {},
    }
    providers = tuple((name, options.get(name, {})) for name, _ in choice.providers)
    extras = [word for word, on in (("with TF32", allow_tf32), ("as CUDA graphs", cuda_graph)) if on]
    if choice.used != "cuda" or not extras:
        return replace(choice, providers=providers)
    return replace(choice, providers=providers, reason=f"{choice.reason.rstrip('.')}, {' and '.join(extras)}.")


def _chosen(requested: str) -> ProviderChoice:
    """The choice, without the providers' options."""
    if requested == "cpu":
        return ProviderChoice(requested, "cpu", _listed(_CPU), "CPU, as asked for.")
    if requested == "auto":
        return _automatic()
    if requested == "cuda":
        status = cuda_status()
        if status.problem is not None:
            raise ProviderError(f"CUDA cannot be used: {status.problem.what}. {status.problem.advice}")
        return ProviderChoice(requested, "cuda", _listed(_CUDA, _CPU), "CUDA, as asked for.", _name(status))
    return _by_name(requested)


def _automatic() -> ProviderChoice:
    status = cuda_status()
    if status.problem is not None:
        return ProviderChoice("auto", "cpu", _listed(_CPU), f"CPU, because {status.problem.what}.")
    return ProviderChoice("auto", "cuda", _listed(_CUDA, _CPU), f"CUDA works on {_name(status)}.", _name(status))


def _by_name(requested: str) -> ProviderChoice:
    available = onnxruntime_module().get_available_providers()
    stem = requested.removesuffix("executionprovider")
    name = next((name for name in available if short_name(name) == stem), None)
    if name is None:
        known = ", ".join(short_name(name) for name in available)
        raise ProviderError(
            f"The provider {requested!r} is not part of the installed ONNX Runtime, which has: {known}. "
            "Use one of these, or install the ONNX Runtime wheel that brings it."
        )
    if name in (_CPU, _CUDA):
        return _chosen(short_name(name))
    failure = provider_failure(name, {})
    if failure is not None:
        raise ProviderError(f"The provider {requested!r} cannot be used: {failure.rstrip('.')}.")
    behind = (_CUDA, _CPU) if name == _TENSORRT and cuda_status().problem is None else (_CPU,)
    return ProviderChoice(requested, short_name(name), _listed(name, *behind), f"{name}, as asked for.")


@functools.cache
def cuda_status() -> CudaStatus:
    """Find out, once in a process, whether CUDA works: driver, wheel, libraries, then a convolution."""
    driver = probe_driver()
    if isinstance(driver, Missing):
        return CudaStatus(problem=driver)
    problem = _wheel_problem() or _driver_too_old(driver) or _libraries_problem() or _probe_problem()
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


def _probe_problem() -> Missing | None:
    failure = provider_failure(_CUDA, _cuda_options(allow_tf32=False))
    if failure is None:
        return None
    return Missing(
        f"a trial model did not run on CUDA ({failure.rstrip('.')})",
        f"Run onnx-gapmil doctor; reinstalling helps often: {INSTALL_CUDA}",
    )


def _cuda_options(*, allow_tf32: bool, cuda_graph: bool = False) -> dict[str, str]:
    # EXHAUSTIVE, the default, searches up to a second at each new shape; DEFAULT can be 50x slower.
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": str(int(allow_tf32))}
    return options | {"enable_cuda_graph": "1"} if cuda_graph else options


def _tensorrt_options() -> dict[str, str]:
    """Engines take minutes to build and fit one card and version only: they are kept in the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "onnx-gapmil" / "tensorrt"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:  # no home to write to: engines are built anew each time
        return {"trt_fp16_enable": "False"}
    return {
        "trt_fp16_enable": "False",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def _listed(*names: str) -> tuple[tuple[str, Mapping[str, str]], ...]:
    return tuple((name, {}) for name in names)


def short_name(provider: str) -> str:
    """Return "cuda" for "CUDAExecutionProvider"."""
    return provider.removesuffix("ExecutionProvider").lower()


def _name(status: CudaStatus) -> str | None:
    return None if status.device is None else status.device.name
