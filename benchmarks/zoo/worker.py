"""A process that answers JSON lines (`protocol`), with a clock: a framework that hangs or dies spoils one case."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Cases after which a process is started anew: frameworks keep what they allocate.
LIFETIME = 20


class Worker:
    """A process that answers JSON lines; killed and started again when it is too slow.

    Args:
        command: what to start, in the repository's root.
        log: where its standard error goes.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self.command, self.log = command, log
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.asked = 0

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The answer, or ``{"error": ...}`` where none came, with ``late`` where only the clock says so."""
        if self.process is None or self.asked >= LIFETIME:
            self.stop()
            self._start()
        self.asked += 1
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=timeout)
        except (queue.Empty, BrokenPipeError):
            self.stop()
            return {"error": f"no answer within {timeout:.0f} s", "seconds": timeout, "late": True}
        if line is None:
            code = self.process.wait()
            self.stop()
            return {"error": f"the process died with exit code {code}"}
        return dict(json.loads(line))

    def _start(self) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=quiet(),
            )
        self.lines, self.asked = queue.Queue(), 0
        threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


def quiet() -> dict[str, str]:
    """The environment of every process: one thread each, no GPU, and quiet frameworks."""
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "tensorflow",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
    }
    return {**os.environ, **settings, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
