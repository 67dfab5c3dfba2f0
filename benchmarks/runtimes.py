"""Run rewritten models in other runtimes than the one that proved them, and compare the grids.

For each file: ``onnx.checker`` with ``full_check``, onnx's own ReferenceEvaluator, and OpenVINO on the CPU. In each
runtime the original runs first, on the same input: where a runtime cannot run the original either, or answers it
otherwise than ONNX Runtime, it says nothing of the rewritten file, which is shown apart and not counted. Else two
things must hold:

1. its grid is ONNX Runtime's, up to `GRID_TOLERANCE` of the largest cell;
2. the mean over the cells of its grid is its own logits, up to `MEAN_TOLERANCE` of the largest logit.

``runtimes_web.mjs`` does the same for ONNX Runtime Web (WebAssembly) with the cases that ``--export`` writes.

Exit code 1 if any of it fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT.parent / "shared" / "zoo"
COMMAND = "python benchmarks/runtimes.py --markdown docs/benchmarks/runtimes.md"
RUNTIMES = ("checker", "reference", "openvino")
TITLES = {
    "onnxruntime": "ONNX Runtime, optimized",
    "checker": "onnx.checker, full_check",
    "reference": "onnx ReferenceEvaluator",
    "openvino": "OpenVINO, CPU",
    "web": "ONNX Runtime Web, wasm",
}
#: Largest |grid - ONNX Runtime's| / max |grid| that other kernels explain, by the bytes of the coarsest element type:
#: the trunk's rounding is in it, which is amplified by the layers after it.
GRID_TOLERANCE = {2: 2e-2, 4: 1e-4, 8: 1e-4}
#: Largest |mean over cells - logits| / max |logits| within one runtime.
MEAN_TOLERANCE = {2: 5e-3, 4: 2e-5, 8: 2e-5}
#: A head or trunk of 8-bit integers may round the other way in another runtime, by a step or two.
QUANTIZED_TOLERANCE = 0.1
#: Faults of runtimes that show without any node of ours, with the reason; shown, and no failure of the whole.
KNOWN = {
    ("post/torch__gap_layernorm_linear.legacy-op11-dynb.qdq-u8s8.onnx", "openvino"): (
        "OpenVINO 2026.4 divides by zero while compiling as soon as anything makes (N, 32, 1, 1) of the vendor's "
        "quantized layer norm '/3/Add_1_output_0', as a lone Unsqueeze appended to the vendor's file shows"
    ),
}
_INTEGER_OPS = ("Linear", "Integer", "QGemm", "QAttention")

Runner = Callable[[Path, dict[str, np.ndarray], list[str]], list[np.ndarray]]


@dataclass
class Answer:
    """What one runtime made of one file.

    Attributes:
        state: ``equal``, ``differs``, ``fails``; ``original fails`` or ``original differs`` where the runtime does
            not give ONNX Runtime's answer to the vendor's own file, which says nothing of the grid.
        grid: largest |grid - ONNX Runtime's| / max |grid| over the heads.
        mean: largest |mean over cells - logits| / max |logits|, within this runtime.
        original: the same as ``grid`` for the vendor's own outputs, for comparison.
        why: what the runtime says.
    """

    state: str
    grid: float | None = None
    mean: float | None = None
    original: float | None = None
    why: str = ""


@dataclass
class Row:
    """One file: its kind, and each runtime's answer; ``refused`` if it has no grid."""

    file: str
    verdict: str
    kind: str = "float32"
    opset: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A rewritten file, what to feed it, and what ONNX Runtime answers.

    Attributes:
        original: the vendor's file, or a copy.
        rewritten: the file with the grid.
        feeds: by input.
        outputs: the vendor's own outputs.
        heads: (logits, grid) by head.
        expected: ONNX Runtime's arrays, by output name.
        kind: ``float16``, ``float32``, ``float64`` or ``quantized``.
        verdict: ``exact`` or ``conditional``.
        opset: of the default domain.
    """

    original: Path
    rewritten: Path
    feeds: dict[str, np.ndarray]
    outputs: list[str]
    heads: list[tuple[str, str]]
    expected: dict[str, np.ndarray]
    kind: str
    verdict: str
    opset: int

    @property
    def tolerances(self) -> tuple[float, float]:
        """For grids, and for means over cells."""
        if self.kind == "quantized":
            return QUANTIZED_TOLERANCE, QUANTIZED_TOLERANCE
        size = int(np.dtype(self.kind).itemsize)
        return GRID_TOLERANCE[size], MEAN_TOLERANCE[size]


def make_case(path: Path, folder: Path) -> Case | None:
    """Rewrite a file into a folder and run it on ONNX Runtime; None if its head is refused or it cannot be read.

    Args:
        path: the vendor's file.
        folder: an empty one.
    """
    from onnx_gapmil.errors import GapmilError
    from onnx_gapmil.graph.inputs import candidate_inputs, random_input
    from onnx_gapmil.graph.loading import external_locations
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.rewriting.rewriter import rewrite_model, save_model

    original = Path(shutil.copy(path, folder))
    try:
        for location in external_locations(onnx.load(str(path), load_external_data=False)):
            (folder / location).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.parent / location, folder / location)
        found = rewrite_model(original)
        if found.unchanged:
            return None
        rewritten = save_model(found, folder / f"{path.stem}.gapmil.onnx").output_path
    except GapmilError:
        return None
    assert rewritten is not None
    outputs = [value.name for value in found.source.proto.graph.output]
    heads = [(head.logits, head.grid) for head in found.heads]
    wanted = [*outputs, *(name for pair in heads for name in pair)]
    graph = ModelGraph(found.source.proto, folder)
    problem: Exception | None = None
    for shapes in candidate_inputs(graph):
        feeds = {entry.name: random_input(entry, seed=1) for entry in shapes}
        try:
            results = run_onnxruntime(rewritten, feeds, wanted)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
            problem = error
            continue
        opset = max((entry.version for entry in found.model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
        expected = dict(zip(wanted, results, strict=True))
        return Case(original, rewritten, feeds, outputs, heads, expected, _kind(found.model), found.verdict, int(opset))
    raise RuntimeError(f"{path.name} runs at no size that was tried") from problem


def _kind(model: onnx.ModelProto) -> str:
    """The coarsest numbers that the model computes with."""
    if any(mark in node.op_type for node in model.graph.node for mark in _INTEGER_OPS):
        return "quantized"
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    kinds |= {
        attribute.t.data_type for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")
    }
    if kinds & {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}:
        return "float16"
    return "float32" if onnx.TensorProto.FLOAT in kinds else "float64"


# --- the runtimes ---------------------------------------------------------------------------------------------------


def run_onnxruntime(path: Path, feeds: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    """ONNX Runtime on the CPU, as deployed: optimized."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model: str | bytes = str(path)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "external" not in str(error):
            raise
        # ONNX Runtime wants small external tensors (reshape targets) inside the file, of the original too.
        model = onnx.load(str(path)).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(names, feeds)
    return results


def run_reference(path: Path, feeds: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    """onnx's ReferenceEvaluator: the specification, in NumPy."""
    from onnx.reference import ReferenceEvaluator

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        results: list[np.ndarray] = ReferenceEvaluator(str(path)).run(names, feeds)
    return results


def run_openvino(path: Path, feeds: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    """OpenVINO on the CPU, in the precision that the file asks for."""
    import openvino

    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"})
    compiled = core.compile_model(core.read_model(str(path)), "CPU")
    answers = compiled({name: np.ascontiguousarray(array) for name, array in feeds.items()})
    by_name = {name: np.array(array) for port, array in answers.items() for name in port.get_names()}
    return [by_name[name] for name in names]


RUNNERS: dict[str, Runner] = {"reference": run_reference, "openvino": run_openvino}


def installed(package: str) -> str | None:
    """A package's version; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check(path: Path) -> None:
    """The file by onnx's checker, shapes and types included."""
    onnx.checker.check_model(str(path), full_check=True)


def answer_of_checker(case: Case) -> Answer:
    """Whether the checker takes the rewritten file, where it takes the original."""
    try:
        check(case.original)
    except Exception as error:  # noqa: BLE001 - the checker's errors share no base
        return Answer("original fails", why=_line(error))
    try:
        check(case.rewritten)
    except Exception as error:  # noqa: BLE001 - as above
        return Answer("fails", why=_line(error))
    return Answer("equal")


def answer_of(case: Case, run: Runner) -> Answer:
    """Whether a runtime gives ONNX Runtime's grid, where it runs the original."""
    try:
        before = run(case.original, case.feeds, case.outputs)
    except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
        return Answer("original fails", why=_line(error))
    names = [name for pair in case.heads for name in pair]
    try:
        after = run(case.rewritten, case.feeds, [*case.outputs, *names])
    except Exception as error:  # noqa: BLE001 - as above
        return Answer("fails", why=_line(error))
    return judge(case, before, dict(zip([*case.outputs, *names], after, strict=True)))


def judge(case: Case, before: list[Any], found: dict[str, np.ndarray]) -> Answer:
    """Compare a runtime's arrays with ONNX Runtime's.

    Args:
        case: what was run.
        before: the original's outputs, in that runtime.
        found: the rewritten file's outputs, in that runtime.
    """
    own = max((difference(array, case.expected[name]) for name, array in zip(case.outputs, before, strict=True)))
    # A softmax may hide what the trunk's other kernels do; the logits are the vendor's own tensor too.
    own = max(own, *(difference(found[logits], case.expected[logits]) for logits, _ in case.heads))
    moved = max((difference(found[name], array) for name, array in zip(case.outputs, before, strict=True)))
    grid = max(difference(found[name], case.expected[name]) for _, name in case.heads)
    mean = max(
        difference(found[grid].mean(axis=(2, 3), dtype=np.float64), found[logits]) for logits, grid in case.heads
    )
    for_grid, for_mean = case.tolerances
    if moved == 0.0 and own > for_grid:
        return Answer("original differs", grid, mean, own, f"its answer to the original differs by {own:.2g}")
    allowed = max(for_grid, 10 * own)
    why = ""
    if not moved <= max(for_mean, 1e-6):
        why = f"the original outputs move by {moved:.2g}"
    elif not grid <= allowed:
        why = f"the grid differs by {grid:.2g}; the original outputs by {own:.2g}"
    elif not mean <= for_mean:
        why = f"the mean over cells differs from the logits by {mean:.2g}"
    return Answer("differs" if why else "equal", grid, mean, own, why)


def difference(found: Any, expected: Any) -> float:
    """Largest |difference| / max |expected|; infinity where shapes or kinds differ."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind not in "fiub":
        return 0.0
    found, expected = np.asarray(found, dtype=np.float64), expected.astype(np.float64)
    if found.shape != expected.shape or not np.array_equal(np.isnan(found), np.isnan(expected)):
        return float("inf")
    top = float(np.nanmax(np.abs(expected), initial=0.0))
    gap = float(np.nanmax(np.abs(found - expected), initial=0.0))
    return gap / top if top > 0 else gap


def check_file(path: Path, name: str, runtimes: tuple[str, ...] = RUNTIMES) -> Row:
    """Rewrite one file and ask every runtime."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            case = make_case(path, Path(folder))
        except RuntimeError as error:
            why = f"{_line(error)} {_line(error.__cause__ or error)}"
            return Row(name, "not run", answers={"onnxruntime": Answer("fails", why=why)})
        if case is None:
            return Row(name, "refused")
        row = Row(name, case.verdict, case.kind, case.opset)
        for runtime in runtimes:
            if runtime == "checker":
                row.answers[runtime] = answer_of_checker(case)
            elif runtime != "openvino" or installed("openvino"):
                row.answers[runtime] = answer_of(case, RUNNERS[runtime])
        return row


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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


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
                else [
                    f"- `{row.file}` in {TITLES[name]}: {KNOWN.get((row.file, name), answer.why)}"
                    for row, name, answer in found
                ]
            )
    return "\n".join(lines) + "\n"


def _reasons(found: list[tuple[Row, str, Answer]]) -> list[str]:
    """What runtimes have against originals, each reason once with its number of files."""
    counts = Counter((name, answer.why[:160]) for _, name, answer in found)
    return [f"- {count} in {TITLES[name]}: {why}" for (name, why), count in counts.most_common()]


def _versions() -> str:
    packages = ("onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "numpy")
    return ", ".join(f"{name} {found}" for name in packages if (found := installed(name)))


def spread(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One file of the zoo for each pair of exporter and class: every spelling, and few files of each."""
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        chosen.setdefault((entry["exporter"], entry["klass"]), entry)
    return list(chosen.values())


def read_catalogue(zoo: Path) -> list[dict[str, Any]]:
    """The zoo's catalogue; nothing where there is no zoo."""
    file = zoo / "catalog.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


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
    bad = any(
        answer.state in ("differs", "fails") and (row.file, name) not in KNOWN
        for row in rows
        for name, answer in row.answers.items()
    )
    return int(bad or any(row["state"] != "equal" for row in web))


if __name__ == "__main__":
    sys.exit(main())
