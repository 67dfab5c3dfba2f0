"""Kill `rewrite`, `repool`, `predict`, `audit` and `compare` at random, go on, and compare with an undisturbed run.

    python -m tools.kills --seed 1 --kills 100

Each verb is started again and again in one place and killed (SIGKILL) after a random time. Whenever a start comes to
its end all the same, and once at last, what lies there has to equal, byte for byte, what an undisturbed run writes,
with nothing else beside it; the next start then finds an empty place.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

SAMPLES = Path(__file__).resolve().parents[1] / "sample_models"


def lay_out(folder: Path) -> None:
    """Two models, their sidecars, photos and labels."""
    for model, stem in (("m", "digits_torch_legacy"), ("n", "digits_torch_dynamo")):
        for ending in ("onnx", "labels.txt", "preprocess.json"):
            shutil.copy(SAMPLES / f"{stem}.{ending}", folder / f"{model}.{ending}")
    rows = ["image,label"]
    (folder / "data").mkdir()
    for copy in range(4):
        for scene in sorted((SAMPLES / "scenes").glob("scene_*.png")):
            shutil.copy(scene, folder / "data" / f"{copy:02d}_{scene.name}")
            rows.append(f"{copy:02d}_{scene.name},{copy % 10}")
    (folder / "data" / "labels.csv").write_text("\n".join(rows) + "\n")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; results name the folder itself, which is another one in each run."""
    here = str(folder.resolve()).encode()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes().replace(here, b"HERE") for path in files}


def run(arguments: list[str], folder: Path, seconds: float | None = None) -> bool:
    """Run a verb to its end, or kill it after so many seconds; gives whether it ended by itself.

    Raises:
        RuntimeError: it ended by itself, with another exit code than 0.
    """
    command = [sys.executable, "-m", "onnx_gapmil", *arguments]
    with subprocess.Popen(  # noqa: S603  (this very program)
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return False
    if process.returncode:
        raise RuntimeError(f"{arguments[0]}: exit {process.returncode}: {errors.decode(errors='replace')}")
    return True


def kill_often(arguments: list[str], kills: int, random: Random) -> tuple[int, int, list[str]]:
    """Kill a verb so often; gives the starts, the times that it came to its end, and the files that then differed."""
    with tempfile.TemporaryDirectory() as undisturbed:
        lay_out(Path(undisturbed))
        start = time.monotonic()
        run(arguments, Path(undisturbed))
        whole = time.monotonic() - start
        expected = contents(Path(undisturbed))
    starts = killed = ends = 0
    differing: set[str] = set()
    while killed < kills:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            lay_out(folder)
            ended = False
            while not ended:
                # The last start of all is left to end.
                ended = run(arguments, folder, random.uniform(0, 1.1 * whole) if killed < kills else None)
                starts += 1
                killed += not ended
            ends += 1
            found = contents(folder)
            differing |= {name for name in {**found, **expected} if found.get(name) != expected.get(name)}
    return starts, ends, sorted(differing)


def main() -> int:
    """Kill, go on, compare; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--verb", help="this one alone")
    asked = parser.parse_args()
    verbs = {
        "rewrite": ["rewrite", "m.onnx"],
        "repool": ["repool", "m.onnx", "--with", "lse"],
        "predict": ["predict", "m.onnx", "data", "-o", "out", "--save", "npz", "--batch", "4"],
        "audit": ["audit", "m.onnx", "data", "-o", "out", "--batch", "4", "--label-offset", "0"],
        "compare": ["compare", "m.onnx", "n.onnx", "data", "-o", "out", "--batch", "4"],
    }
    failed = 0
    for verb, arguments in verbs.items():
        if asked.verb not in (None, verb):
            continue
        random = Random(f"{asked.seed}:{verb}")  # noqa: S311  (replayable, and no secret)
        starts, ends, differing = kill_often(arguments, asked.kills, random)
        failed += bool(differing)
        result = f"differing: {', '.join(differing[:9])}" if differing else "equal"
        print(f"{verb}: {asked.kills} kills of {starts} starts, {ends} times to the end: {result}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
