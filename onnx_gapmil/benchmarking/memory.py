"""Peak memory of a graph, measured in a fresh process of its own that does nothing but run it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.benchmarking.variants import Variant
    from onnx_gapmil.graph.inputs import InputShape

HOW = (
    "Peak memory: of a fresh process that loads the graph and runs it, Python and ONNX Runtime included (VmHWM of "
    "/proc on Linux, ru_maxrss on macOS)."
)
HOW_DEVICE = (
    "Device memory: what the driver (cuMemGetInfo) has less after the runs than before the session, so with ONNX "
    "Runtime's arenas and cuDNN's workspace, without the CUDA context."
)
_SECONDS = 600
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PeakMemory:
    """What one graph needs.

    Attributes:
        host_bytes: peak resident memory of the process; None where the system does not tell.
        device_bytes: memory taken on the CUDA device; None on the CPU.
    """

    host_bytes: int | None
    device_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """Both figures."""
        return {"host_bytes": self.host_bytes, "device_bytes": self.device_bytes}


def peak_memory(variant: Variant, provider: str, inputs: Sequence[InputShape], *, runs: int = 3) -> PeakMemory:
    """Run a graph a few times in a fresh process and read its peak memory.

    Args:
        variant: the graph.
        provider: short name, as `choose_providers` takes it.
        inputs: concrete shapes.
        runs: how often.

    Raises:
        ModelError: the process failed; its last words are in the message.
    """
    data, folder = variant.model.session_source()
    with tempfile.TemporaryDirectory(prefix="gapmil-bench-") as place:
        path = Path(place) / "graph.onnx"
        path.write_bytes(data)
        del data
        order = {
            "path": str(path),
            "folder": str(folder) if folder is not None else None,
            "provider": provider,
            "outputs": list(variant.outputs),
            "inputs": [[entry.name, list(entry.traced), entry.dtype.name] for entry in inputs],
            "runs": runs,
        }
        answer = _in_a_fresh_process(order, variant.name)
    return PeakMemory(answer["host_bytes"], answer["device_bytes"])


def _in_a_fresh_process(order: dict[str, Any], name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "onnx_gapmil.benchmarking.child"]
    paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter, with a module of this package
            command,
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"Peak memory of {name!r}: its process did not end within {_SECONDS} s.") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        how = f"was killed by signal {-done.returncode}" if done.returncode < 0 else "failed"
        raise ModelError(f"Peak memory of {name!r}: its process {how} ({said.rstrip('.')}). A smaller --batch may fit.")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_resident() -> int | None:
    """Peak resident memory of this process in bytes; None where the system does not tell.

    Linux's ru_maxrss starts with that of the process that forked this one, so /proc is read there.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return _peak_by_getrusage()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _peak_by_getrusage() -> int | None:
    if sys.platform != "darwin":
        return None
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes there


class DeviceMemory:
    """Free memory of the first CUDA device, by its driver.

    Args:
        library: the driver's library; loaded if None.

    Raises:
        ModelError: there is no driver, or it does not answer.
    """

    def __init__(self, library: Any = None) -> None:
        name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
        try:
            self._library = library if library is not None else ctypes.CDLL(name)
        except OSError as error:
            raise ModelError(f"Device memory cannot be read: {name} cannot be loaded.") from error
        self._ask("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._ask("cuDeviceGet", ctypes.byref(device), 0)
        # The primary context is the one that ONNX Runtime uses too; made now, it is not counted as the session's.
        self._ask("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._ask("cuCtxSetCurrent", context)

    def free(self) -> int:
        """Free bytes, of the whole device: what other processes take counts too.

        Raises:
            ModelError: the driver does not answer.
        """
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._ask("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def _ask(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise ModelError(f"Device memory cannot be read: the driver's {function} answers with error {status}.")
