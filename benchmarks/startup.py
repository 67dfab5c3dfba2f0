"""How soon the command line answers: ``--help``, ``--version``, each verb's help, imports, ``inspect`` of a model.

Each figure is of fresh processes, the interpreter's own start included, which stands in the first line. A first run of
each is thrown away: it may have to write byte code.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import pages

COMMAND = "python -m benchmarks.startup --markdown docs/benchmarks/startup.md"
MODEL = "sample_models/digits_torch_legacy.onnx"
#: Target of the design.
HELP_SECONDS = 0.3
HEADS = ("what", "median", "p10 to p90", "asked for")


def commands() -> list[tuple[str, list[str]]]:
    """What is started, by its name for people."""
    from onnx_gapmil.cli import VERBS

    python = [sys.executable, "-c"]
    tool = _tool()
    return [
        ("`python -c pass`", [*python, "pass"]),
        ("`import onnx_gapmil`", [*python, "import onnx_gapmil"]),
        ("`from onnx_gapmil import GridSession`", [*python, "from onnx_gapmil import GridSession"]),
        ("`onnx-gapmil --help`", [*tool, "--help"]),
        ("`onnx-gapmil --version`", [*tool, "--version"]),
        *((f"`onnx-gapmil {verb} --help`", [*tool, verb, "--help"]) for verb in VERBS),
        (f"`onnx-gapmil inspect` ({_size(MODEL)})", [*tool, "inspect", MODEL]),
    ]


def _tool() -> list[str]:
    script = Path(sys.executable).with_name("onnx-gapmil")
    return [str(script)] if script.exists() else [sys.executable, "-m", "onnx_gapmil"]


def _size(model: str) -> str:
    return f"a model of {(pages.ROOT / model).stat().st_size / 1e3:.0f} kB"


def measure(table: list[tuple[str, list[str]]], times: int) -> dict[str, list[float]]:
    """Seconds of every run, the commands in turn, by name."""
    seconds: dict[str, list[float]] = {name: [] for name, _ in table}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(pages.ROOT), os.environ.get("PYTHONPATH", "")])}
    for round_ in range(times + 1):
        for name, command in table:
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment, cwd=pages.ROOT)
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def rows(measured: dict[str, list[float]]) -> list[tuple[str, ...]]:
    """Lines of the table."""
    from onnx_gapmil.benchmarking.timing import Spread

    found = []
    for name, taken in measured.items():
        spread = Spread.of(taken)
        wanted = f"under {HELP_SECONDS:g} s" if name == "`onnx-gapmil --help`" else ""
        found.append((name, f"{spread.median:.3f} s", f"{spread.p10:.3f} to {spread.p90:.3f} s", wanted))
    return found


def markdown(found: list[tuple[str, ...]], times: int) -> list[str]:
    """The page."""
    return [
        "# Start-up",
        "",
        *pages.made_by(COMMAND),
        "",
        f"{times} fresh processes each, in turn, the interpreter's own start included. `--help` and the verbs' help",
        "import nothing but click: a verb's code is imported when it is called.",
        "",
        *pages.table(HEADS, found),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15, help="fresh processes for each figure (default 15)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    options = parser.parse_args()
    measured = measure(commands(), options.times)
    found = rows(measured)
    for line in found:
        print("{:42}{:>10}  {:18}  {}".format(*line))
    pages.write(options.markdown, markdown(found, options.times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
