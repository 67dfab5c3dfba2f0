"""The driver's side: an environment for each framework, and a process for each peer that answers in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Tool:
    """A tool that is measured.

    Attributes:
        key: names its module, ``peer_KEY``.
        title: for people.
        runtime: what its plain inference runs on.
        environment: of the framework; empty for this very interpreter.
    """

    key: str
    title: str
    runtime: str
    environment: str


TOOLS = (
    Tool("onnx_gapmil", "onnx-gapmil", "ONNX Runtime", ""),
    Tool("openvino_xai", "OpenVINO XAI", "OpenVINO", "openvino"),
    Tool("torch_cam", "torch-cam", "PyTorch", "torch"),
    Tool("grad_cam", "pytorch-grad-cam", "PyTorch", "torch"),
)


def interpreter(environment: str, place: Path) -> Path:
    """The Python of an environment, ``place/peers-ENVIRONMENT``, made with pip if it is not as its pins say."""
    if not environment:
        return Path(sys.executable)
    folder = place / f"peers-{environment}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = [HERE / f"requirements-{environment}.txt", HERE / f"requirements-{environment}-nodeps.txt"]
    wanted = "\n".join(path.read_text("utf-8") for path in pins)
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return python
    print(f"Setting up {folder} ...", flush=True)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for path, options in zip(pins, ([], ["--no-deps", "--no-build-isolation"]), strict=True):
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
        subprocess.run([*pip, "--requirement", str(path)], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


class PeerProcess:
    """One peer in a process of its own; use it as a context.

    Args:
        tool: which one.
        place: where the environments are.
        work: the folder of models, which it reads and writes.
        threads: of its numeric libraries, from the start.
    """

    def __init__(self, tool: Tool, place: Path, work: Path, threads: int = 1) -> None:
        self.tool = tool
        command = [
            str(interpreter(tool.environment, place)),
            "-m",
            f"benchmarks.peers.peer_{tool.key}",
            "--serve",
            str(work),
        ]
        with (work / f"{tool.key}.log").open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(threads),
            )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            RuntimeError: the peer said that it failed, or died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.tool.title} ended with exit code {self._process.wait()}; see its log.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.tool.title}, {request}: {answer['error']}")
        return answer

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
