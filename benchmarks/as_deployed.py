"""Whether rewritten files answer as the vendor's do under ONNX Runtime's optimization, and what a shadow costs.

Every file of the zoo and of the real models is rewritten as ``onnx-gapmil rewrite`` does. Then, with sessions of this
script's own, original and rewritten model run on the same inputs (N(0, 1), 1.5 and 3 times that, and 0 to 255) at the
default level and at ``extended``; an output counts as equal if all of its bytes are. Where the int8 part of a trunk was
repeated, size and latency are measured beside a rewrite without it.

Exit code 1 if an output moves, or a rewritten file does not load where its original does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from benchmarks import pages
from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.inputs import candidate_inputs, random_input
from onnx_gapmil.graph.loading import LoadedModel, load_model
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.references.vendor import saturates
from tests.references.zoo import ZOO

COMMAND = "python -m benchmarks.as_deployed --markdown docs/benchmarks/as_deployed.md"
LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
MODES = ("session.x64quantprecision", "session.qdqisint8allowed")
SCALES = (1.0, 1.5, 3.0, 255.0)
#: Runs whose median is a latency, the two models taking turns.
_TURNS = 60


@dataclass
class Row:
    """What became of one file.

    Attributes:
        file: its name.
        kind: ``float32``, ``fp16``, ``Q/DQ uint8``, ``Q/DQ int8`` or ``other quantized``.
        state: ``equal``, ``moves``, ``refused``, ``unreadable``, or why it was not run.
        attachment: ``plain``, ``named`` or ``shadow``.
        moved: by level, the largest difference of an output relative to its largest value.
        kernels: the original at the default level against itself without optimization.
        modes: session modes in which the original loads and the rewritten file does not.
        growth: of the file, as a share.
        shadow: of a shadow: growth and latency relative to a rewrite without it.
    """

    file: str
    kind: str = ""
    state: str = ""
    attachment: str = ""
    moved: dict[str, float] = field(default_factory=dict)
    kernels: float | None = None
    modes: list[str] = field(default_factory=list)
    growth: float = 0.0
    shadow: dict[str, float] = field(default_factory=dict)


def session(loaded: LoadedModel, level: str, mode: str = "", threads: int = 2) -> Any:
    """A plain session on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.graph_optimization_level = LEVELS[level]
    if mode:
        options.add_session_config_entry(mode, "1")
    data, folder = loaded.session_source()
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def inputs(loaded: LoadedModel, run: Any, seeds: int) -> list[dict[str, np.ndarray]]:
    """Random images of all scales, of the first shape that the original takes."""
    for entries in candidate_inputs(ModelGraph(loaded.proto, loaded.folder)):
        found = []
        for seed in range(seeds):
            plain = {entry.name: random_input(entry, 11 * seed + 1) for entry in entries}
            found += [{name: _scaled(array, scale) for name, array in plain.items()} for scale in SCALES]
        try:
            run.run(None, found[0])
        except Exception:  # noqa: BLE001, S112 - a shape that the model does not take
            continue
        return found
    return []


def _scaled(array: np.ndarray, scale: float) -> np.ndarray:
    if array.dtype.kind != "f" or array.ndim == 0:
        return array
    if scale == 255:
        return np.clip(array.astype(np.float32) * 128 + 128, 0, 255).astype(array.dtype)
    return (array * array.dtype.type(scale)).astype(array.dtype)


def gap(one: Any, two: Any) -> float:
    """0 where all bytes are equal, else the largest difference relative to the largest value."""
    if not isinstance(one, np.ndarray) or one.dtype.kind not in "fiub":
        same = np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two
        return 0.0 if same else float("inf")
    if one.shape != two.shape or one.dtype != two.dtype:
        return float("inf")
    if one.tobytes() == two.tobytes():
        return 0.0
    first, second = one.astype(np.float64), two.astype(np.float64)
    moved = ~((first == second) | (np.isnan(first) & np.isnan(second)))
    top = float(np.abs(first[np.isfinite(first)]).max(initial=0.0))
    largest = float(np.abs(first[moved] - second[moved]).max(initial=0.0))
    return largest / top if top > 0 else largest


def kind_of(proto: onnx.ModelProto) -> str:
    """What a file computes in."""
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    operators = Counter(node.op_type for node in proto.graph.node)
    if operators["QuantizeLinear"] and not any(name.startswith("QLinear") for name in operators):
        zeros = (node.input[2] for node in proto.graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2)
        return "Q/DQ int8" if onnx.TensorProto.INT8 in {types.get(zero) for zero in zeros} else "Q/DQ uint8"
    if any(name.startswith(("QLinear", "QGemm")) or name.endswith("Integer") for name in operators):
        return "other quantized"
    return "fp16" if onnx.TensorProto.FLOAT16 in types.values() else "float32"


def check(path: Path, name: str, seeds: int) -> Row:
    """Rewrite one file, and hold it against its original."""
    row = Row(name)
    try:
        source = load_model(path)
        row.kind = kind_of(source.proto)
        made = rewrite(source, write=False)
    except GapmilError as error:
        row.state = "refused" if error.exit_code == 3 else f"not rewritten: {str(error).replace(str(path), name)[:160]}"
        return row
    row.attachment = made.heads[0].attachment
    new = LoadedModel(made.model, source.path, source.sha256, source.size)
    row.growth = len(made.model.SerializeToString()) / max(1, len(source.proto.SerializeToString())) - 1
    names = [value.name for value in source.proto.graph.output]
    default: list[list[Any]] = []
    for level in ("all", "extended"):
        try:
            before = session(source, level)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
            row.state = f"the original does not load at '{level}': {str(error)[:120]}"
            return row
        feeds = inputs(source, before, seeds)
        if not feeds:
            row.state = "the original runs on none of the inputs"
            return row
        after = session(new, level)
        expected = [before.run(names, entry) for entry in feeds]
        found = [after.run(names, entry) for entry in feeds]
        default = default or expected
        row.moved[level] = _worst(expected, found)
    if "quantized" in row.kind or "Q/DQ" in row.kind:
        plain = session(source, "none")
        row.kernels = _worst([plain.run(names, entry) for entry in feeds], default)
        row.modes = [mode for mode in MODES if _loads(source, mode) and not _loads(new, mode)]
    if row.attachment == "shadow":
        row.shadow = _shadow_costs(source, new, feeds[0])
    row.state = "moves" if any(row.moved.values()) else "equal"
    return row


def _worst(one: list[list[Any]], two: list[list[Any]]) -> float:
    return max(gap(a, b) for first, second in zip(one, two, strict=True) for a, b in zip(first, second, strict=True))


def _loads(loaded: LoadedModel, mode: str) -> bool:
    try:
        session(loaded, "all", mode)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _shadow_costs(source: LoadedModel, shadowed: LoadedModel, feeds: dict[str, np.ndarray]) -> dict[str, float]:
    """Size and latency of a file with a shadow, beside those of one without and of the original."""
    plain = rewrite_model(source).model
    models = {"original": source, "plain": LoadedModel(plain, source.path, source.sha256, source.size)}
    models["shadow"] = shadowed
    runs = {key: session(loaded, "all", threads=1) for key, loaded in models.items()}
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(_TURNS):
        for key, run in runs.items():
            begin = time.perf_counter()
            run.run(None, feeds)
            times[key].append(time.perf_counter() - begin)
    sizes = {key: len(loaded.proto.SerializeToString()) for key, loaded in models.items()}
    median = {key: statistics.median(values) for key, values in times.items()}
    return {
        "bytes": float(sizes["shadow"] - sizes["plain"]),
        "growth": (sizes["shadow"] - sizes["plain"]) / sizes["original"],
        "original_ms": 1e3 * median["original"],
        "latency": median["shadow"] / median["plain"],
    }


def report(found: dict[str, list[Row]]) -> str:
    """The page; the rows of each processor by what it is called."""
    lines = [
        "# Rewritten files as deployed",
        "",
        f"Made by `{COMMAND}`; onnxruntime {ort.__version__}, onnx {onnx.__version__}. *Equal*: every output of the "
        "vendor's is equal byte for byte, at ONNX Runtime's default level (`all`) and at `extended`, on inputs of "
        "N(0, 1), 1.5 and 3 times that, and 0 to 255. *Loads*: the rewritten file loads under "
        f"`{MODES[0]}=1` and `{MODES[1]}=1` where its original does. *Named*, *with a shadow*: the rung of the ladder "
        "([proofs](../proofs.md)) that it took. Processors without AVX-512 are played by ONNX Runtime's own kernels "
        "for AVX2, with its look at the processor's registers patched; `--json` and `--also` bring runs together.",
    ]
    for title, rows in found.items():
        lines += ["", f"## {title}", "", *_table(rows), "", *_exceptions(rows)]
    shadows = [(title, row) for title, rows in found.items() for row in rows if row.shadow]
    lines += ["", "## What a shadow costs", ""]
    lines += [
        "Where int8 activations cannot be read, the part of the trunk from the nearest anchor to the map is repeated. "
        "Beside a rewrite without it, one thread, median of 60 runs in turns:",
        "",
        "| file | processor | nodes' bytes | of the file | latency of the original | latency |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row.file}` | {title} | +{row.shadow['bytes']:,.0f} | +{100 * row.shadow['growth']:.1f} % | "
        f"{row.shadow['original_ms']:.2f} ms | x{row.shadow['latency']:.2f} |"
        for title, row in shadows
    ]
    return "\n".join(lines) + "\n"


def _table(rows: list[Row]) -> list[str]:
    lines = [
        "| files | rewritten | equal at `all` | equal at `extended` | load | named | with a shadow | kernels move the "
        "original by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in sorted({row.kind for row in rows if row.moved}):
        own = [row for row in rows if row.kind == kind and row.moved]
        rungs = Counter(row.attachment for row in own)
        kernels = max((row.kernels for row in own if row.kernels is not None), default=None)
        lines.append(
            f"| {kind} | {len(own)} | {sum(row.moved['all'] == 0 for row in own)} | "
            f"{sum(row.moved.get('extended') == 0 for row in own)} | {sum(not row.modes for row in own)} | "
            f"{rungs['named']} | {rungs['shadow']} | {'' if kernels is None else f'{kernels:.2g}'} |"
        )
    return lines


def _exceptions(rows: list[Row]) -> list[str]:
    moved = [row for row in rows if row.state == "moves" or row.modes]
    lines = [
        f"- `{row.file}`: moves by {row.moved}{'; does not load under ' + ', '.join(row.modes) if row.modes else ''}"
        for row in moved
    ] or ["No output of any file moves."]
    others = Counter(row.state for row in rows if not row.moved)
    return [*lines, "", *(f"- not compared, {count}: {state}" for state, count in others.items())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: the sample models, the zoo and the real models")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--title", help="what this processor is called")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--also", type=Path, action="append", default=[], help="rows of another run, written by --json")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    folders = [pages.ROOT / "sample_models", ZOO, ZOO.parent / "real" / "models"]
    paths = options.files or [path for folder in folders for path in sorted(folder.rglob("*.onnx"))]
    title = options.title or (
        "A processor whose integer kernels saturate" if saturates() else "A processor whose integer kernels are exact"
    )
    rows = []
    for path in paths:
        base = next((folder.parent for folder in folders if path.is_relative_to(folder)), path.parent)
        row = check(path, str(path.relative_to(base)), options.seeds)
        rows.append(row)
        if row.state != "equal":
            print(f"{row.file}: {row.state} {row.moved} {row.modes}", flush=True)
    found = {title: rows}
    for other in options.also:
        found |= {key: [Row(**entry) for entry in held] for key, held in json.loads(other.read_text("utf-8")).items()}
    text = report(found)
    print(text)
    if options.json:
        options.json.write_text(json.dumps({title: [asdict(row) for row in rows]}, indent=1), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return int(any(row.state == "moves" or row.modes for held in found.values() for row in held))


if __name__ == "__main__":
    sys.exit(main())
