"""``predict`` end to end against the bare ONNX Runtime session: photos a second, CPU time, memory over time.

Every figure is of a fresh process, and the processes take turns, so that a slow minute hits all of them. Photos are
synthesized JPEG files of 500 x 375 pixels with much detail (110 kB each, as ImageNet's). The bare session runs the
model as it was before rewriting, on numbers that lie in memory, at its best batch, with ONNX Runtime's own settings;
the time of ``predict`` is from the first photo's file to the last photo's results: decoding, preparing, running,
describing and writing. Loading and rewriting the model are not in it, and are said beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python benchmarks/predict_end_to_end.py --markdown docs/benchmarks/predict.md"
MODELS = {"resnet50": "ResNet-50", "mobilenetv2": "MobileNetV2"}
BATCHES = (1, 2, 4, 8, 16, 32)
SIDE = 224
WANTED = 0.9
_SPEED = re.compile(r"(\d+) photos in ([\d.]+) s")

#: Title and options of each way to call ``predict``; the first is the one that the target is for.
MODES: dict[str, tuple[str, list[str]]] = {
    "npz": ("NPZ and JSON", ["--no-pictures", "--save", "npz"]),
    "json": ("JSON", ["--no-pictures"]),
    "batch1": ("NPZ and JSON, batch 1", ["--no-pictures", "--save", "npz", "--batch", "1"]),
    "pictures": ("pictures, NPZ and JSON", ["--save", "npz"]),
}


def photo(seed: int, width: int = 500, height: int = 375) -> Any:
    """A photo-like image: noise whose power falls with frequency as in photos, and sharp outlines on it."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    planes = []
    for share in (1.0, 0.4, 0.4, 0.4):
        phase = np.exp(2j * np.pi * rng.random(frequency.shape))
        planes.append(share * np.fft.irfft2(phase / frequency**1.1, (height, width)))
    colours = np.stack([planes[0] + plane for plane in planes[1:]], axis=-1)
    colours = (colours - colours.mean((0, 1))) / colours.std((0, 1))
    image = Image.fromarray(np.clip(120 + 55 * colours, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, radius = (int(rng.integers(0, most)) for most in (width, height, 60))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=tuple(rng.integers(0, 255, 3)), width=3)
    return image


def make_photos(folder: Path, count: int, different: int = 100) -> None:
    """Write `count` files, of which `different` differ; the others are links to them."""
    folder.mkdir()
    for place in range(count):
        path = folder / f"{place:05}.jpg"
        if place < different:
            photo(place).save(path, quality=90)
        else:
            os.link(folder / f"{place % different:05}.jpg", path)


# --- the processes ----------------------------------------------------------------------------------------------


def bare(model: str, batch: int, count: int) -> dict[str, float]:
    """In this process: the model alone, on random numbers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((batch, 3, SIDE, SIDE)).astype(np.float32)
    feed = {session.get_inputs()[0].name: images}
    session.run(None, feed)
    runs = max(1, count // batch)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(runs):
        session.run(None, feed)
    return {
        "photos": runs * batch,
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
    }


def predict(model: str, photos: str, output: str, options: list[str]) -> dict[str, float]:
    """In this process: the command line, whose own clock runs from the first photo to the last result."""
    from onnx_gapmil.cli import main
    from onnx_gapmil.cli.progress import PhotoProgress

    cpu: list[float] = []
    for name in ("__enter__", "__exit__"):
        setattr(PhotoProgress, name, _clocked(getattr(PhotoProgress, name), cpu))
    code = main(["predict", model, photos, "-o", output, "--preprocess", "imagenet", *options])
    assert code == 0, code
    return {"cpu": cpu[1] - cpu[0]}


def _clocked(function: Any, marks: list[float]) -> Any:
    def clocked(*arguments: Any) -> Any:
        marks.append(time.process_time())
        return function(*arguments)

    return clocked


@dataclass
class Memory:
    """Resident memory of a process over time, in MB."""

    pid: int
    samples: list[float] = field(default_factory=list)

    def watch(self, stop: threading.Event) -> None:
        """Sample until told to stop or the process is gone."""
        page = os.sysconf("SC_PAGE_SIZE")
        while not stop.wait(0.2):
            try:
                pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                return
            self.samples.append(pages * page / 1e6)

    def at(self, share: float) -> float:
        """When that share of the run was over: the median of the samples around."""
        centre = int(share * (len(self.samples) - 1))
        return statistics.median(self.samples[max(0, centre - 3) : centre + 4] or [float("nan")])


def child(kind: str, *arguments: object) -> dict[str, Any]:
    """Run `bare` or `predict` in a fresh process."""
    command = [sys.executable, __file__, "--child", kind, json.dumps(arguments, default=str)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    memory, stop = Memory(process.pid), threading.Event()
    watcher = threading.Thread(target=memory.watch, args=(stop,))
    watcher.start()
    out, err = process.communicate()
    stop.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{kind} {arguments} failed:\n{err}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    if said := _SPEED.search(err):
        found |= {"photos": int(said[1]), "seconds": float(said[2])}
    return {**found, "process": time.perf_counter() - start, "memory": memory}


# --- the table --------------------------------------------------------------------------------------------------


@dataclass
class Series:
    """One way to run, over the rounds."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    around: list[float] = field(default_factory=list)

    def add(self, found: dict[str, Any]) -> None:
        """One round's result."""
        self.rates.append(found["photos"] / found["seconds"])
        self.cpu.append(1e3 * found["cpu"] / found["photos"])
        self.memories.append(found["memory"])
        self.around.append(found["process"] - found["seconds"])


def best_batch(model: Path, count: int) -> int:
    """The batch at which the bare session is quickest."""
    rates: dict[int, list[float]] = defaultdict(list)
    for _ in range(2):
        for batch in BATCHES:
            found = child("bare", model, batch, max(count // 10, 2 * batch))
            rates[batch].append(found["photos"] / found["seconds"])
    best = max(rates, key=lambda batch: max(rates[batch]))
    print(f"  bare session: {', '.join(f'{max(r):.1f}/s at batch {b}' for b, r in rates.items())}; best {best}")
    return best


def measure(model: Path, photos: Path, modes: list[str], options: argparse.Namespace) -> tuple[int, dict[str, Series]]:
    """All ways to run, taking turns."""
    batch = best_batch(model, options.photos)
    series: dict[str, Series] = defaultdict(Series)
    for turn in range(options.rounds):
        steps = ["bare", *modes]
        for step in steps if turn % 2 == 0 else steps[::-1]:
            if step == "bare":
                found = child("bare", model, batch, options.photos)
            else:
                with tempfile.TemporaryDirectory() as output:
                    found = child("predict", model, photos, Path(output) / "out", MODES[step][1])
            series[step].add(found)
            print(f"  round {turn + 1}, {step}: {series[step].rates[-1]:.1f}/s, {series[step].cpu[-1]:.1f} ms CPU")
    return batch, series


def rows_of(title: str, batch: int, series: dict[str, Series]) -> list[list[str]]:
    """The rows of one model: ratios are medians of the rounds' own ratios."""
    reference = series["bare"]
    rows = []
    for step, found in series.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(found.rates, reference.rates, strict=True))
        work = statistics.median(theirs / mine for mine, theirs in zip(found.cpu, reference.cpu, strict=True))
        name = f"bare session, batch {batch}" if step == "bare" else f"predict: {MODES[step][0]}"
        last = found.memories[-1]
        memory = f"{last.at(0.3):.0f}, {last.at(0.6):.0f}, {last.at(0.95):.0f}" if step != "bare" else ""
        around = f"{statistics.median(found.around):.1f}" if step != "bare" else ""
        speed, cost = f"{statistics.median(found.rates):.1f}", f"{statistics.median(found.cpu):.1f}"
        rows.append([title, name, speed, f"{ratio:.3f}", cost, f"{work:.3f}", memory, around])
    return rows


HEADER = [
    "model",
    "run",
    "photos/s",
    "of bare",
    "CPU ms a photo",
    "bare's CPU of it",
    "MB at 30, 60, 95 %",
    "s around",
]


def page(rows: list[list[str]], options: argparse.Namespace) -> list[str]:
    """The page's lines."""
    from pages import PACKAGES, made_by, table

    return [
        "# predict, end to end",
        "",
        *made_by(COMMAND, (*PACKAGES, "pillow", "opencv-python-headless")),
        f"{options.photos} photos; medians of {options.rounds} rounds.",
        "",
        *(__doc__ or "").strip().splitlines()[2:],
        "",
        "*Of bare* is the bare session's photos a second, made one; asked for is at least "
        f"{WANTED} with NPZ and JSON for ResNet-50. *Bare's CPU of it* is the same in processor time, which other work "
        "on the machine disturbs less. *Around* is what loading, rewriting and Python's start take once.",
        "",
        *table(HEADER, rows, numbers_from=2),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1000, help="photos in each run (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="which models")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="which ways to run predict")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, arguments = options.child[0], json.loads(options.child[1])
        print(json.dumps({"bare": bare, "predict": predict}[kind](*arguments)))
        return 0
    from pages import write
    from shapes import build

    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        make_photos(photos, options.photos)
        for name in options.models:
            print(MODELS[name])
            model = Path(place) / f"{name}.onnx"
            model.write_bytes(build(name).SerializeToString())
            rows += rows_of(MODELS[name], *measure(model, photos, options.modes, options))
    print("\n".join("  ".join(f"{cell:24}" for cell in row) for row in [HEADER, *rows]))
    write(options.markdown, page(rows, options))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
