"""What the picture of one photo costs: processor time to draw it and to write it, and where that time goes.

Cases are a sample model's scene and a MobileNetV2 of random weights with 1000 named classes on photos of 0.2 and 12
million pixels. The photo is read and the model run beforehand; what is measured is `Classifier.render` and
`save_png`, in processor time of all threads, so that what else the machine does counts for little. Values, classes
and the photo's name differ in every round, so that text is set anew. With ``--before CHECKOUT`` the same pictures are
drawn by another state of the package too, in a process of its own, in turn: before, after, before, after. A ratio is
the median over these rounds.

    git worktree add ../before v0.1.0 && python -m benchmarks.pictures --before ../before
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
from dataclasses import replace
from pathlib import Path
from typing import Any

COMMAND = "python -m benchmarks.pictures --before ../before --markdown docs/benchmarks/pictures.md"
#: Of the time before, what a picture may cost.
WANTED = 1 / 3
#: The steps that take the time, by where they are: file and function.
STEPS = {
    "scores of cells and image": ("scores.py", "__init__"),
    "photo at its two sizes": ("gridmap.py", "__init__"),
    "photo under colours": ("gridmap.py", "tinted"),
    "setting text": ("typesetting.py", "line"),
    "breaking text into lines": ("typesetting.py", "wrapped"),
    "writing the PNG": ("png.py", "save_png"),
}


def work(cases: list[list[str]]) -> None:
    """In a process of its own: draw and write each case when a line is read, and say the times."""
    from onnx_gapmil import Classifier

    try:
        from onnx_gapmil.show.drawing.png import save_png
    except ImportError:  # before
        from onnx_gapmil.show.drawing.pictures import save_png  # type: ignore[attr-defined,no-redef]

    ready: list[tuple[Any, Any]] = []
    known: dict[str, Any] = {}
    for model, photo, names in cases:
        if model not in known:
            known[model] = Classifier(model, names=names or None)
        ready.append((known[model], known[model].predict(photo)))
    print("ready", flush=True)
    target = Path(tempfile.mkdtemp()) / "picture.png"
    for turn, _ in enumerate(sys.stdin):
        found = []
        for classifier, given in ready:
            prediction = varied(given, turn)
            start = time.process_time()
            picture = classifier.render(prediction)
            drawn = time.process_time()
            save_png(picture, target)
            found.append((drawn - start, time.process_time() - drawn, target.stat().st_size, picture.shape[0]))
        print(json.dumps(found), flush=True)


def varied(prediction: Any, turn: int) -> Any:
    """The same photo with other classes, values and name, so that no text of the turn before is on the picture."""
    import numpy as np

    (head,) = prediction.heads
    moved = np.roll(head.grid, turn, axis=0)
    grid = moved + np.random.default_rng(turn).normal(0, 0.3, moved.shape).astype(moved.dtype)
    head = replace(head, grid=grid, logits=grid.mean((1, 2)))
    return replace(prediction, heads=(head,), image=Path(f"photo_{turn}.jpg"))


class Worker:
    """A process that draws by the package of one checkout."""

    def __init__(self, checkout: Path, cases: list[list[str]]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
        command = [sys.executable, str(Path(__file__).resolve()), "--work", json.dumps(cases)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=checkout.resolve()
        )
        self._read()

    def draw(self) -> list[list[float]]:
        """Of each case: seconds to draw, seconds to write, bytes, rows."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        found: list[list[float]] = json.loads(self._read())
        return found

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process that draws ended")
        return line


def make_cases(folder: Path, root: Path) -> dict[str, list[str]]:
    """Model, photo and names of each case, by its title."""
    import onnx

    from benchmarks import shapes
    from benchmarks.predict_end_to_end import photo

    model, names = folder / "mobilenetv2.onnx", folder / "names.txt"
    onnx.save(shapes.build("mobilenetv2"), model)
    names.write_text("".join(f"thing of kind {index}, synonym\n" for index in range(1000)), encoding="utf-8")
    found = {
        "sample model, 12 × 12 cells, 96 × 96 pixels": [
            str(root / "sample_models/digits_torch_legacy.onnx"),
            str(root / "sample_models/scenes/scene_06.png"),
            "",
        ]
    }
    for width, height in ((500, 375), (4000, 3000)):
        path = folder / f"{width}.jpg"
        photo(1, width, height).save(path, quality=92)
        title = f"MobileNetV2, 1000 classes, 7 × 7 cells, {width} × {height} pixels"
        found[title] = [str(model), str(path), str(names)]
    return found


def profile(cases: list[list[str]], times: int = 10) -> dict[str, float]:
    """Seconds of a picture in each of the steps, over all cases, by the profiler, which slows small steps down."""
    import cProfile
    import pstats

    from onnx_gapmil import Classifier
    from onnx_gapmil.show.drawing.png import save_png

    ready = []
    for model, photo, names in cases:
        classifier = Classifier(model, names=names or None)
        ready.append((classifier, classifier.predict(photo)))
    recorder = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(times + 1):
            for classifier, prediction in ready:
                if turn:
                    recorder.enable()
                save_png(classifier.render(varied(prediction, turn)), Path(folder) / "picture.png")
                recorder.disable()
    stats: Any = pstats.Stats(recorder).stats  # type: ignore[attr-defined]
    found = {}
    for title, (file, function) in STEPS.items():
        spent = [entry[3] for key, entry in stats.items() if Path(key[0]).name == file and key[2] == function]
        found[title] = sum(spent) / times / len(ready)
    return found


def report(
    titles: list[str], after: list[Any], before: list[Any] | None, steps: dict[str, float]
) -> tuple[list[str], bool]:
    """The page's lines, and whether the target is met."""
    from benchmarks.pages import made_by, table

    lines = ["# What a picture costs", "", *made_by(COMMAND), "", *(__doc__ or "").split("\n\n")[1:2], ""]
    heads = ["picture", "draw", "write", "both", "file"]
    heads += ["both before", "ratio", "reached"] if before else []
    rows, met = [], True
    for place, title in enumerate(titles):
        mine = [entry[place] for entry in after]
        drawn, written = (statistics.median(entry[part] for entry in mine) for part in (0, 1))
        row = [title, _ms(drawn), _ms(written), _ms(drawn + written), f"{mine[0][2] / 1024:.0f} KiB"]
        if before:
            theirs = [entry[place] for entry in before]
            ratio = statistics.median((a[0] + a[1]) / (b[0] + b[1]) for a, b in zip(mine, theirs, strict=True))
            met = met and ratio <= WANTED
            reached = "yes" if ratio <= WANTED else "no"
            row += [_ms(statistics.median(b[0] + b[1] for b in theirs)), f"{ratio:.2f}", reached]
        rows.append(row)
    lines += table(heads, rows)
    lines += ["", "Where the time goes, by the profiler, mean of these pictures:", ""]
    return lines + table(["step", "of a picture"], [[title, _ms(spent)] for title, spent in steps.items()]), met


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.1f} ms"


def main() -> int:
    """Measure, print, and fail where a picture costs more than a third of what it did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another state of the package to compare with")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(json.loads(arguments.work))
        return 0
    from benchmarks.pages import ROOT, write

    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder), ROOT)
        checkouts = [ROOT, *([arguments.before] if arguments.before else [])]
        workers = [Worker(checkout, list(cases.values())) for checkout in checkouts]
        for worker in workers:
            worker.draw()  # the first opens fonts and fills caches
        rounds = [[worker.draw() for worker in workers] for _ in range(arguments.rounds)]
        for worker in workers:
            worker.close()
        before = [entry[1] for entry in rounds] if arguments.before else None
        steps = profile(list(cases.values()))
        lines, met = report(list(cases), [entry[0] for entry in rounds], before, steps)
    print("\n".join(lines))
    write(arguments.markdown, lines)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
