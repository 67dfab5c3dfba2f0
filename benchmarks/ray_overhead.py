"""What a run on Ray costs beside one process on the same cores: ``audit --ray local`` against ``audit``.

Three ways in turn, on all cores that this process may use: one process; one worker with all cores; a worker for each
core. Each audits a few images, which shows what starting and ending takes, and all of them; the difference of the two,
for each image more, is what the work itself takes. Figures are medians over the rounds, ratios those of the same
round. Results have to be equal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.pages import PACKAGES, made_by, table, write
from onnx_gapmil.ort.cpu import thread_count
from tests.helpers.scene_data import MODEL, write_scenes

COMMAND = "python -m benchmarks.ray_overhead --markdown docs/benchmarks/ray.md"
SHARED = Path(__file__).resolve().parents[2] / "shared"
HEADER = ["model", "images", "way", "ms an image", "of one process", "from-to", "CPU ms an image"]
HEADER += ["start and end, s", "start and end, CPU s"]
#: So many that all workers have a shard, and are started.
_FEW = 16 * thread_count()
#: Seconds between two looks at the processes.
_LOOK = 0.2


def ways() -> dict[str, list[str]]:
    """Options by way."""
    cores = thread_count()
    return {
        "one process": [],
        f"Ray, a worker of {cores} cores": ["--ray", "local"],
        f"Ray, {cores} workers of a core": ["--ray", "local", "--ray-cores", "1"],
    }


def data_sets(folder: Path, images: int, shared: Path) -> dict[str, tuple[Path, Path, Path]]:
    """By name: model, a few images, all images."""
    found: dict[str, tuple[Path, Path, Path]] = {}
    few, many = (write_scenes(folder / f"digits{count}", copies=count // 8) for count in (_FEW, images))
    found["digits (96 x 96)"] = (MODEL, few, many)
    model = shared / "real" / "models" / "in1k_mobilenetv2_100_224_tflite_fp32.onnx"
    if model.is_file():
        photos = shared / "real" / "images" / "ilsvrc_val_227"
        entries = json.loads((photos / "annotations.json").read_text("utf-8"))
        for name, count in (("few", _FEW), ("many", images)):
            place = folder / f"photos_{name}"
            place.mkdir()
            lines = []
            for turn in range(count):
                entry = entries[turn % len(entries)]
                image = f"{turn:06}_{entry['file']}"
                (place / image).symlink_to(photos / entry["file"])
                lines.append({"image": str(image), "label": entry["label"], "boxes": entry["boxes_227_xyxy"]})
            (place / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        found["MobileNetV2 (224 x 224)"] = (
            model,
            folder / "photos_few" / "labels.jsonl",
            folder / "photos_many" / "labels.jsonl",
        )
    return found


def timed(model: Path, data: Path, output: Path, options: list[str]) -> tuple[float, float]:
    """Seconds of a command, and of the processor in it and in all processes that it started."""
    command = [sys.executable, "-m", "onnx_gapmil", "audit", model, data, "-o", output, "--gallery", "0", *options]
    mark = f"GAPMIL_BENCHMARK={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    spent: dict[int, float] = {}
    start = time.perf_counter()
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, name: value},
    ) as process:
        while process.poll() is None:
            sample(mark.encode(), spent)
            time.sleep(_LOOK)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return time.perf_counter() - start, sum(spent.values())


def sample(mark: bytes, spent: dict[int, float]) -> None:
    """Processor seconds so far of each process with the mark in its environment: Ray's are nobody's children."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if int(place.name) in spent or mark in (place / "environ").read_bytes():
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                spent[int(place.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(name: str, place: tuple[Path, Path, Path], folder: Path, images: int, rounds: int) -> list[list[str]]:
    """A row for each way."""
    model, few, many = place
    start: dict[str, list[float]] = {way: [] for way in ways()}
    each: dict[str, list[float]] = {way: [] for way in ways()}
    cpu: dict[str, list[float]] = {way: [] for way in ways()}
    start_cpu: dict[str, list[float]] = {way: [] for way in ways()}
    for turn in range(rounds):
        summaries = set()
        for place_, (way, options) in enumerate(ways().items()):
            out = folder / f"{turn}-{place_}"
            short, short_cpu = timed(model, few, out / "few", options)
            long, long_cpu = timed(model, many, out / "many", options)
            more = images - _FEW
            start[way].append(short - _FEW * (long - short) / more)
            each[way].append(1e3 * (long - short) / more)
            cpu[way].append(1e3 * (long_cpu - short_cpu) / more)
            start_cpu[way].append(short_cpu - _FEW * (long_cpu - short_cpu) / more)
            summaries.add((out / "many" / "summary.json").read_text("utf-8"))
        assert len(summaries) == 1, "the summaries differ"
        print(f"{name}: round {turn + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    one = next(iter(ways()))
    rows = []
    for way in ways():
        ratios = [mine / theirs for mine, theirs in zip(each[way], each[one], strict=True)]
        rows.append(
            [
                name,
                f"{images:,}",
                way,
                f"{statistics.median(each[way]):.2f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f}-{max(ratios):.2f}",
                f"{statistics.median(cpu[way]):.2f}",
                f"{statistics.median(start[way]):.1f}",
                f"{statistics.median(start_cpu[way]):.1f}",
            ]
        )
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=SHARED, help="where real models and photos are")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    rows: list[list[str]] = []
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        for name, place in data_sets(Path(folder), options.images, options.shared).items():
            with tempfile.TemporaryDirectory() as results:
                rows += measured(name, place, Path(results), options.images, options.rounds)
            loads.append(os.getloadavg()[0])
    said = f"Load of the machine while it ran: {min(loads):.1f} to {max(loads):.1f} on {thread_count()} cores."
    found = [*table(HEADER, rows, numbers_from=3), "", said]
    print("\n".join(found))
    told = "\n".join(__doc__.splitlines()[2:]) if __doc__ else ""
    intro = ["# What a run on Ray costs", "", *made_by(COMMAND, (*PACKAGES, "ray")), "", told.strip(), ""]
    write(options.markdown, [*intro, *found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
