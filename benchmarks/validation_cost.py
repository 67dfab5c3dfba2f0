"""What validation costs, and whether a killed comparison ends the same: ``python -m benchmarks.validation_cost``.

1. `compare` of two models against their two audits without boxes, on the same images, taking turns;
2. `check` on results that exist, as a command, start included;
3. with ``--kills N``: a comparison killed at N random moments, each time gone on with, against an unbroken one.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from onnx_gapmil import audit, compare
from tests.helpers.compared import changed_model
from tests.helpers.scene_data import MODEL
from tools.readme import make_scenes

ROUNDS = 5


def timed(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def without_boxes(scenes: Path) -> Path:
    """A label file of the same photos that says nothing of places."""
    entries = json.loads((scenes / "scenes.json").read_text("utf-8"))
    path = scenes.parent / "plain.jsonl"
    lines = [json.dumps({"image": str(scenes / entry["image"]), "label": entry["label"]}) for entry in entries]
    path.write_text("\n".join(lines), "utf-8")
    return path


def cost(folder: Path, old: Path, new: Path, data: Path, labels: Path) -> None:
    """Two audits and one comparison, in turn."""
    pairs: list[tuple[float, float]] = []
    for turn in range(ROUNDS):
        outputs = [folder / f"{name}{turn}" for name in ("old", "new", "compare")]

        def audits(outputs: list[Path] = outputs) -> None:
            for model, output in zip((old, new), outputs, strict=False):
                audit(model, data, output, labels=labels, gallery=0)

        def comparison(outputs: list[Path] = outputs) -> None:
            compare(old, new, data, outputs[2], labels=labels, gallery=0)

        audits_took, comparison_took = timed(audits), timed(comparison)
        pairs.append((audits_took, comparison_took))
    first, second = (statistics.median(part) for part in zip(*pairs, strict=True))
    ratio = statistics.median(took / both for both, took in pairs)
    print(f"two audits {first:.2f} s, compare {second:.2f} s: {ratio:.2f} times (median of {ROUNDS}, in turn)")


def check_time(folder: Path, model: Path) -> None:
    """`check` as a command on results that exist."""
    policy = folder / "gapmil.toml"
    policy.write_text(
        'schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.1\nbound = "lower"\n'
        '[[require]]\nmetric = "compare.accuracy.difference"\nslice = "worst:class"\nmin = -1\n'
    )
    command = [sys.executable, "-m", "onnx_gapmil", "check", str(model), "--policy", str(policy)]
    command += ["--audit", str(folder / "new0"), "--compare", str(folder / "compare0")]
    took = [timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(ROUNDS)]
    print(f"check on existing results {statistics.median(took):.2f} s, start included")


def kills(folder: Path, old: Path, new: Path, data: Path, count: int) -> None:
    """A comparison killed at random moments until so many have hit it."""
    rng = random.Random(7)  # noqa: S311 - moments, not secrets
    began = time.perf_counter()
    command = [sys.executable, "-m", "onnx_gapmil", "compare", str(old), str(new), str(data), "--gallery", "6", "-o"]
    subprocess.run([*command, str(folder / "whole")], check=True, capture_output=True)
    length = time.perf_counter() - began
    whole = {path.name: path.read_bytes() for path in (folder / "whole").iterdir()}
    hit = runs = 0
    while hit < count:
        output = folder / "killed"
        shutil.rmtree(output, ignore_errors=True)
        while True:
            child = subprocess.Popen([*command, str(output)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                child.wait(rng.uniform(0.3, 1.0) * length)
                break
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                hit += 1
        runs += 1
        assert child.returncode == 0
        assert {path.name: path.read_bytes() for path in output.iterdir()} == whole
    print(f"{hit} kills of {runs} comparisons: every result equal to the unbroken one, byte for byte")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_scenes(folder / "scenes")
        new = changed_model(folder / "model")
        cost(folder, MODEL, new, folder / "scenes", without_boxes(folder / "scenes"))
        check_time(folder, new)
        if chosen.kills:
            kills(folder, MODEL, new, folder / "scenes", chosen.kills)


if __name__ == "__main__":
    main()
