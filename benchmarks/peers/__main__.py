"""What maps cost in onnx-gapmil and its peers, in one run on the same ResNet-50, each against its own plain inference.

Every tool runs in a process of its own, in its framework's own environment (made with pip under ``--place``). The
driver goes round: each process in turn runs plain inference and each of its variants alternately, once. A ratio is
that of one run with maps to the mean of the plain runs before and after it; the tables give medians over rounds, and
quartiles. Beside that it compares the tools' maps with the grid, gives each tool heads that do not decompose, and takes
the peak memory of fresh processes.

The results lie in ``--place/peers-work/results.json``; ``--report`` makes the page from them again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import chart, page, parity
from benchmarks.peers.client import ROOT, TOOLS, PeerProcess, interpreter

THREADS, SIZES, BATCHES = (1, 2), (224, 448), (1, 8)
HEADS = ("resnet18", "mobilenet_v3", "max_pooled", "vgg", "vit")
#: Whose peak memory is taken, by tool.
MEMORY = {
    "onnx_gapmil": ("plain", "grid"),
    "openvino_xai": ("plain", "ReciproCAM"),
    "torch_cam": ("plain", "CAM, all classes"),
    "grad_cam": ("plain", "Grad-CAM, one class"),
}


def make_models(place: Path, work: Path) -> None:
    """Once; the folder keeps them."""
    if (work / ".made").is_file():
        return
    print("Making the models ...", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    with (work / "make_models.log").open("w", encoding="utf-8") as log:
        command = [str(interpreter("torch", place)), "-m", "benchmarks.peers.make_models", str(work)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=log, stderr=log)
    (work / ".made").touch()


def time_case(options: argparse.Namespace, work: Path, threads: int, size: int, batch: int) -> dict[str, Any]:
    """One number of threads, image size and batch: rounds over all tools until the time is up."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(PeerProcess(tool, options.place, work, threads)) for tool in TOOLS]
        found: dict[str, dict[str, Any]] = {}
        for peer in peers:
            opened = peer.ask(do="open", size=size, batch=batch, threads=threads, clock=options.clock)
            found[peer.tool.key] = {
                "cannot": opened["cannot"],
                "plain": [],
                "with_maps": {name: [] for name in opened["variants"]},
                "ratio": {name: [] for name in opened["variants"]},
            }
        rounds, start = 0, time.perf_counter()
        while rounds < options.rounds or time.perf_counter() - start < options.seconds:
            for peer in peers:
                answer, kept = peer.ask(do="round"), found[peer.tool.key]
                kept["plain"] += answer["plain"]
                for kind in ("with_maps", "ratio"):
                    for name, value in answer[kind].items():
                        kept[kind][name].append(value)
            rounds += 1
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    print(f"{threads} threads, {size} px, batch {batch}: {rounds} rounds, load {load}", flush=True)
    return {"threads": threads, "size": size, "batch": batch, "rounds": rounds, "load": load, "peers": found}


def compare_maps(place: Path, work: Path, model: str) -> dict[str, np.ndarray]:
    """All tools' maps of a model's image."""
    maps: dict[str, np.ndarray] = {}
    for tool in TOOLS:
        with PeerProcess(tool, place, work) as peer:
            peer.ask(do="maps", model=model, file=f"maps-{tool.key}.npz")
        with np.load(work / f"maps-{tool.key}.npz") as file:
            maps |= {f"bytes {tool.key}" if name == "bytes" else name: file[name] for name in file.files}
    return maps


def known(work: Path, model: str) -> dict[str, np.ndarray]:
    with np.load(work / f"{model}.npz") as file:
        return dict(file)


def try_heads(place: Path, work: Path) -> dict[str, Any]:
    """By tool and head, what became of it."""
    answers: dict[str, Any] = {}
    for tool in TOOLS:
        with PeerProcess(tool, place, work) as peer:
            answers[tool.key] = {head: peer.ask(do="head", model=head) for head in HEADS}
    return answers


def peak_memory(place: Path, work: Path) -> list[dict[str, Any]]:
    """Of fresh processes that do one thing each."""
    rows = []
    for tool in TOOLS:
        for size in SIZES:
            peaks = {}
            for variant in MEMORY[tool.key]:
                with PeerProcess(tool, place, work) as peer:
                    peaks[variant] = peer.ask(do="memory", size=size, threads=1, variant=variant)["peak_mb"]
            rows.append({"tool": tool.key, "size": size, "peak_mb": peaks})
    return rows


def versions(place: Path, work: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for tool in TOOLS:
        with PeerProcess(tool, place, work) as peer:
            found |= peer.ask(do="versions")["versions"]
    return found


def write_golden(path: Path, place: Path, work: Path) -> None:
    """The small model and what the peers make of it: what the test suite compares the grid with."""
    maps, model = compare_maps(place, work, "tiny"), known(work, "tiny")
    np.savez_compressed(
        path,
        model=np.frombuffer((work / "tiny.onnx").read_bytes(), np.uint8),
        image=model["image"],
        logits=model["logits"],
        bias=model["zero"][0],
        cam=maps["cam"],
        reciprocam=maps["reciprocam"],
        grad_cam=maps["grad_cam"][:, :2],  # of two classes alone: each is of the image's size
        versions=np.asarray(json.dumps(versions(place, work))),
    )
    print(f"Written: {path} ({path.stat().st_size:,} bytes)")


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    started = datetime.now(UTC)
    maps = {size: compare_maps(options.place, work, f"resnet50-{size}") for size in SIZES}
    grids = {size: parity.differences(known(work, f"resnet50-{size}"), found) for size, found in maps.items()}
    sizes = {
        key: {str(size): [int(value) for value in found[f"bytes {key}"]] for size, found in maps.items()}
        for key in ("onnx_gapmil", "openvino_xai")
    }
    cases = [
        time_case(options, work, threads, size, batch)
        for threads in options.threads
        for batch in options.batches
        for size in SIZES
    ]
    return {
        "date": started.date().isoformat(),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": versions(options.place, work),
        "clock": options.clock,
        "cases": cases,
        "parity": {str(size): found for size, found in grids.items()},
        "bytes": sizes,
        "heads": try_heads(options.place, work),
        "memory": peak_memory(options.place, work),
    }


def _processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, default=ROOT / ".venv", help="where environments lie (default .venv)")
    parser.add_argument("--seconds", type=float, default=120, help="for each case, at least (default 120)")
    parser.add_argument("--rounds", type=int, default=7, help="for each case, at least (default 7)")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS, help="default: 1 2")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="default: 1 8")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a busy machine, with 1 thread (default wall)"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing, show the last run")
    parser.add_argument("--golden", type=Path, metavar="FILE", help="only write the maps that the tests compare with")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw FILE.svg and FILE-dark.svg")
    options = parser.parse_args()
    if options.clock == "cpu" and list(options.threads) != [1]:
        parser.error("--clock cpu adds up all threads' time: give --threads 1 with it.")
    options.place = options.place.resolve()
    work = options.place / "peers-work"
    if not options.report:
        make_models(options.place, work)
    if options.golden is not None:
        write_golden(options.golden, options.place, work)
        return 0
    kept = work / "results.json"
    if not options.report:
        kept.write_text(json.dumps(measure(options, work), indent=1), encoding="utf-8")
    results = json.loads(kept.read_text("utf-8"))
    print(page.text(results))
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(page.markdown(results), encoding="utf-8")
    if options.plot is not None:
        for dark in (False, True):
            path = options.plot.with_name(f"{options.plot.stem}{'-dark' if dark else ''}.svg")
            path.write_text(chart.svg(results, dark=dark), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
