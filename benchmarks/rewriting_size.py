"""What rewriting costs by the size of a model: time and peak memory from 1 to 30 GB, with the weights beside the file.

The models are synthesized: convolutions of 16384 channels, a global average pool, a dense layer to 1000 classes. The
data file is sparse, so that it takes no disk: only the dense layer's weights are written, which the proof of the head
reads. Every figure is the worst of several fresh processes, interpreter and imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python benchmarks/rewriting_size.py --markdown docs/benchmarks/rewriting_size.md"
CHANNELS, CLASSES = 16384, 1000
#: Targets of the design, for 10 GB.
SECONDS, MEGABYTES = 3.0, 500.0


def write_model(folder: Path, gigabytes: int, *, in_head: bool = False) -> Path:
    """Write ``large.onnx`` and a sparse ``large.data`` of about so many GB.

    Args:
        folder: where.
        gigabytes: layers of 1.07 GB each.
        in_head: put all but one of them behind the pool.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    offset = 0

    def weight(name: str, *dims: int) -> str:
        nonlocal offset
        size = int(np.prod(dims, dtype=np.int64)) * 4
        tensor = onnx.TensorProto(
            name=name, data_type=onnx.TensorProto.FLOAT, dims=dims, data_location=onnx.TensorProto.EXTERNAL
        )
        for key, value in (("location", "large.data"), ("offset", str(offset)), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
        weights.append(tensor)
        offset += size
        return name

    dense = weight("dense", CLASSES, CHANNELS)
    current = "image"
    nodes.append(helper.make_node("Conv", [current, weight("stem", CHANNELS, 3, 8, 8)], ["c"], strides=[8, 8]))
    current = "c"
    for layer in range(1 if in_head else gigabytes):
        nodes.append(helper.make_node("Conv", [current, weight(f"k{layer}", CHANNELS, CHANNELS, 1, 1)], [f"c{layer}"]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        current = f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [current], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    current = "flat"
    for layer in range(gigabytes - 1 if in_head else 0):
        nodes.append(
            helper.make_node("Gemm", [current, weight(f"g{layer}", CHANNELS, CHANNELS)], [f"d{layer}"], transB=1)
        )
        current = f"d{layer}"
    nodes.append(helper.make_node("Gemm", [current, dense], ["logits"], transB=1))
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 64, 64])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", CLASSES])
    graph = helper.make_graph(nodes, "large", [image], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "large.onnx"
    path.write_bytes(model.SerializeToString())
    values = np.random.default_rng(0).standard_normal((CLASSES, CHANNELS), dtype=np.float32)
    with (folder / "large.data").open("wb") as stream:
        stream.write(values.tobytes())
        stream.truncate(offset)
    return path


def measure(path: Path, *, proof: bool) -> dict[str, Any]:
    """In this process: rewrite and save, with proof or without; seconds since the interpreter started, and memory."""
    from onnx_gapmil.proof import rewrite
    from onnx_gapmil.rewriting import default_output_path, rewrite_model, save_model

    if proof:
        result = rewrite(path)
        assert result.proof is not None
        kind, residual = result.proof.kind, result.heads[0].residual
    else:
        result, kind, residual = save_model(rewrite_model(path), default_output_path(path)), "", None
    assert result.output_path is not None
    return {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "kind": kind,
        "residual": residual,
        "bytes": result.output_path.stat().st_size - path.stat().st_size,
    }


def _fresh(path: Path, times: int, *, proof: bool) -> dict[str, Any]:
    """The worst of several fresh processes; the data file must stay what it was."""
    data = path.with_name("large.data")
    before = data.stat()
    runs = []
    for _ in range(times):
        start = time.perf_counter()
        command = [sys.executable, __file__, "--child", str(path), *(["--proof"] if proof else [])]
        done = subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        runs.append({**json.loads(done.stdout), "seconds": time.perf_counter() - start})
    after = data.stat()
    assert (before.st_mtime_ns, before.st_size, before.st_blocks) == (after.st_mtime_ns, after.st_size, after.st_blocks)
    return {**runs[0], **{key: max(run[key] for run in runs) for key in ("peak", "seconds")}}


def rows(sizes: list[int], times: int) -> list[tuple[str, ...]]:
    """Table rows for trunks of each size, and one for a head of 10 GB."""
    found = []
    for gigabytes, in_head in [*((size, False) for size in sizes), (10, True)]:
        with tempfile.TemporaryDirectory() as folder:
            path = write_model(Path(folder), gigabytes, in_head=in_head)
            size = path.with_name("large.data").stat().st_size
            bare = _fresh(path, times, proof=False)
            whole = None if in_head else _fresh(path, times, proof=True)
            found.append(
                (
                    f"{size / 1e9:.1f} GB in the {'head' if in_head else 'trunk'}",
                    f"{bare['seconds']:.2f} s",
                    f"{bare['peak'] / 1e6:.0f} MB",
                    f"{whole['seconds']:.2f} s" if whole else "too large to run: nothing is written",
                    f"{whole['peak'] / 1e6:.0f} MB" if whole else "",
                    f"{whole['kind']}, residual {whole['residual']:.1e}" if whole else "",
                    f"{bare['bytes']:,}",
                )
            )
    return found


def markdown(table: list[tuple[str, ...]], times: int) -> str:
    """The page."""
    from zoo_table import versions

    names = versions(("onnx-gapmil", "onnx", "onnxruntime", "onnx-graphsurgeon", "numpy", "protobuf"))
    lines = [
        "# Rewriting by the size of the model",
        "",
        f"Generated by `{COMMAND}`; do not edit. Worst of {times} fresh processes, interpreter and imports included.",
        f"{names}; Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores.",
        "",
        "Synthesized models with float32 weights in an external data file, which stays as it is and is referenced.",
        "Above 1.5 GB of weights the model is not run: shapes are inferred, and the proof runs the head alone, with",
        'its real weights, on random feature maps (`"kind": "head"` in the report). That the original outputs are',
        "unchanged follows from the vendor's part of the graph, which is compared message by message. Where the head",
        "itself is larger than that, `rewrite` says so and writes nothing; `rewrite_model` and `save_model` write",
        "it unproved.",
        "",
        f"Asked for, at 10 GB: rewriting and writing within {SECONDS:g} s and {MEGABYTES:.0f} MB.",
        "",
        "| weights | rewrite and write | peak | with the proof of the head | peak | proof | bytes added |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in table),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[2, 10, 30], metavar="GB")
    parser.add_argument("--times", type=int, default=3, help="fresh processes for each figure (default 3)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--child", type=Path, metavar="MODEL", help=argparse.SUPPRESS)
    parser.add_argument("--proof", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, proof=options.proof)))
        return 0
    text = markdown(rows(options.sizes, options.times), options.times)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
