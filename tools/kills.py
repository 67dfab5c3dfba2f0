"""Kill `rewrite`, `predict` and `audit` at random moments, go on, and compare with a run that nobody disturbed.

    python -m tools.kills --seed 1 --kills 100

Each verb is started again and again in one place and killed (SIGKILL) after a random time; at last it is left to end.
What lies there then has to equal, byte for byte, what an undisturbed run writes, with nothing else beside it.
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
    """A model, its sidecars, photos and labels."""
    for ending in ("onnx", "labels.txt", "preprocess.json"):
        shutil.copy(SAMPLES / f"digits_torch_legacy.{ending}", folder / f"m.{ending}")
    rows = ["image,label"]
    (folder / "data").mkdir()
    for copy in range(12):
        for scene in sorted((SAMPLES / "scenes").glob("scene_*.png")):
            shutil.copy(scene, folder / "data" / f"{copy:02d}_{scene.name}")
            rows.append(f"{copy:02d}_{scene.name},{copy % 10}")
    (folder / "data" / "labels.csv").write_text("\n".join(rows) + "\n")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; results name the folder itself, which is another one in each run."""
    here = str(folder.resolve()).encode()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes().replace(here, b"HERE") for path in files}


def kill_often(arguments: list[str], folder: Path, kills: int, random: Random) -> tuple[int, float]:
    """Kill a verb so often; gives how often it had ended before, and how long an undisturbed run takes."""
    command = [sys.executable, "-m", "onnx_gapmil", *arguments]
    start = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603  (this very program)
    whole = time.monotonic() - start
    ended = 0
    for _ in range(kills):
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
            try:
                process.wait(random.uniform(0, 1.1 * whole))
                ended += 1
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
    return ended, whole


def main() -> int:
    """Kill, go on, compare; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--verb", help="this one alone")
    asked = parser.parse_args()
    verbs = {
        "rewrite": ["rewrite", "m.onnx"],
        "predict": ["predict", "m.onnx", "data", "-o", "out", "--save", "npz", "--batch", "4"],
        "audit": ["audit", "m.onnx", "data", "-o", "out", "--batch", "4", "--label-offset", "0"],
    }
    failed = 0
    for verb, arguments in verbs.items():
        if asked.verb not in (None, verb):
            continue
        random = Random(f"{asked.seed}:{verb}")  # noqa: S311  (replayable, and no secret)
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            broken, whole = Path(one), Path(other)
            for folder in (broken, whole):
                lay_out(folder)
            command = [sys.executable, "-m", "onnx_gapmil", *arguments]
            subprocess.run(command, cwd=whole, check=True, capture_output=True)  # noqa: S603
            ended, seconds = kill_often(arguments, broken, asked.kills, random)
            subprocess.run(command, cwd=broken, check=True, capture_output=True)  # noqa: S603
            first, second = contents(broken), contents(whole)
            differing = sorted(name for name in {**first, **second} if first.get(name) != second.get(name))
            failed += bool(differing)
            print(
                f"{verb}: {asked.kills - ended} kills of {asked.kills} starts ({seconds:.1f} s each), "
                f"{'equal' if not differing else 'differing: ' + ', '.join(differing[:9])}",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
