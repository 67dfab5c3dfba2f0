"""What the prediction grid costs beside the bare model, against the bound that arithmetic sets.

Well-known classifiers with random weights (``shapes.py``) on ONNX Runtime's CPU provider, through the package's own
``bench``: every round runs the original and each rewritten graph in turn. ``--profile`` prints instead where the time
of the new nodes goes, by ONNX Runtime's profiler.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import pages, shapes

if TYPE_CHECKING:
    from onnx_gapmil.benchmarking.results import Measurement

COMMAND = "python -m benchmarks.grid_cost --markdown docs/benchmarks/grid_cost.md"
EMISSIONS = ("grid", "features,grid", "topk:5", "argmax", "classes:3,17", "scores:max,lse")
#: Targets: the full grid may cost its bound and this much more, topk:5 on ResNet-50 this in all.
ABOVE_BOUND, TOPK_RATIO = 0.02, 1.01
#: (size, batch sizes) measured; the larger pictures at one batch size, by the smaller models.
CASES = ((224, (1, 8)), (448, (1,)))
LARGE = ("resnet50", "efficientnet_b0", "mobilenetv2")
_WARM_UP, _PROFILED = 3, 25


def measure(name: str, size: int, batches: tuple[int, ...], emissions: tuple[str, ...], seconds: float) -> list[Any]:
    """All measurements of one classifier at one size."""
    from onnx_gapmil.benchmarking.benchmark import bench
    from onnx_gapmil.benchmarking.plan import BenchPlan

    plan = BenchPlan(
        emissions=emissions,
        batches=batches,
        providers=("cpu",),
        size=None if shapes.SHAPES[name].fixed else (size, size),
        seconds=seconds,
        memory=False,
    )
    (series,) = bench(shapes.build(name), plan).series
    return list(series.measurements)


def reached(name: str, entry: Measurement) -> str:
    """Whether a target is set for this row, and whether it is met."""
    if entry.ratio is None or entry.bound is None:
        return ""
    if entry.graph in ("grid", "features,grid"):
        limit = entry.bound + ABOVE_BOUND
    elif entry.graph == "topk:5" and name == "resnet50":
        limit = TOPK_RATIO
    else:
        return ""
    if entry.ratio.median <= limit:
        return f"≤ {limit:.3f}: yes"
    return f"≤ {limit:.3f}: {'unclear' if entry.ratio.low <= limit else 'no'}"


def row(name: str, size: int, entry: Measurement) -> tuple[str, ...]:
    """One line of the table."""
    ratio = entry.ratio
    return (
        shapes.SHAPES[name].title,
        str(size),
        str(entry.batch),
        entry.graph,
        f"{1e3 * entry.seconds.median:.1f}",
        f"{entry.images_per_second:.1f}",
        f"{ratio.median:.3f}" if ratio else "",
        f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio else "",
        f"{entry.bound:.3f}" if ratio and entry.bound else "",
        reached(name, entry),
    )


HEADS = ("model", "px", "batch", "graph", "ms", "images/s", "ratio", "95 % interval", "FLOP bound", "asked for")


def rows(names: list[str], cases: tuple[tuple[int, tuple[int, ...]], ...], seconds: float) -> list[tuple[str, ...]]:
    """Measure, and print each line when it is there."""
    found = []
    print(_columns(HEADS))
    for name in names:
        for size, batches in cases:
            if size != 224 and name not in LARGE:
                continue
            for entry in measure(name, size, batches, EMISSIONS, seconds):
                found.append(row(name, size, entry))
                print(_columns(found[-1]), flush=True)
    return found


def _columns(cells: tuple[str, ...]) -> str:
    return "{:16}{:>4}{:>6}  {:16}{:>8}{:>9}{:>7}  {:16}{:>10}  {}".format(*cells)


def markdown(found: list[tuple[str, ...]], seconds: float) -> list[str]:
    """The page."""
    return [
        "# What the prediction grid costs on the CPU",
        "",
        *pages.made_by(COMMAND),
        "",
        "The graphs are timm's, with random weights. Every round runs the original and each rewritten graph in turn;",
        "the ratio is the median over rounds of a graph's time by the original's in the same round, with the 95 %",
        f"interval of that median; {seconds:g} s for each model, size and batch, all graphs together. The FLOP bound",
        "is what arithmetic alone would cost: the multiply-adds of the graph by those of the original. ms and images/s",
        "are medians.",
        "",
        f"Asked for: the full grid at most {ABOVE_BOUND:.0%} above the bound; `topk:5` on ResNet-50 at most"
        f" {TOPK_RATIO:g}.",
        '"unclear" is said where the interval reaches below the limit and the median does not.',
        "",
        *pages.table(HEADS, found, numbers_from=4),
    ]


def profile(name: str, size: int, batch: int, emission: str) -> dict[str, Any]:
    """Milliseconds by operator, of the original and of a rewritten graph: medians over runs of ONNX Runtime's profile.

    Returns:
        ``original`` and ``rewritten``: by node name, (operator, milliseconds); ``added``: by operator, how much more
        the rewritten graph takes.
    """
    from onnx_gapmil.benchmarking.inputs import bench_inputs
    from onnx_gapmil.benchmarking.runs import BoundRun
    from onnx_gapmil.benchmarking.sessions import timed_session
    from onnx_gapmil.benchmarking.variants import build_variants
    from onnx_gapmil.graph.loading import load_model
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.ort.providers import choose_providers

    proto = shapes.build(name)
    variants, _, _ = build_variants(load_model(proto), (emission,))
    inputs = bench_inputs(ModelGraph(proto), batch, (size, size), name)
    choice = choose_providers("cpu")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for variant in variants:
            prefix = Path(folder) / variant.name.replace(":", "_")
            session = timed_session(variant.model.session_source()[0], choice, what=variant.name, profile=prefix)
            run = BoundRun(session, inputs, variant.outputs, "cpu", variant.name)
            for _ in range(_WARM_UP + _PROFILED):
                run()
            found.append(_by_node(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))))
    return {"original": found[0], "rewritten": found[1]}


def _by_node(events: list[dict[str, Any]]) -> dict[str, tuple[str, float]]:
    times: dict[str, list[float]] = defaultdict(list)
    ops: dict[str, str] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            node = event["name"].removesuffix("_kernel_time")
            times[node].append(event["dur"] / 1e3)
            ops[node] = event["args"]["op_name"]
    return {node: (ops[node], statistics.median(taken[_WARM_UP:])) for node, taken in times.items()}


def print_profile(name: str, size: int, batch: int, emission: str) -> None:
    """Operators that the two graphs have different numbers of, and the new nodes by their names."""
    found = profile(name, size, batch, emission)
    before, after = found["original"], found["rewritten"]
    whole, rewritten = (sum(time_ for _, time_ in part.values()) for part in (before, after))
    print(f"{shapes.SHAPES[name].title}, {size} px, batch {batch}, {emission}: {whole:.2f} ms, {rewritten:.2f} ms")
    for op in sorted({op for op, _ in (*before.values(), *after.values())}):
        times = [[time_ for kind, time_ in part.values() if kind == op] for part in (before, after)]
        if len(times[0]) != len(times[1]):
            sums = " -> ".join(f"{len(part)} of {sum(part):.3f} ms" for part in times)
            print(f"  {op:20} {sums}")
    for node, (op, time_) in after.items():
        if "gapmil" in node:
            print(f"  new: {op:20} {time_:8.3f} ms {100 * time_ / whole:6.2f} %  {node}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of: {', '.join(shapes.SHAPES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=40.0, help="for each model, size and batch (default 40)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    parser.add_argument("--profile", metavar="EMISSION", help="print where the time of the new nodes goes instead")
    parser.add_argument("--size", type=int, help="only this size in pixels")
    parser.add_argument("--batch", type=int, help="only this batch size")
    options = parser.parse_args()
    unknown = sorted(set(options.models) - shapes.SHAPES.keys())
    if unknown:
        parser.error(f"{', '.join(unknown)}: there are {', '.join(shapes.SHAPES)}")
    names = options.models or list(shapes.SHAPES)
    if options.profile:
        for name in names:
            print_profile(name, options.size or 224, options.batch or 1, options.profile)
        return 0
    cases = CASES if options.size is None else ((options.size, (1, 8)),)
    if options.batch is not None:
        cases = tuple((size, (options.batch,)) for size, _ in cases)
    found = rows(names, cases, options.seconds)
    pages.write(options.markdown, markdown(found, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
