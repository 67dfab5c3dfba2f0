"""What the proofs of a rewritten model cost: the processor's time, forward passes and memory, from 14 MB to 1.2 GB.

Each model is made here with random weights and proved in a fresh process, as `rewrite` does before it writes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from benchmarks import giants, pages, shapes
from benchmarks.rewriting_cost import PROOF_SECONDS, ResNet50

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python -m benchmarks.proof_cost --markdown docs/benchmarks/proof.md"
#: Forward passes of the stimulus that the design allows for a ResNet-50.
MOST_RUNS = 40
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "MobileNetV2": lambda: shapes.build("mobilenetv2"),
    "ResNet-50": lambda: ResNet50().build(),
    "ViT-B/16": lambda: giants.vit(768, 12, 12),
    "VGG-19": giants.vgg19,
    "ViT-L/16": lambda: giants.vit(1024, 24, 16),
}
_HEADS = [
    "model",
    "size, MB",
    "multiply-adds, billions",
    "all proofs, s of processor",
    "sum: both models run",
    "cell, float64, place",
    "place alone, again",
    "as deployed",
    "stripes a direction",
    "passes for place",
    "worst share of what is allowed",
    "peak without proof, MB",
    "peak, MB",
]


def measure(path: Path, *, proof: bool) -> dict[str, float]:
    """In this process: rewrite a model and prove it."""
    from onnx_gapmil.benchmarking.memory import peak_resident
    from onnx_gapmil.graph.macs import work_of
    from onnx_gapmil.rewriting.proof.head_proofs import with_head_proofs
    from onnx_gapmil.rewriting.proof.place_proof import prove_places
    from onnx_gapmil.rewriting.proof.whole_model import prove
    from onnx_gapmil.rewriting.rewriter import rewrite_model
    from onnx_gapmil.rewriting.verbs import climb

    made = rewrite_model(path)
    trace, whole = made.trace, made.whole
    assert trace is not None
    assert whole is not None
    macs = work_of(made.source.proto.graph.node, trace.shapes).macs / trace.batch
    found = {"size": made.source.size / 1e6, "macs": macs / 1e9}
    if proof:
        marks = [time.process_time()]
        report = prove(made.source, made.model, made.heads, whole=whole)
        marks.append(time.process_time())
        proved = replace(made.source, proto=made.model)
        report = with_head_proofs(
            report, proved, made.heads, lift=whole.make(), whole=whole, trace=trace, claimed=False
        )
        marks.append(time.process_time())
        _, deployed = climb(made)
        marks.append(time.process_time())
        assert report.passed
        assert deployed.equal
        peak = peak_resident() or 0
        (place,) = prove_places(proved, made.heads, lift=whole.make(), whole=whole, trace=trace).values()
        marks.append(time.process_time())
        assert place.check.passed
        assert place.check.rows is not None
        found |= {
            "sum": marks[1] - marks[0],
            "heads": marks[2] - marks[1],
            "place": marks[4] - marks[3],
            "deployed": marks[3] - marks[2],
            "all": marks[3] - marks[0],
            "stripes": place.check.rows.stripes,
            "runs": place.check.runs,
            "share": place.check.share,
        }
    else:
        peak = peak_resident() or 0
    return {**found, "peak": peak / 1e6}


def _fresh(path: Path, *more: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.proof_cost", "--child", str(path), *more]
    found: dict[str, float] = json.loads(
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]
    )
    return found


def rows(names: list[str]) -> dict[str, dict[str, float]]:
    """Each model, measured."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / "model.onnx"
            path.write_bytes(MODELS[name]().SerializeToString())
            bare = _fresh(path)
            found[name] = {**_fresh(path, "--proof"), "bare": bare["peak"]}
            print(name, found[name], file=sys.stderr)
    return found


def markdown(found: dict[str, dict[str, float]]) -> list[str]:
    """The page."""
    return [
        "# What the proofs cost",
        "",
        *pages.made_by(COMMAND),
        "",
        "`rewrite` runs the original and the rewritten model, as the file spells them, on four images each; then the "
        "head alone; then stripes of one image, fused as it is deployed; then one image under each level of "
        "optimization. Where stripes cost more than 45 billion "
        "multiply-adds, the image is cut into fewer of them than its grid has cells, at least five a direction; where "
        "these do not pass clearly, all are run. Asked for of a ResNet-50: all proofs under "
        f"{PROOF_SECONDS:g} s of the processor, less than {MOST_RUNS} passes for the stimulus.",
        "",
        *pages.table(_HEADS, ([name, *_cells(row)] for name, row in found.items())),
    ]


def _cells(row: dict[str, float]) -> list[str]:
    seconds = [f"{row[key]:.2f}" for key in ("all", "sum", "heads", "place", "deployed")]
    counts = [f"{row[key]:.0f}" for key in ("stripes", "runs")]
    return [
        f"{row['size']:.0f}",
        f"{row['macs']:.1f}",
        *seconds,
        *counts,
        f"{row['share']:.2f}",
        f"{row['bare']:.0f}",
        f"{row['peak']:.0f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; default: all")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    parser.add_argument("--child", type=Path, metavar="MODEL", help=argparse.SUPPRESS)
    parser.add_argument("--proof", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, proof=options.proof)))
        return 0
    found = rows(options.models or list(MODELS))
    lines = markdown(found)
    print("\n".join(lines))
    pages.write(options.markdown, lines)
    resnet = found.get("ResNet-50")
    return int(resnet is not None and (resnet["all"] > PROOF_SECONDS or resnet["runs"] >= MOST_RUNS))


if __name__ == "__main__":
    sys.exit(main())
