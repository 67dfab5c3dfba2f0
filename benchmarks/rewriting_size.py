"""What rewriting costs by the size of a model: time and peak memory from 1 MB to 30 GB.

The models are synthesized: 1x1 convolutions, a global average pool, a dense layer. Up to 1 GB the weights are in the
file, as random numbers; from 1 GB on they are in a data file beside it. From 10 GB on that is sparse, so that it takes
no disk: only the dense layer's weights are written, which the proof of the head reads. Every figure is the worst of
several fresh processes, interpreter and imports included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from benchmarks import pages

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python -m benchmarks.rewriting_size --markdown docs/benchmarks/rewriting_size.md"
#: Targets of the design, for 10 GB.
SECONDS, MEGABYTES = 3.0, 500.0
#: Bytes above which weights beside the model are zeros, but for the dense layer's.
MAX_REAL = 1_500_000_000
HEADS = ("weights", "rewrite and write", "peak", "with proof", "peak", "proof", "bytes added")


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        channels: of every convolution; a layer of them has ``channels ** 2`` float32 weights.
        layers: how many.
        classes: rows of the dense layer.
        external: the weights are in a file beside the model.
        in_head: all layers but one are dense layers behind the pool.
    """

    channels: int
    layers: int
    classes: int
    external: bool
    in_head: bool = False


#: About 1, 10, 100 MB and 1 GB inside the file; 1, 10 and 30 GB beside it; 10 GB behind the pool.
CASES = (
    Case(256, 3, 100, external=False),
    Case(512, 8, 500, external=False),
    Case(2048, 5, 1000, external=False),
    Case(8192, 4, 1000, external=False),
    Case(8192, 4, 1000, external=True),
    Case(16384, 10, 1000, external=True),
    Case(16384, 30, 1000, external=True),
    Case(16384, 10, 1000, external=True, in_head=True),
)


def write_model(folder: Path, gigabytes: int, *, in_head: bool = False) -> Path:
    """Write a model of about so many GB whose weights are nearly all zeros, beside it.

    Args:
        folder: where.
        gigabytes: layers of 1.07 GB each.
        in_head: put all but one of them behind the pool.
    """
    return write_case(folder, Case(16384, gigabytes, 1000, external=True, in_head=in_head))


def write_case(folder: Path, case: Case) -> Path:
    """Write ``large.onnx``, and ``large.data`` where the weights lie beside it.

    Args:
        folder: where.
        case: what.
    """
    weights = _Weights(case.external)
    nodes: list[onnx.NodeProto] = []
    wide = case.channels
    dense = weights.add("dense", case.classes, wide)
    nodes.append(helper.make_node("Conv", ["image", weights.add("stem", wide, 3, 8, 8)], ["c"], strides=[8, 8]))
    current = "c"
    for layer in range(1 if case.in_head else case.layers):
        kernel = weights.add(f"k{layer}", wide, wide, 1, 1)
        nodes.append(helper.make_node("Conv", [current, kernel], [f"c{layer}"]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        current = f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [current], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    current = "flat"
    for layer in range(case.layers - 1 if case.in_head else 0):
        nodes.append(helper.make_node("Gemm", [current, weights.add(f"g{layer}", wide, wide)], [f"d{layer}"], transB=1))
        current = f"d{layer}"
    nodes.append(helper.make_node("Gemm", [current, dense], ["logits"], transB=1))
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 64, 64])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", case.classes])
    graph = helper.make_graph(nodes, "large", [image], [logits], weights.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "large.onnx"
    path.write_bytes(model.SerializeToString())
    if case.external:
        _write_data(folder / "large.data", weights, case)
    return path


def _write_data(path: Path, weights: _Weights, case: Case) -> None:
    """The dense layer's weights, which come first, and those of a model that is small enough to be run."""
    generator = np.random.default_rng(0)
    with path.open("wb") as stream:
        for tensor in weights.tensors if weights.size < MAX_REAL else weights.tensors[:1]:
            values = generator.standard_normal(tuple(tensor.dims), dtype=np.float32)
            values *= np.float32(np.sqrt(2 / np.prod(tensor.dims[1:])))
            stream.write(values.tobytes())
        stream.truncate(weights.size)


class _Weights:
    """Collects the weights of a model, as numbers in it or as places in a file beside it."""

    def __init__(self, external: bool) -> None:
        self._external = external
        self._generator = np.random.default_rng(0)
        self.tensors: list[onnx.TensorProto] = []
        self.size = 0

    def add(self, name: str, *dims: int) -> str:
        size = int(np.prod(dims, dtype=np.int64)) * 4
        tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=dims)
        if self._external:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", "large.data"), ("offset", str(self.size)), ("length", str(size))):
                tensor.external_data.add(key=key, value=value)
        else:
            values = self._generator.standard_normal(dims, dtype=np.float32)
            values *= np.float32(np.sqrt(2 / np.prod(dims[1:])))
            tensor.raw_data = values.tobytes()
        self.tensors.append(tensor)
        self.size += size
        return name


def measure(path: Path, *, proof: bool) -> dict[str, Any]:
    """In this process: rewrite and save, with proof or without; seconds since the interpreter started, and memory."""
    from onnx_gapmil.benchmarking.memory import peak_resident
    from onnx_gapmil.rewriting.rewriter import rewrite_model
    from onnx_gapmil.rewriting.saving import default_output_path, save_model
    from onnx_gapmil.rewriting.verbs import rewrite

    if proof:
        result = rewrite(path)
        assert result.proof is not None
        kind, residual = result.proof.kind, result.heads[0].residual
    else:
        result, kind, residual = save_model(rewrite_model(path), default_output_path(path)), "", None
    assert result.output_path is not None
    return {
        "peak": peak_resident(),
        "kind": kind,
        "residual": residual,
        "bytes": result.output_path.stat().st_size - path.stat().st_size,
    }


def _fresh(path: Path, times: int, *, proof: bool) -> dict[str, Any]:
    """The worst of several fresh processes; the data file must stay what it was."""
    before = _state(path.with_name("large.data"))
    runs = []
    for _ in range(times):
        start = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "benchmarks.rewriting_size",
            "--child",
            str(path),
            *(["--proof"] if proof else []),
        ]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        runs.append({**json.loads(done.stdout), "seconds": time.perf_counter() - start})
    assert _state(path.with_name("large.data")) == before
    return {**runs[0], **{key: max(run[key] for run in runs) for key in ("peak", "seconds")}}


def _state(data: Path) -> tuple[int, ...]:
    """What would change if the file were written."""
    if not data.exists():
        return ()
    found = data.stat()
    return found.st_mtime_ns, found.st_size, found.st_blocks


def row(case: Case, times: int) -> tuple[str, ...]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_case(Path(folder), case)
        size = path.stat().st_size + sum(_state(path.with_name("large.data"))[1:2])
        bare = _fresh(path, times, proof=False)
        whole = None if case.in_head else _fresh(path, times, proof=True)
    where = "beside the file" if case.external else "in the file"
    return (
        f"{_size(size)} {where}{', behind the pool' if case.in_head else ''}",
        f"{bare['seconds']:.2f} s",
        f"{bare['peak'] / 1e6:.0f} MB",
        f"{whole['seconds']:.2f} s" if whole else "too large to run: nothing is written",
        f"{whole['peak'] / 1e6:.0f} MB" if whole else "",
        f"{whole['kind']}, residual {whole['residual']:.1e}" if whole else "",
        f"{bare['bytes']:,}",
    )


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def markdown(found: list[tuple[str, ...]], times: int) -> list[str]:
    """The page."""
    return [
        "# Rewriting by the size of the model",
        "",
        *pages.made_by(COMMAND),
        "",
        f"Worst of {times} fresh processes, interpreter and imports included. Synthesized models with float32 weights.",
        "Weights beside the file stay as they are and are referenced. Above 1.5 GB of weights the model is not run:",
        "shapes are inferred, and the proof runs the head alone, with its real weights, on random feature maps (the",
        "proof's kind is then \"head\"). That the original outputs are unchanged follows from the vendor's part of the",
        "graph, which is compared message by message. Where the head itself is larger than that, `rewrite` says so and",
        "writes nothing; `rewrite_model` and `save_model` write it unproved.",
        "",
        f"Asked for, at 10 GB: rewriting and writing within {SECONDS:g} s and {MEGABYTES:.0f} MB.",
        "",
        *pages.table(HEADS, found),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="*", metavar="I", help=f"some of the {len(CASES)} models, from 0")
    parser.add_argument("--layers", type=int, metavar="N", help="that many layers instead, for a quick look")
    parser.add_argument("--times", type=int, default=3, help="fresh processes for each figure (default 3)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    parser.add_argument("--child", type=Path, metavar="MODEL", help=argparse.SUPPRESS)
    parser.add_argument("--proof", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, proof=options.proof)))
        return 0
    found = []
    for index in options.cases if options.cases is not None else range(len(CASES)):
        case = CASES[index] if options.layers is None else replace(CASES[index], layers=options.layers)
        found.append(row(case, options.times))
        print("  ".join(found[-1]), flush=True)
    pages.write(options.markdown, markdown(found, options.times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
