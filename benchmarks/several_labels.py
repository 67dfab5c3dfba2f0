"""Digit scenes labelled with all of their digits: aggregators calibrated, and heads fitted under each of them.

`sample_models/digits_torch_legacy.onnx` was trained by one label a scene. It gets scenes that it never saw, labelled
with all of their digits, half to fit by and half to judge by, and each fit is judged as ``repool --fit`` does it: mean
average precision over all digits against the vendor's own logits, paired by scene.

``--rows FILE`` keeps what each fit found as JSON lines; a run that was stopped goes on from there. ``--markdown FILE``
writes the table into that page, between its marks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from benchmarks import pages

COMMAND = "python -m benchmarks.several_labels --markdown docs/repool.md"
MODEL = "digits_torch_legacy.onnx"
SEED, SCENES = 21, 1200
FITS = (
    "mean", "max", "lse", "softmax_weighted", "topk=0.05", "topk=0.2", "mix",
    "head", "head:max", "head:lse", "head:softmax_weighted", "head:topk=0.05", "head:topk=0.2",
)  # fmt: skip
MARKS = ("<!-- several labels -->", "<!-- /several labels -->")


def write_scenes(folder: Path, scenes: int) -> Path:
    """Scenes as PNG with a JSON-lines file of all their digits, which is returned."""
    from sample_models.scenes import iter_scenes

    lines = []
    for number, scene in enumerate(iter_scenes("held_out", SEED, scenes)):
        name = f"scene_{number:04d}.png"
        cv2.imwrite(str(folder / name), scene.image[:, :, ::-1])
        lines.append(json.dumps({"image": name, "labels": sorted(scene.present)}))
    path = folder / "scenes.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def fitted(data: Path, fit: str) -> dict[str, Any]:
    """What ``repool --fit FIT --thresholds 0.5 --force`` says of one fit; the model is not kept."""
    from onnx_gapmil import fit_pool

    with tempfile.TemporaryDirectory() as folder:
        model = pages.ROOT / "sample_models" / MODEL
        return fit_pool(model, data, fit, Path(folder) / "m.onnx", thresholds=0.5, force=True).to_json()


def difference(found: Mapping[str, Any], old: str) -> str:
    """The mean average precision of what is fitted less that of another, in points, with its interval."""
    entry = next(
        row
        for row in found["held_out"]["differences"]
        if (row["figure"], row["new"], row["old"]) == ("mean_average_precision", "fitted", old)
    )
    low, high = (100 * value for value in entry["interval"])
    return f"{100 * entry['value'] + 0.0:+.2f} [{low:+.2f} to {high:+.2f}]"


def row_of(fit: str, held_out: Mapping[str, Any], which: str, found: Mapping[str, Any] | None) -> list[str]:
    """One row of the table."""
    figures = held_out[which]
    under = f"{difference(found, 'calibrated')} ({found['under']})" if found is not None else ""
    return [
        fit,
        f"{100 * figures['mean_average_precision']:.2f}",
        difference(found, "vendor") if found is not None else "",
        under,
        f"{100 * figures['accuracy']:.1f}",
        f"{figures['log_likelihood']:.3f}",
    ]


def table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The vendor first, then each fit."""
    held_out = next(iter(found.values()))["held_out"]
    heads = [
        f"{held_out['images']} scenes", "mAP", "less the vendor's", "less calibrated only", "whole set right",
        "log-likelihood",
    ]  # fmt: skip
    rows = [row_of("vendor", held_out, "vendor", None)]
    for fit, own in found.items():
        rows.append(row_of(f"`{fit}`", own["held_out"], "fitted", own))
    return pages.table(heads, rows)


def page(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What stands between the marks."""
    first = next(iter(found.values()))
    return [
        *pages.made_by(COMMAND),
        "",
        f"{first['data']['images']:,} scenes, {first['data']['fitted']} to fit by; mean average precision over "
        f"{first['held_out']['classes']} digits, in percent, and differences in points with paired 95 % intervals.",
        "",
        *table(found),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"how many (default {SCENES})")
    parser.add_argument("--rows", type=Path, help="keep what each fit found, and go on from there")
    parser.add_argument("--markdown", type=Path, help="write the table into this page, between its marks")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if options.rows is not None and options.rows.is_file():
        entries = [json.loads(line) for line in options.rows.read_text("utf-8").splitlines()]
        found = {entry["fit"]: entry["found"] for entry in entries if entry["scenes"] == options.scenes}
    with tempfile.TemporaryDirectory() as folder:
        data = write_scenes(Path(folder), options.scenes)
        for fit in FITS:
            if fit in found:
                continue
            print(f"{fit} ...", file=sys.stderr, flush=True)
            found[fit] = fitted(data, fit)
            if options.rows is not None:
                with options.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"fit": fit, "scenes": options.scenes, "found": found[fit]}) + "\n")
    lines = page({fit: found[fit] for fit in FITS})
    print("\n".join(lines))
    if options.markdown is not None:
        pages.write_between(options.markdown, MARKS, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
