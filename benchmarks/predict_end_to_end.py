"""``predict`` and ``audit`` against what the cores allow: photos a second, CPU time, memory over time.

    python -m benchmarks.predict_end_to_end --markdown docs/benchmarks/predict.md

takes some ten minutes on two cores that are otherwise idle; its last lines say the load that it found.

Every figure is of a fresh process. A run stands between two measurements of the limit, and its ratio is to their mean,
so that a slow minute hits both. The limit is 1 / (decode and resize + bare inference), each with all cores for itself:
photos decoded by the fastest exact decoder (simplejpeg where it is there, else Pillow) and resized by Pillow, by a
thread for each core; and ONNX Runtime on the model as it was before rewriting, on numbers that lie in memory, at its
best batch, with its own settings. Photos are synthesized JPEG files of 500 x 375 pixels with much detail (110 kB each,
as ImageNet's). The time of ``predict`` is from the first photo's file to the last photo's results: decoding, preparing,
running, describing and writing; the whole grid is computed for each photo, which is more than the bare model's work.
Loading and rewriting the model are not in it, and are said beside it. The weights are random, so that most cells are
sure of something and have a box to describe, and the map of a class has several pieces at most thresholds, each of
which is boxed: with a trained model there is less to write and to measure.

The session of the rewritten model gives the whole grid too: what it takes more than the bare one is in every run, and
no part of the limit. ``audit`` is run with a box in each photo and with labels alone: the difference is MaxBoxAccV2 and
what else is measured of places.
"""

from __future__ import annotations

import argparse
import json
import math
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

from benchmarks.pages import PACKAGES, ROOT, made_by, table, write
from onnx_gapmil.benchmarking.machine import machine

COMMAND = "python -m benchmarks.predict_end_to_end --markdown docs/benchmarks/predict.md"
MODELS = {"resnet50": "ResNet-50", "mobilenetv2": "MobileNetV2"}
BATCHES = (1, 2, 4, 8, 16, 32)
SIDE = 224
#: Of the limit, by the way to run; and the model that it is asked of, where not of both.
WANTED = {"npz": (0.9, ""), "json": (0.9, ""), "audit": (0.9, ""), "pictures": (0.5, "resnet50")}

#: Title, verb and options of each way to run; the first is the one that the target is for.
MODES: dict[str, tuple[str, str, list[str]]] = {
    "npz": ("predict: NPZ and JSON", "predict", ["--no-pictures", "--save", "npz"]),
    "json": ("predict: JSON", "predict", ["--no-pictures"]),
    "batch1": ("predict: NPZ and JSON, batch 1", "predict", ["--no-pictures", "--save", "npz", "--batch", "1"]),
    "pictures": ("predict: pictures, NPZ and JSON", "predict", ["--save", "npz"]),
    "audit": ("audit, a box in each photo", "audit", ["--gallery", "0"]),
    "labels": ("audit, labels alone", "audit", ["--gallery", "0"]),
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


def _labels(photos: Path) -> Path:
    """Labels without boxes."""
    return photos.with_name(f"{photos.name}-labels.jsonl")


def _rewritten(model: Path) -> Path:
    """The model that gives its prediction grid too."""
    return model.with_suffix(".gapmil.onnx")


def make_photos(folder: Path, count: int, different: int = 100) -> None:
    """Write `count` files, of which `different` differ; the others are links to them. And labels, with boxes or not."""
    folder.mkdir()
    with folder.with_suffix(".jsonl").open("w") as boxed, _labels(folder).open("w") as labelled:
        for place in range(count):
            label = {"image": f"{folder.name}/{place:05}.jpg", "label": place % 1000}
            labelled.write(json.dumps(label) + "\n")
            boxed.write(json.dumps({**label, "boxes": [[120, 80, 380, 300]]}) + "\n")
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


def prepared(photos: str) -> dict[str, float]:
    """In this process: photos decoded and resized, and nothing else, by a thread for each core."""
    import io
    from concurrent.futures import ThreadPoolExecutor

    from PIL import Image

    from onnx_gapmil.running.pipeline.tuning import tune_process

    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        decode_jpeg = None
    tune_process()
    size = (math.floor(SIDE / 0.875 * 500 / 375), math.floor(SIDE / 0.875))

    def one(path: Path) -> int:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data)) if decode_jpeg is None else Image.fromarray(decode_jpeg(data))
        return len(np.asarray(image.resize(size, Image.Resampling.BILINEAR)))

    paths = sorted(Path(photos).iterdir())
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, paths[:20]))
        start, cpu = time.perf_counter(), time.process_time()
        list(pool.map(one, paths))
        return {"photos": len(paths), "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def verb(model: str, data: str, count: int, output: str, name: str, options: list[str]) -> dict[str, float]:
    """In this process: the command line, from the first photo to the last result."""
    from onnx_gapmil.cli import main
    from onnx_gapmil.cli.progress import PhotoProgress

    marks: list[tuple[float, float]] = []
    for method in ("__enter__", "__exit__"):
        setattr(PhotoProgress, method, _clocked(getattr(PhotoProgress, method), marks))
    code = main([name, model, data, "-o", output, "--preprocess", "imagenet", *options])
    if code:
        raise SystemExit(f"{name} ended with {code}")
    (start, before), (end, after) = marks
    return {"photos": count, "seconds": end - start, "cpu": after - before}


def _clocked(function: Any, marks: list[tuple[float, float]]) -> Any:
    def clocked(*arguments: Any) -> Any:
        marks.append((time.perf_counter(), time.process_time()))
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
    """Run `bare`, `prepared` or `verb` in a fresh process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.predict_end_to_end",
        "--child",
        kind,
        json.dumps(arguments, default=str),
    ]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    memory, stop = Memory(process.pid), threading.Event()
    watcher = threading.Thread(target=memory.watch, args=(stop,))
    watcher.start()
    out, err = process.communicate()
    stop.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{kind} {arguments} failed:\n{err}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**found, "process": time.perf_counter() - start, "memory": memory}


# --- the table --------------------------------------------------------------------------------------------------


@dataclass
class Limit:
    """What the cores allow: seconds and processor milliseconds a photo, of the bare session and of preparing.

    And of the session of the rewritten model, whose grids are work that the limit has not: no part of it.
    """

    bare: float
    bare_cpu: float
    prepared: float
    prepared_cpu: float
    grid: float
    grid_cpu: float

    @property
    def rate(self) -> float:
        """Photos a second."""
        return 1 / (self.bare + self.prepared)

    @property
    def cpu(self) -> float:
        """Processor milliseconds a photo."""
        return self.bare_cpu + self.prepared_cpu


def limit(model: Path, batch: int, photos: Path, count: int) -> Limit:
    """Both of its parts, each by itself."""
    session, ready = child("bare", model, batch, count), child("prepared", photos)
    grid = child("bare", _rewritten(model), batch, count)
    return Limit(1 / rate(session), cpu(session), 1 / rate(ready), cpu(ready), 1 / rate(grid), cpu(grid))


@dataclass
class Series:
    """One way to run, over the rounds; ratios are those of a round."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    of_limit: list[float] = field(default_factory=list)
    of_limit_cpu: list[float] = field(default_factory=list)
    of_bare: list[float] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    around: list[float] = field(default_factory=list)

    def add(self, found: dict[str, Any], before: Limit, after: Limit) -> None:
        """One round's result, and the limits before and after it."""
        self.rates.append(rate(found))
        self.cpu.append(cpu(found))
        self.of_limit.append(rate(found) / (0.5 * (before.rate + after.rate)))
        self.of_limit_cpu.append(0.5 * (before.cpu + after.cpu) / cpu(found))
        self.of_bare.append(rate(found) * 0.5 * (before.bare + after.bare))
        self.memories.append(found["memory"])
        self.around.append(found["process"] - found["seconds"])


def rate(found: dict[str, Any]) -> float:
    """Photos a second."""
    return float(found["photos"] / found["seconds"])


def cpu(found: dict[str, Any]) -> float:
    """Processor milliseconds a photo."""
    return float(1e3 * found["cpu"] / found["photos"])


def best_batch(model: Path, count: int) -> int:
    """The batch at which the bare session is quickest."""
    rates: dict[int, list[float]] = defaultdict(list)
    for _ in range(2):
        for batch in BATCHES:
            rates[batch].append(rate(child("bare", model, batch, max(count // 10, 2 * batch))))
    best = max(rates, key=lambda batch: max(rates[batch]))
    print(f"  bare session: {', '.join(f'{max(r):.1f}/s at batch {b}' for b, r in rates.items())}; best {best}")
    return best


def measure(
    model: Path, photos: dict[str, Path], modes: list[str], options: argparse.Namespace
) -> tuple[int, list[Limit], dict[str, Series]]:
    """All ways to run, each between two measurements of the limit."""
    batch = best_batch(model, options.photos)
    series: dict[str, Series] = defaultdict(Series)
    limits = [limit(model, batch, photos["npz"], options.photos // 2)]
    for turn in range(options.rounds):
        for mode in modes if turn % 2 == 0 else modes[::-1]:
            title, name, arguments = MODES[mode]
            with tempfile.TemporaryDirectory() as output:
                data = {"audit": photos[mode].with_suffix(".jsonl"), "labels": _labels(photos[mode])}
                of_mode = (data.get(mode, photos[mode]), len(list(photos[mode].iterdir())))
                found = child("verb", model, *of_mode, Path(output) / "out", name, arguments)
            limits.append(limit(model, batch, photos["npz"], options.photos // 2))
            series[mode].add(found, *limits[-2:])
            print(
                f"  round {turn + 1}, {title}: {rate(found):.1f}/s, {series[mode].of_limit[-1]:.3f} of the limit "
                f"{limits[-1].rate:.1f}/s; CPU {cpu(found):.1f} ms, {series[mode].of_limit_cpu[-1]:.3f} of the "
                f"limit's; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    return batch, limits, series


def rows_of(name: str, batch: int, limits: list[Limit], series: dict[str, Series]) -> list[list[str]]:
    """The rows of one model."""
    title = MODELS[name]
    bare, ready, grid = (
        statistics.median(getattr(each, part) for each in limits) for part in ("bare", "prepared", "grid")
    )
    rates = (1 / bare, 1 / ready, statistics.median(each.rate for each in limits), 1 / grid)
    work = (
        statistics.median(getattr(each, part) for each in limits)
        for part in ("bare_cpu", "prepared_cpu", "cpu", "grid_cpu")
    )
    said = (f"bare session, batch {batch}", "decode and resize", "limit", f"rewritten model's session, batch {batch}")
    rows = [
        [title, what, f"{speed:.1f}", *[""] * 4, f"{cost:.1f}", *[""] * 3]
        for what, speed, cost in zip(said, rates, work, strict=True)
    ]
    for mode, found in series.items():
        last = found.memories[-1]
        wanted, only = WANTED.get(mode, (0.0, ""))
        asked = wanted if only in ("", name) else 0.0
        middle = statistics.median(found.of_limit)
        rows.append(
            [
                title,
                MODES[mode][0],
                f"{statistics.median(found.rates):.1f}",
                f"{middle:.3f}",
                f"{min(found.of_limit):.3f} to {max(found.of_limit):.3f}",
                f"{asked}: {'yes' if middle >= asked else 'no'}" if asked else "",
                f"{statistics.median(found.of_bare):.3f}",
                f"{statistics.median(found.cpu):.1f}",
                f"{statistics.median(found.of_limit_cpu):.3f}",
                f"{last.at(0.3):.0f}, {last.at(0.6):.0f}, {last.at(0.95):.0f}",
                f"{statistics.median(found.around):.1f}",
            ]
        )
    return rows


#: A processor's part of the page.
_PART = re.compile(r"<!-- predict: (.*?) -->\n(.*?)<!-- /predict -->", re.DOTALL)
HEADER = [
    "model",
    "run",
    "photos/s",
    "of the limit",
    "least to most",
    "asked for",
    "of bare",
    "CPU ms a photo",
    "limit's CPU of it",
    "MB at 30, 60, 95 %",
    "s around",
]


def page(rows: list[list[str]], options: argparse.Namespace, load: tuple[float, float]) -> list[str]:
    """The page's lines: this processor's part anew, those of others as they were.

    What the cores allow and what a run makes of it are not in proportion from one processor to the next.
    """
    cpu = machine()["cpu"]
    own = [
        f"## {cpu}",
        "",
        *made_by(COMMAND, (*PACKAGES, "pillow", "opencv-python-headless")),
        f"{options.photos} photos ({_fewer(options.photos)} with pictures); medians of {options.rounds} rounds. "
        f"Load of the machine: {load[0]:.1f} at the start, {load[1]:.1f} at the end.",
        "",
        *table(HEADER, rows, numbers_from=2),
        "",
    ]
    text = options.markdown.read_text("utf-8") if options.markdown is not None and options.markdown.exists() else ""
    parts = {name: lines.splitlines() for name, lines in _PART.findall(text)} | {cpu: own}
    return [
        "# predict and audit, end to end",
        "",
        *(__doc__ or "").strip().splitlines()[6:],
        "",
        "*Of the limit* is the limit's photos a second, made one. *Limit's CPU of it* is the same in processor time, "
        "which other work on the machine disturbs less. *Around* is what loading, rewriting and Python's start take "
        "once.",
        "",
        *(line for name in parts for line in (f"<!-- predict: {name} -->", *parts[name], "<!-- /predict -->", "")),
    ]


def _fewer(count: int) -> int:
    """Photos of the runs that draw, which take several times as long."""
    return max(1, count // 5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=400, help="photos in each run (default 400)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="which models")
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=["npz", "pictures", "audit", "labels"], help="which ways to run"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, arguments = options.child[0], json.loads(options.child[1])
        print(json.dumps({"bare": bare, "prepared": prepared, "verb": verb}[kind](*arguments)))
        return 0
    from benchmarks.shapes import build  # with onnx, whose memory is none of a child's
    from onnx_gapmil import Emit, rewrite

    rows: list[list[str]] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        photos = dict.fromkeys(MODES, Path(place) / "photos") | {"pictures": Path(place) / "fewer"}
        make_photos(photos["npz"], options.photos)
        make_photos(photos["pictures"], _fewer(options.photos))
        for name in options.models:
            print(MODELS[name])
            model = Path(place) / f"{name}.onnx"
            model.write_bytes(build(name).SerializeToString())
            rewrite(model, _rewritten(model), emit=Emit(features=False))
            rows += rows_of(name, *measure(model, photos, options.modes, options))
    print("\n".join("  ".join(f"{cell:24}" for cell in row) for row in [HEADER, *rows]))
    print(f"load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")
    write(options.markdown, page(rows, options, (load, os.getloadavg()[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
