"""Ask the NVIDIA driver and the dynamic loader what is there, through ctypes and without ONNX Runtime.

`onnxruntime.get_available_providers()` lists CUDA on machines that have no graphics card, and a session that
asks for it there prints loud errors; so nobody asks before this module has answered.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass

from onnx_gapmil.ort.quiet import native_output_discarded, onnxruntime_module

# CUdevice_attribute, cuda.h
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_NO_DEVICE = 100

INSTALL_CUDA = "pip install 'onnx-gapmil[cuda]'"


@dataclass(frozen=True)
class CudaProblem:
    """Why CUDA cannot be used on this machine.

    Attributes:
        what: what is missing or wrong, as the end of a sentence: "no NVIDIA driver was found".
        advice: what to do about it, one sentence.
    """

    what: str
    advice: str


@dataclass(frozen=True)
class CudaDevice:
    """One CUDA device, as the driver describes it."""

    name: str
    memory_bytes: int
    compute_capability: str


@dataclass(frozen=True)
class CudaDriver:
    """A working NVIDIA driver.

    Attributes:
        cuda_version: the newest CUDA that the driver serves, (major, minor).
        devices: never empty.
    """

    cuda_version: tuple[int, int]
    devices: tuple[CudaDevice, ...]


def probe_driver() -> CudaDriver | CudaProblem:
    """Load the driver's library and list its devices (`CUDA_VISIBLE_DEVICES` counts)."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return CudaProblem(
            f"no NVIDIA driver was found ({name} cannot be loaded)",
            "Install the NVIDIA driver; in a container, start it with --gpus all.",
        )
    status = library.cuInit(0)
    if status != 0:
        return _init_failure(library, status)
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    if count.value == 0:
        return _no_device()
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    return CudaDriver(
        cuda_version=(version.value // 1000, version.value % 1000 // 10),
        devices=tuple(_describe(library, index) for index in range(count.value)),
    )


def _no_device() -> CudaProblem:
    return CudaProblem(
        "the NVIDIA driver is there but shows no CUDA device",
        "Check nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, start it with --gpus all.",
    )


def _init_failure(library: ctypes.CDLL, status: int) -> CudaProblem:
    if status == _NO_DEVICE:
        return _no_device()
    text = ctypes.c_char_p()
    library.cuGetErrorString(status, ctypes.byref(text))
    said = text.value.decode(errors="replace") if text.value else "no explanation"
    return CudaProblem(
        f"the NVIDIA driver cannot be initialised (cuInit: error {status}, {said})",
        "Check nvidia-smi; a restart helps after a driver update.",
    )


def _describe(library: ctypes.CDLL, index: int) -> CudaDevice:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory, name = ctypes.c_size_t(), ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(handle), index)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    library.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, handle)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, handle)
    return CudaDevice(
        name=name.value.decode(errors="replace"),
        memory_bytes=memory.value,
        compute_capability=f"{major.value}.{minor.value}",
    )


def built_for_cuda() -> tuple[int, int] | None:
    """Return the CUDA version that the installed ONNX Runtime was built for; None for a CPU-only wheel."""
    text = getattr(onnxruntime_module(), "cuda_version", "") or ""
    major, _, minor = text.partition(".")
    if not major.isdigit():
        return None
    return int(major), int(minor) if minor.isdigit() else 0


def library_names(cuda_major: int, platform: str = sys.platform) -> tuple[str, ...]:
    """Name the shared libraries that the CUDA provider loads: CUDA `cuda_major`, cuRAND 10, cuDNN 9."""
    if platform == "win32":
        return (
            f"cudart64_{cuda_major}.dll",
            f"cublasLt64_{cuda_major}.dll",
            f"cublas64_{cuda_major}.dll",
            "curand64_10.dll",
            "cudnn64_9.dll",
        )
    return (
        f"libcudart.so.{cuda_major}",
        f"libcublasLt.so.{cuda_major}",
        f"libcublas.so.{cuda_major}",
        "libcurand.so.10",
        "libcudnn.so.9",
    )


@functools.cache
def missing_libraries(load: Callable[[str], object] = ctypes.CDLL) -> tuple[str, ...]:
    """Return the names of the CUDA and cuDNN libraries that cannot be loaded; empty when all can.

    The NVIDIA wheels in site-packages are loaded first, as ONNX Runtime itself would not find them.
    """
    version = built_for_cuda()
    if version is None:
        return ()
    with native_output_discarded():
        onnxruntime_module().preload_dlls()
    return tuple(name for name in library_names(version[0]) if not _loads(name, load))


def _loads(name: str, load: Callable[[str], object]) -> bool:
    try:
        load(name)
    except OSError:
        return False
    return True
