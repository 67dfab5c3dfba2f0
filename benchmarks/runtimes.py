"""Run rewritten models in other runtimes than the one that proved them, and compare the grids.

Every file is asked as ``tests/references/runtimes.py`` says: by ``onnx.checker`` with ``full_check``, onnx's own
ReferenceEvaluator, and OpenVINO on the CPU.

``runtimes_web.mjs`` does the same for ONNX Runtime Web (WebAssembly) with the cases that ``--export`` writes.

Exit code 1 if any of it fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import ROOT
from tests.references.runtimes import (
    GRID_TOLERANCE,
    MEAN_TOLERANCE,
    QUANTIZED_TOLERANCE,
    RUNTIMES,
    Answer,
    Row,
    check_file,
    installed,
    make_case,
)
from tests.references.zoo import ZOO, read_catalogue, spread

COMMAND = "python -m benchmarks.runtimes --markdown docs/benchmarks/runtimes.md"
TITLES = {
    "onnxruntime": "ONNX Runtime, optimized",
    "checker": "onnx.checker, full_check",
    "reference": "onnx ReferenceEvaluator",
    "openvino": "OpenVINO, CPU",
    "web": "ONNX Runtime Web, wasm",
}


def check_all(jobs: list[tuple[Path, str]], workers: int) -> list[Row]:
    """Every file, in processes of their own; where a runtime takes its process down, the file is told by itself."""
    found: dict[str, Row] = {}
    while waiting := [job for job in jobs if job[1] not in found]:
        crashed = False
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            started = {name: pool.submit(check_file, path, name) for path, name in waiting}
            for name, future in started.items():
                try:
                    found[name] = future.result()
                except BrokenProcessPool:
                    crashed = True
                    break
        if crashed:
            found |= {name: future.result() for name, future in started.items() if _is_answered(future)}
            suspects = [job for job in waiting if job[1] not in found][: 2 * workers]
            found |= {name: _check_alone(path, name) for path, name in suspects}
    return [found[name] for _, name in jobs]


def _is_answered(future: Future[Row]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _check_alone(path: Path, name: str) -> Row:
    """Each runtime in a fresh process."""
    whole = Row(name, "refused")
    for runtime in RUNTIMES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                row = pool.submit(check_file, path, name, (runtime,)).result()
            except BrokenProcessPool:
                whole.answers[runtime] = Answer("fails", why="the process died")
                continue
        whole = Row(name, row.verdict, row.kind, row.opset, {**whole.answers, **row.answers})
    return whole


# --- cases for ONNX Runtime Web -------------------------------------------------------------------------------------


def export_cases(paths: list[Path], folder: Path) -> None:
    """Write each case as files that JavaScript reads: both models, and the arrays as raw bytes with a ``case.json``."""
    for path in paths:
        place = folder / path.stem
        place.mkdir(parents=True, exist_ok=True)
        case = make_case(path, place)
        if case is None:
            continue
        arrays = {**{f"in/{name}": array for name, array in case.feeds.items()}}
        arrays |= {f"out/{name}": array for name, array in case.expected.items()}
        entries = []
        for count, (name, array) in enumerate(arrays.items()):
            (place / f"{count}.bin").write_bytes(np.ascontiguousarray(array).tobytes())
            entries.append({"name": name, "file": f"{count}.bin", "type": str(array.dtype), "dims": list(array.shape)})
        about = {
            "name": path.name,
            "original": case.original.name,
            "rewritten": case.rewritten.name,
            "outputs": case.outputs,
            "heads": case.heads,
            "arrays": entries,
            "tolerances": case.tolerances,
        }
        (place / "case.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


# --- the report -----------------------------------------------------------------------------------------------------


def table(rows: list[Row], groups: Callable[[Row], str], runtimes: list[str]) -> list[str]:
    """Markdown: for each group and runtime, how many of the files that the runtime takes have the right grid."""
    lines = [
        "| | files | " + " | ".join(f"{TITLES[name]} | worst grid | worst mean" for name in runtimes) + " |",
        "|---|---|" + "---|---|---|" * len(runtimes),
    ]
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[groups(row)].append(row)
    for group, members in sorted(grouped.items()):
        cells = []
        for name in runtimes:
            answers = [row.answers[name] for row in members if name in row.answers]
            counted = [answer for answer in answers if not answer.state.startswith("original")]
            right = sum(answer.state == "equal" for answer in counted)
            skipped = f" (+{len(answers) - len(counted)})" if len(counted) < len(answers) else ""
            cells += [f"{right} of {len(counted)}{skipped}", _worst(counted, "grid"), _worst(counted, "mean")]
        lines.append(f"| {group} | {len(members)} | " + " | ".join(cells) + " |")
    return lines


def _worst(answers: list[Answer], what: str) -> str:
    values = [value for answer in answers if (value := getattr(answer, what)) is not None]
    return f"{max(values):.1e}" if values else ""


def report(rows: list[Row], refused: int, web: list[dict[str, Any]]) -> str:
    """The whole page."""
    runtimes = [name for name in RUNTIMES if any(name in row.answers for row in rows)]
    samples = [row for row in rows if row.file.startswith("sample_models/")]
    zoo = [row for row in rows if row not in samples]
    lines = [
        "# Rewritten files in other runtimes",
        "",
        f"Made by `{COMMAND}`; {_versions()}.",
        "",
        "A rewritten file holds standard operators only, so every runtime that takes the vendor's file should take it. "
        "Each file is rewritten, written to disk, and run on the same random input in each runtime. `6 of 6`: of the "
        "files whose *original* the runtime runs, those whose rewritten form it runs with ONNX Runtime's grid "
        f"(float32 within {GRID_TOLERANCE[4]:.0e} of the largest cell, fp16 {GRID_TOLERANCE[2]:.0e}, 8-bit integers "
        f"{QUANTIZED_TOLERANCE}) and with mean over cells = its own logits ({MEAN_TOLERANCE[4]:.0e}, "
        f"{MEAN_TOLERANCE[2]:.0e}, {QUANTIZED_TOLERANCE} of the largest logit). `(+2)`: two more whose original it "
        "does not take either, or answers otherwise.",
        "",
        "## Sample models",
        "",
        *table(samples, lambda row: row.file.removeprefix("sample_models/"), runtimes),
    ]
    if web:
        lines += ["", f"### {TITLES['web']} (`benchmarks/runtimes_web.mjs`, {web[0].get('version', '?')})", ""]
        lines += ["| model | state | grid | mean |", "|---|---|---|---|"]
        lines += [
            f"| {row['name']} | {row['state']} {row['why'][:160]} | {row['grid']:.1e} | {row['mean']:.1e} |"
            for row in web
        ]
    if zoo:
        lines += ["", f"## Model zoo ({len(zoo)} files that are lifted; {refused} have no grid)", ""]
        lines += table(zoo, lambda row: f"{row.kind}, {row.verdict}", runtimes)
        lines += ["", "By operator set:", "", *table(zoo, lambda row: f"opset {row.opset:02d}", runtimes)]
    titles = {
        "differs": "Differences",
        "fails": "Failures",
        "original differs": "Not counted: the runtime's answer to the original is another",
        "original fails": "Not counted: the runtime does not take the original",
    }
    for state, title in titles.items():
        found = [(row, name, answer) for row in rows for name, answer in row.answers.items() if answer.state == state]
        if found:
            lines += ["", f"## {title}", ""]
            lines += (
                _reasons(found)
                if state == "original fails"
                else [f"- `{row.file}` in {TITLES[name]}: {answer.why}" for row, name, answer in found]
            )
    return "\n".join(lines) + "\n"


def _reasons(found: list[tuple[Row, str, Answer]]) -> list[str]:
    """What runtimes have against originals, each reason once with its number of files."""
    counts = Counter((name, answer.why[:160]) for _, name, answer in found)
    return [f"- {count} in {TITLES[name]}: {why}" for (name, why), count in counts.most_common()]


def _versions() -> str:
    packages = ("onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "numpy")
    return ", ".join(f"{name} {found}" for name in packages if (found := installed(name)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: the sample models and the zoo")
    parser.add_argument("--zoo", type=Path, default=ZOO)
    parser.add_argument("--spread", action="store_true", help="only one file of the zoo for each exporter and class")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--web", type=Path, help="what runtimes_web.mjs printed, to be put into the report")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="only write the cases for runtimes_web.mjs")
    options = parser.parse_args()
    samples = sorted((ROOT / "sample_models").glob("*.onnx"))
    if options.export is not None:
        export_cases(options.files or samples, options.export)
        return 0
    jobs = [(path, path.name) for path in options.files] or [(path, f"sample_models/{path.name}") for path in samples]
    if not options.files:
        entries = read_catalogue(options.zoo)
        entries = spread(entries) if options.spread else entries
        jobs += [(options.zoo / entry["file"], entry["file"]) for entry in entries]
    rows = check_all(jobs, options.jobs)
    refused = sum(row.verdict == "refused" for row in rows)
    rows = [row for row in rows if row.verdict != "refused"]
    web = json.loads(options.web.read_text("utf-8")) if options.web else []
    text = report(rows, refused, web)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    bad = any(answer.state in ("differs", "fails") for row in rows for name, answer in row.answers.items())
    return int(bad or any(row["state"] != "equal" for row in web))


if __name__ == "__main__":
    sys.exit(main())
