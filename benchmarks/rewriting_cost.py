"""What rewriting costs: time, memory and bytes for a ResNet-50, and how soon ``--help`` is there.

The model is synthesized: ResNet-50's own topology (arXiv 1512.03385; strides in the 3x3 convolutions, batch
normalization folded as exporters do), random weights, and the usual head: GlobalAveragePool, Flatten, Gemm to 1000
classes; about 100 MB. Each figure is the median of several fresh processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from benchmarks import pages

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python -m benchmarks.rewriting_cost --markdown docs/benchmarks/rewriting.md"
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
CLASSES = 1000
#: Targets of the design.
OWN_SECONDS, PROOF_SECONDS, GROWTH_PERCENT, HELP_SECONDS = 1.0, 4.0, 1.0, 0.3


class Writer:
    """Writes a graph node by node."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, name: str, *shape: int) -> str:
        """Random numbers, as large as keeps the size of what they are multiplied by."""
        deviation = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.01
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
        self._weights.append(onnx.numpy_helper.from_array(values, name))
        return name

    def add(self, op: str, inputs: list[str], **attributes: object) -> str:
        """One node; the name of what it makes."""
        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(op, inputs, [name], name=f"/{name}", **attributes))
        return name

    def conv(self, data: str, before: int, after: int, kernel: int, stride: int = 1) -> str:
        """A convolution that keeps the size, but for its stride."""
        place = f"conv_{len(self._nodes)}"
        weight = self.weight(f"{place}.weight", after, before, kernel, kernel)
        bias = self.weight(f"{place}.bias", after)
        pads = [kernel // 2] * 4
        return self.add("Conv", [data, weight, bias], kernel_shape=[kernel] * 2, pads=pads, strides=[stride] * 2)

    def dense(self, data: str, before: int, after: int) -> str:
        """A layer on each token."""
        place = f"dense_{len(self._nodes)}"
        product = self.add("MatMul", [data, self.weight(f"{place}.weight", before, after)])
        return self.add("Add", [product, self.weight(f"{place}.bias", after)])

    def norm(self, data: str, width: int) -> str:
        """LayerNormalization of each token."""
        place = f"norm_{len(self._nodes)}"
        self._weights.append(onnx.numpy_helper.from_array(np.ones(width, np.float32), f"{place}.scale"))
        return self.add("LayerNormalization", [data, f"{place}.scale", self.weight(f"{place}.bias", width)], axis=-1)

    def ints(self, name: str, *values: int) -> str:
        """A shape."""
        self._weights.append(onnx.numpy_helper.from_array(np.array(values), name))
        return name

    def number(self, name: str, value: float) -> str:
        """One number."""
        self._weights.append(onnx.numpy_helper.from_array(np.float32(value), name))
        return name

    def classifier(self, pooled: str, channels: int, name: str) -> onnx.ModelProto:
        """The model, from image (N, 3, 224, 224) float32 to logits (N, 1000), by a last dense layer."""
        weights = [self.weight("fc.weight", CLASSES, channels), self.weight("fc.bias", CLASSES)]
        self._nodes.append(onnx.helper.make_node("Gemm", [pooled, *weights], ["logits"], name="/fc", transB=1))
        graph = onnx.helper.make_graph(
            self._nodes,
            name,
            [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 224, 224])],
            [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", CLASSES])],
            self._weights,
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


class ResNet50(Writer):
    """ResNet-50's own topology."""

    def _bottleneck(self, data: str, before: int, width: int, stride: int) -> str:
        inner = self.add("Relu", [self.conv(data, before, width, 1)])
        inner = self.add("Relu", [self.conv(inner, width, width, 3, stride)])
        inner = self.conv(inner, width, 4 * width, 1)
        if before != 4 * width:
            data = self.conv(data, before, 4 * width, 1, stride)
        return self.add("Relu", [self.add("Add", [inner, data])])

    def build(self) -> onnx.ModelProto:
        """The model: image (N, 3, 224, 224) float32 to logits (N, 1000)."""
        data = self.add("Relu", [self.conv("image", 3, 64, 7, 2)])
        data = self.add("MaxPool", [data], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
        channels = 64
        for stage, (blocks, width) in enumerate(STAGES):
            for block in range(blocks):
                data = self._bottleneck(data, channels, width, 2 if stage and not block else 1)
                channels = 4 * width
        flat = self.add("Flatten", [self.add("GlobalAveragePool", [data])], axis=1)
        return self.classifier(flat, channels, "resnet50")


class _Clocked:
    """Adds up the time spent in ONNX Runtime's sessions: the trace runs the vendor's model once.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        from onnxruntime import InferenceSession

        self.seconds = 0.0
        for name in ("__init__", "run"):
            setattr(InferenceSession, name, self._around(getattr(InferenceSession, name)))

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def clocked(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return clocked


def measure(path: Path, target: Path, *, proof: bool) -> dict[str, float]:
    """In this process: imports, rewriting, proof and saving, in seconds; the peak of its memory in bytes."""
    start = time.perf_counter()
    from onnx_gapmil.benchmarking.memory import peak_resident
    from onnx_gapmil.rewriting.rewriter import rewrite_model
    from onnx_gapmil.rewriting.saving import save_model
    from onnx_gapmil.rewriting.verbs import proof_of

    runtime = _Clocked()
    marks = [time.perf_counter()]
    result = rewrite_model(path)
    in_runtime = runtime.seconds
    marks.append(time.perf_counter())
    cores = time.process_time()
    report = proof_of(result) if proof else None
    cores = time.process_time() - cores
    marks.append(time.perf_counter())
    save_model(result, target)
    marks.append(time.perf_counter())
    assert report is None or report.passed
    return {
        "imports": marks[0] - start,
        "rewriting": marks[1] - marks[0],
        "runtime": in_runtime,
        "own": marks[1] - marks[0] - in_runtime,
        "proof": marks[2] - marks[1],
        "proof_cpu": cores,
        "saving": marks[3] - marks[2],
        "peak": float(peak_resident() or 0),
        "growth": float(target.stat().st_size - path.stat().st_size),
    }


def _fresh(path: Path, target: Path, times: int, *, proof: bool) -> dict[str, float]:
    """Medians over fresh processes."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.rewriting_cost",
        "--child",
        str(path),
        str(target),
        *(["--proof"] if proof else []),
    ]
    runs = [json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout) for _ in range(times)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _help_seconds(times: int = 10) -> float:
    script = Path(sys.executable).with_name("onnx-gapmil")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "onnx_gapmil"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        subprocess.run([*command, "--help"], check=True, capture_output=True, env=environment)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])  # the first one may have to write byte code


def _rows(times: int) -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder) / "resnet50.onnx", Path(folder) / "resnet50.gapmil.onnx"
        path.write_bytes(ResNet50().build().SerializeToString())
        size = path.stat().st_size
        bare = _fresh(path, target, times, proof=False)
        whole = _fresh(path, target, times, proof=True)
        growth = target.stat().st_size - size
    mega = 1e6
    return [
        ("the model", f"{size / mega:.1f} MB", ""),
        ("reading, tracing, searching, rewriting", f"{bare['rewriting']:.2f} s", ""),
        ("of these, ONNX Runtime loading and running it for the trace", f"{bare['runtime']:.2f} s", ""),
        ("of these, own work", f"{bare['own']:.2f} s", f"under {OWN_SECONDS:g} s"),
        ("proof: original and rewritten, batches of 3 and 1; the head alone", f"{whole['proof']:.2f} s", ""),
        ("processor time of the proof, all cores", f"{whole['proof_cpu']:.2f} s", f"under {PROOF_SECONDS:g} s"),
        ("saving", f"{bare['saving']:.2f} s", ""),
        ("imports", f"{bare['imports']:.2f} s", ""),
        ("growth of the file", f"{growth} bytes, {100 * growth / size:.4f} %", f"under {GROWTH_PERCENT:g} %"),
        ("peak memory without proof", f"{bare['peak'] / mega:.0f} MB", ""),
        ("peak memory with proof", f"{whole['peak'] / mega:.0f} MB", ""),
        ("`onnx-gapmil --help`, median of 10", f"{_help_seconds():.2f} s", f"under {HELP_SECONDS:g} s"),
    ]


def _markdown(rows: list[tuple[str, str, str]], times: int) -> list[str]:
    return [
        "# The cost of rewriting",
        "",
        *pages.made_by(COMMAND),
        "",
        f"A synthesized ResNet-50; medians of {times} fresh processes each.",
        "",
        *pages.table(("", "measured", "asked for"), rows),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="fresh processes for each figure (default 5)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--child", nargs=2, type=Path, metavar=("MODEL", "TARGET"), help=argparse.SUPPRESS)
    parser.add_argument("--proof", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child, proof=options.proof)))
        return 0
    rows = _rows(options.times)
    for name, value, wanted in rows:
        print(f"{name:60} {value:28} {wanted}")
    pages.write(options.markdown, _markdown(rows, options.times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
