"""Export classifiers anew from the frameworks themselves, lift each, check each grid, and write the coverage page.

One environment for each framework, in ``.venv-zoo``; a module for each in ``benchmarks/zoo``, with its pins beside it.
One file lies on the disk at a time. Each result is a line of ``.venv-zoo/results.jsonl``: an interrupted run goes on
where it was, as long as frameworks, runtime and this package are the same; only ``--again`` does such a case anew.

A framework of which every case has a result gets its section of the page anew; the sections of the others stay.

Exit code 1 if any grid is wrong, anything of ours crashes, or a head that ends in a pool and linear, norm or MLP layers
is not lifted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.zoo import page, zoo_report
from benchmarks.zoo.environments import FRAMEWORKS, PLACE, ROOT, environment
from benchmarks.zoo.results import Results, key, made_with
from benchmarks.zoo.worker import Worker, quiet

PAGE = ROOT / "docs" / "coverage-frameworks.md"
#: Seconds for the export of one model, and for lifting and checking it.
TIMEOUT = 150.0
CHECK_TIMEOUT = 600.0


@dataclass(frozen=True)
class Framework:
    """One framework in one state: its cases, and what their results must be made with to count.

    Attributes:
        name: of `FRAMEWORKS`.
        python: the interpreter of its environment.
        cases: each with `framework`, `exporter`, `group`, `model`, `pools` and `head`.
        made_with: of `results.made_with`.
    """

    name: str
    python: Path
    cases: list[dict[str, Any]]
    made_with: dict[str, Any]

    @property
    def script(self) -> str:
        """The module that lists and exports its cases."""
        return f"benchmarks.zoo.export_{self.name}"

    def done(self, results: Results) -> dict[str, dict[str, Any]]:
        """By key, in the order of its cases: the results that count."""
        known = results.read(self.made_with)
        return {key(case): known[key(case)] for case in self.cases if key(case) in known}


def framework_of(name: str) -> Framework:
    """Set its environment up and list its cases."""
    python = environment(name)
    with (PLACE / f"{name}.log").open("a", encoding="utf-8") as errors:
        command = [str(python), "-m", f"benchmarks.zoo.export_{name}", "--list"]
        listed = subprocess.run(
            command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE, stderr=errors, env=quiet()
        )
    cases = [{"framework": name, **json.loads(line)} for line in listed.stdout.splitlines()]
    return Framework(name, python, cases, made_with(name, python))


def run_framework(framework: Framework, results: Results, again: str, only: str, limits: tuple[float, float]) -> None:
    """Export and check every case that has no result yet; the next export runs while the last one is checked."""
    known = framework.done(results)
    cases = [case for case in framework.cases if only in key(case) and _due(known.get(key(case)), again)]
    log = PLACE / f"{framework.name}.log"
    with tempfile.TemporaryDirectory(prefix="gapmil-zoo-") as folder, contextlib.ExitStack() as stack:
        exporter = Worker([str(framework.python), "-m", framework.script, "--serve", folder], log)
        checker = Worker([sys.executable, "-m", "benchmarks.zoo.check", "--serve", folder], PLACE / "check.log")
        stack.callback(exporter.stop)
        stack.callback(checker.stop)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        waiting: Future[None] | None = None
        for number, case in enumerate(cases, 1):
            exported = exporter.ask(case, limits[0])
            if waiting is not None:
                waiting.result()
            row = {**case, "made_with": framework.made_with, "limits": limits}
            waiting = pool.submit(_finish, row, exported, checker, Path(folder), results, f"{number}/{len(cases)}")
        if waiting is not None:
            waiting.result()


def _due(row: dict[str, Any] | None, again: str) -> bool:
    if row is None or again == "all":
        return True
    if again == "exporter":
        return row["got"] == "export failed"
    return again == "shortfalls" and bool(zoo_report.failures([row]))


def _finish(
    row: dict[str, Any], exported: dict[str, Any], checker: Worker, folder: Path, results: Results, count: str
) -> None:
    """Check one export, write its line, delete its files."""
    limit = row["limits"][1]
    case = {name: row[name] for name in row if name not in ("made_with", "limits")}
    row.update(
        export_seconds=exported.get("seconds"),
        input=exported.get("input"),
        cut=exported.get("cut"),
        opset=exported.get("opset"),
    )
    if "error" in exported:
        row.update(got="export failed", why=exported["error"])
    else:
        checked = checker.ask({**case, "file": exported["file"], "seconds": limit}, limit)
        if "error" in checked:
            got = "unreadable" if checked.pop("late", False) else "crashed"
            checked.update(got=got, why=checked.pop("error"))
        checked["check_seconds"] = checked.pop("seconds", None)
        row.update(checked)
        for path in folder.glob(f"{Path(exported['file']).stem}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    row["date"] = datetime.now(UTC).date().isoformat()
    results.add(row)
    told = f"{row['exporter']} {row['model']}: {row['got']} {row.get('code', '')} {row.get('why', '')[:160]}"
    print(f"[{count}] {told}", flush=True)


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
    parser.add_argument(
        "--report",
        action="store_true",
        help="run nothing: write the sections of the results so far, also where cases have none yet, which they say",
    )
    options = parser.parse_args()
    unknown = set(options.frameworks) - set(FRAMEWORKS)
    if unknown:
        parser.error(f"no such framework: {', '.join(sorted(unknown))}; there are {', '.join(FRAMEWORKS)}")
    PLACE.mkdir(exist_ok=True)
    results = Results(PLACE / "results.jsonl")
    broken, rows = [], []
    for name in options.frameworks or FRAMEWORKS:
        try:
            framework = framework_of(name)
            if not options.report:
                limits = (options.timeout, options.check_timeout)
                run_framework(framework, results, options.again, options.only, limits)
        except subprocess.CalledProcessError as error:  # an environment that does not install spoils no other
            broken.append(f"{name}: {' '.join(map(str, error.cmd))} ended with exit code {error.returncode}")
            continue
        rows += report(framework, results, options.report)
    if rows:
        print(zoo_report.text(rows))
    for line in broken:
        print(f"Did not run: {line}")
    return 1 if broken or zoo_report.failures(rows) else 0


def report(framework: Framework, results: Results, part: bool) -> list[dict[str, Any]]:
    """Write a framework's section, of a part of its cases only where that is asked for.

    Returns:
        The results that count.
    """
    rows = list(framework.done(results).values())
    if len(rows) == len(framework.cases) or (part and rows):
        page.write_section(PAGE, framework.name, zoo_report.section(rows, len(framework.cases)))
        print(f"Written: {framework.name} in {PAGE.relative_to(ROOT)}")
    else:
        print(
            f"{framework.name}: {len(rows)} of {len(framework.cases)} cases have a result; its section stays as it is"
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
