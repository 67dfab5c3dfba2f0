"""The figures on a CUDA card: the grid's cost, nodes, equality with the CPU, copies, CUDA graphs, ``predict``.

Each step's result is in ``FOLDER/gpu.json`` as soon as it is there, so that a run that is cut off keeps what it has;
``--report`` makes the page from that file again. Without a CUDA device that ONNX Runtime really uses it says so and
ends with exit code 2; exit code 1 if a step failed or CUDA's numbers are not the CPU's. ``--provider cpu`` rehearses.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import gpu_page, pages, shapes
from benchmarks import gpu_steps as steps

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = "python -m benchmarks.gpu --markdown docs/benchmarks/gpu.md"
MODELS = ("resnet50", "efficientnet_b0", "mobilenetv2", "convnext_tiny", "vit_b16_gap")


def plan(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Every step by its name, the most wanted first."""
    provider, seconds, quick = options.provider, options.seconds, options.quick
    models = options.models or MODELS[: 1 if quick else None]
    first = models[0]
    batches = (1, 8) if quick else (1, 8, 32, 128)
    # Half precision on a CPU is emulated by casts: there is nothing to rehearse in its times.
    precisions = ("fp32", "fp16") if provider != "cpu" else ("fp32",)
    counts = (8, 24) if quick else (200, 1200)
    found: dict[str, Callable[[], Any]] = {"machine": steps.machine}
    for name in models:
        found[f"nodes {name}"] = lambda name=name: steps.whole_on_provider(name, provider)
        found[f"equality {name}"] = lambda name=name: steps.equality(name, provider)
    found[f"bench {first}"] = lambda: steps.bench_table(first, provider, batches, precisions, seconds)
    found[f"copies {first}"] = lambda: steps.copies(first, provider, batches[-1], seconds)
    found[f"cuda graphs {first}"] = lambda: steps.cuda_graphs(first, provider, 1, seconds)
    found[f"tf32 {first}"] = lambda: steps.tensor_float(first, provider, batches[-1], seconds)
    found[f"predict {first}"] = lambda: steps.predict_speed(first, provider, counts, 8 if quick else 32, seconds)
    for name in models[1:]:
        found[f"bench {name}"] = lambda name=name: steps.bench_table(name, provider, batches, precisions, seconds)
    return found


def run(wanted: dict[str, Callable[[], Any]], place: Path, limit: float) -> dict[str, Any]:
    """Run the steps; a step that fails is noted and the next one goes on.

    Args:
        wanted: steps by name.
        place: the JSON file, written after each step.
        limit: seconds after which no further step is begun.
    """
    start = time.monotonic()
    results: dict[str, Any] = {}
    for name, step in wanted.items():
        if time.monotonic() - start > limit:
            results[name] = {"error": "not begun: the time was up"}
            continue
        began = time.monotonic()
        try:
            results[name] = step()
            said = "done"
        except Exception as error:  # noqa: BLE001 - one step must not take the others with it
            traceback.print_exc()
            results[name] = {"error": f"{type(error).__name__}: {error}"}
            said = "failed"
        print(f"{name}: {said}, {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        place.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return results


def failures(results: dict[str, Any]) -> list[str]:
    """What went wrong: steps that failed, outputs that differ."""
    found = [f"{name}: {entry['error']}" for name, entry in results.items() if "error" in entry]
    for name, entry in results.items():
        if name.startswith("equality") and not entry.get("passed", True):
            wrong = [key for key, output in entry["outputs"].items() if not output["passed"]]
            found.append(f"{name}: {', '.join(wrong)} differ from the CPU's")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of: {', '.join(shapes.SHAPES)} (default: all)")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/gpu_output"), help="where gpu.json goes (build/gpu_output)"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="for each measurement (default 8)")
    parser.add_argument("--limit", type=float, default=1500.0, help="begin no step after so many seconds (1500)")
    parser.add_argument("--quick", action="store_true", help="one model, small batches, few photos")
    parser.add_argument("--provider", default="cuda", help="cuda; cpu rehearses every step without a card")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    parser.add_argument("--report", action="store_true", help="only make the page, from gpu.json as it is")
    options = parser.parse_args()
    place = options.folder / "gpu.json"
    if options.report:
        results = json.loads(place.read_text(encoding="utf-8"))
    else:
        from onnx_gapmil.errors import ProviderError
        from onnx_gapmil.ort.providers import choose_providers

        try:
            choose_providers(options.provider)
        except ProviderError as error:
            print(f"Not measured: {error}", file=sys.stderr)
            return 2
        options.folder.mkdir(parents=True, exist_ok=True)
        results = run(plan(options), place, options.limit)
        results["made by"] = pages.made_by(COMMAND)
        place.write_text(json.dumps(results, indent=1), encoding="utf-8")
    lines = gpu_page.markdown(results)
    print("\n".join(lines))
    pages.write(options.markdown, lines)
    wrong = failures({name: entry for name, entry in results.items() if isinstance(entry, dict)})
    for line in wrong:
        print(f"Failed: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
