"""Export classifiers anew from the frameworks themselves, lift each, check each grid, and print the coverage table.

One environment for each framework, in ``.venv-zoo``; a module for each in ``benchmarks/zoo``, with its pins beside it.
One file lies on the disk at a time. Each result is a line of ``.venv-zoo/results.jsonl``: an interrupted run goes on
where it was, and only ``--again`` does a case anew. The page is made from that file.

Exit code 1 if any grid is wrong, anything of ours crashes, or a head that ends in a pool and linear, norm or MLP layers
is not lifted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

from benchmarks.zoo import zoo_report

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "benchmarks" / "zoo"
PLACE = ROOT / ".venv-zoo"
PAGE = ROOT / "docs" / "coverage-frameworks.md"
#: By framework: the environment that its script runs in.
FRAMEWORKS = {
    "timm": "torch",
    "torchvision": "torch",
    "transformers": "torch",
    "keras": "keras",
    "paddle": "paddle",
    "jax": "jax",
    "mxnet": "mxnet",
}
#: Seconds for the export of one model, and for lifting and checking it.
TIMEOUT = 150.0
CHECK_TIMEOUT = 600.0
#: Cases after which an exporter is started anew: frameworks keep what they allocate.
LIFETIME = 20


class Worker:
    """A process that answers JSON lines; killed and started again when it is too slow.

    Args:
        command: what to start.
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
                env=_environment(),
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


def _environment() -> dict[str, str]:
    """One thread each, no GPU, and quiet frameworks."""
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "tensorflow",
    }
    return {**os.environ, **quiet, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def environment(framework: str) -> Path:
    """The interpreter of a framework's environment, which is made if it is not there."""
    name = FRAMEWORKS[framework]
    folder = PLACE / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = [SCRIPTS / f"requirements-{name}.txt", SCRIPTS / f"requirements-{name}-nodeps.txt"]
    wanted = "\n".join(path.read_text("utf-8") for path in pins if path.is_file())
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return python
    print(f"Setting up {folder.relative_to(ROOT)} ...", flush=True)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for path, options in zip(pins, ([], ["--no-deps", "--no-build-isolation"]), strict=True):
        if path.is_file():
            command = [str(python), "-m", "pip", "install", "--quiet", *options, "--requirement", str(path)]
            subprocess.run(command, check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


@dataclass(frozen=True)
class Results:
    """The cache: a JSON line for each case, the last one counts."""

    path: Path

    def read(self) -> dict[str, dict[str, Any]]:
        """By key."""
        if not self.path.is_file():
            return {}
        lines = self.path.read_text("utf-8").splitlines()
        return {key(row): row for row in (json.loads(line) for line in lines if line.endswith("}"))}

    def add(self, row: dict[str, Any]) -> None:
        """Append one."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def key(row: dict[str, Any]) -> str:
    """What a case is known by."""
    return f"{row['framework']}/{row['exporter']}/{row['group']}/{row['model']}"


def run_framework(framework: str, results: Results, again: str, only: str, limit: float, check_limit: float) -> None:
    """Export and check every case that has no result yet; the next export runs while the last one is checked."""
    python = environment(framework)
    script = f"benchmarks.zoo.export_{framework}"
    log = PLACE / f"{framework}.log"
    with log.open("a", encoding="utf-8") as errors:
        command = [str(python), "-m", script, "--list"]
        listed = subprocess.run(
            command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE, stderr=errors, env=_environment()
        )
    known = results.read()
    cases = [{"framework": framework, **json.loads(line)} for line in listed.stdout.splitlines()]
    cases = [case for case in cases if only in key(case) and _due(known.get(key(case)), again)]
    with tempfile.TemporaryDirectory(prefix="gapmil-zoo-") as folder, contextlib.ExitStack() as stack:
        exporter = Worker([str(python), "-m", script, "--serve", folder], log)
        checker = Worker([sys.executable, "-m", "benchmarks.zoo.check", "--serve", folder], PLACE / "check.log")
        stack.callback(exporter.stop)
        stack.callback(checker.stop)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        waiting: Future[None] | None = None
        for number, case in enumerate(cases, 1):
            exported = exporter.ask(case, limit)
            if waiting is not None:
                waiting.result()
            waiting = pool.submit(
                _finish, case, exported, checker, check_limit, Path(folder), results, f"{number}/{len(cases)}"
            )
        if waiting is not None:
            waiting.result()


def _due(row: dict[str, Any] | None, again: str) -> bool:
    if row is None or again == "all":
        return True
    if again == "exporter":
        return row["got"] == "export failed"
    return again == "shortfalls" and bool(zoo_report.failures([row]))


def _finish(
    case: dict[str, Any],
    exported: dict[str, Any],
    checker: Worker,
    check_limit: float,
    folder: Path,
    results: Results,
    count: str,
) -> None:
    """Check one export, write its line, delete its files."""
    row = {
        **case,
        "export_seconds": exported.get("seconds"),
        "input": exported.get("input"),
        "cut": exported.get("cut"),
        "opset": exported.get("opset"),
    }
    if "error" in exported:
        row.update(got="export failed", why=exported["error"])
    else:
        checked = checker.ask({**case, "file": exported["file"], "seconds": check_limit}, check_limit)
        if "error" in checked:
            got = "unreadable" if checked.pop("late", False) else "crashed"
            checked.update(got=got, why=checked.pop("error"))
        checked["check_seconds"] = checked.pop("seconds", None)
        row.update(checked)
        for path in folder.glob(f"{Path(exported['file']).stem}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    row["date"] = datetime.now(UTC).date().isoformat()
    results.add(row)
    print(
        f"[{count}] {case['exporter']} {case['model']}: {row['got']} {row.get('code', '')} {row.get('why', '')[:160]}",
        flush=True,
    )


def frozen_versions(frameworks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """By environment: what its requirements name, as installed."""
    for name in dict.fromkeys(FRAMEWORKS[framework] for framework in frameworks):
        pins = [SCRIPTS / f"requirements-{name}{kind}.txt" for kind in ("", "-nodeps")]
        lines = [line.strip() for path in pins if path.is_file() for line in path.read_text("utf-8").splitlines()]
        yield name, ", ".join(line.replace("==", " ") for line in lines if "==" in line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help=f"of {', '.join(FRAMEWORKS)}; default: all")
    parser.add_argument("--again", choices=("all", "shortfalls", "exporter"), default="", help="do these anew")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only cases with TEXT in framework/exporter/group/model"
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT, help=f"seconds for one export (default {TIMEOUT:.0f})"
    )
    parser.add_argument(
        "--check-timeout",
        type=float,
        default=CHECK_TIMEOUT,
        help=f"seconds for lifting and checking one model (default {CHECK_TIMEOUT:.0f})",
    )
    parser.add_argument("--report", action="store_true", help="only write the page from the results so far")
    options = parser.parse_args()
    unknown = set(options.frameworks) - set(FRAMEWORKS)
    if unknown:
        parser.error(f"no such framework: {', '.join(sorted(unknown))}; there are {', '.join(FRAMEWORKS)}")
    PLACE.mkdir(exist_ok=True)
    results = Results(PLACE / "results.jsonl")
    broken = []
    if not options.report:
        for framework in options.frameworks or FRAMEWORKS:
            try:
                run_framework(framework, results, options.again, options.only, options.timeout, options.check_timeout)
            except subprocess.CalledProcessError as error:  # an environment that does not install spoils no other
                broken.append(f"{framework}: {' '.join(map(str, error.cmd))} ended with exit code {error.returncode}")
    rows = list(results.read().values())
    print(zoo_report.text(rows))
    for line in broken:
        print(f"Did not run: {line}")
    PAGE.write_text(zoo_report.markdown(rows, dict(frozen_versions(FRAMEWORKS))), encoding="utf-8")
    print(f"Written: {PAGE.relative_to(ROOT)}")
    return 1 if broken or zoo_report.failures(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
