"""Run rewritten models in other runtimes than the one that proved them, and compare the grids.

For each file: ``onnx.checker`` with ``full_check``, onnx's own ReferenceEvaluator, and OpenVINO on the CPU. In each
runtime the original runs first, on the same input: where a runtime cannot run the original either, or answers it
otherwise than ONNX Runtime, it says nothing of the rewritten file, which is shown apart and not counted. Else two
things must hold:

1. its grid is ONNX Runtime's, up to `GRID_TOLERANCE` of the largest cell;
2. the mean over the cells of its grid is its own logits, up to `MEAN_TOLERANCE` of the largest logit.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

RUNTIMES = ("checker", "reference", "openvino")
#: Largest |grid - ONNX Runtime's| / max |grid| that other kernels explain, by the bytes of the coarsest element type:
#: the trunk's rounding is in it, which is amplified by the layers after it.
GRID_TOLERANCE = {2: 2e-2, 4: 1e-4, 8: 1e-4}
#: Largest |mean over cells - logits| / max |logits| within one runtime.
MEAN_TOLERANCE = {2: 5e-3, 4: 2e-5, 8: 2e-5}
#: A head or trunk of 8-bit integers may round the other way in another runtime, by a step or two.
QUANTIZED_TOLERANCE = 0.1
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
    from onnx_gapmil.graph.loading import model_tensors
    from onnx_gapmil.graph.tensors import is_external
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.rewriting.attachment.rungs import has_int8_activations
    from onnx_gapmil.rewriting.rewriter import rewrite_model
    from onnx_gapmil.rewriting.saving import save_model

    original = Path(shutil.copy(path, folder))
    try:
        tensors = model_tensors(onnx.load(str(path), load_external_data=False))
        entries = [entry for tensor in tensors if is_external(tensor) for entry in tensor.external_data]
        for location in {entry.value for entry in entries if entry.key == "location"}:
            (folder / location).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.parent / location, folder / location)
        found = rewrite_model(original)
        if found.unchanged:
            return None
        if has_int8_activations(found.source.proto):  # as `rewrite` would, which climbs there by what it measures
            found = rewrite_model(original, attachment="shadow")
        rewritten = save_model(found, folder / f"{path.stem}.gapmil.onnx").output_path
    except GapmilError:
        return None
    assert rewritten is not None
    outputs = [value.name for value in found.source.proto.graph.output]
    heads = [(head.logits, head.grid) for head in found.heads]
    wanted = list(dict.fromkeys([*outputs, *(name for pair in heads for name in pair)]))
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
        return Answer("original fails", why=one_line(error))
    try:
        check(case.rewritten)
    except Exception as error:  # noqa: BLE001 - as above
        return Answer("fails", why=one_line(error))
    return Answer("equal")


def answer_of(case: Case, run: Runner) -> Answer:
    """Whether a runtime gives ONNX Runtime's grid, where it runs the original."""
    try:
        before = run(case.original, case.feeds, case.outputs)
    except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
        return Answer("original fails", why=one_line(error))
    names = [name for pair in case.heads for name in pair]
    try:
        after = run(case.rewritten, case.feeds, [*case.outputs, *names])
    except Exception as error:  # noqa: BLE001 - as above
        return Answer("fails", why=one_line(error))
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
            why = f"{one_line(error)} {one_line(error.__cause__ or error)}"
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


def one_line(error: BaseException) -> str:
    """An error on one line, at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
