"""Real classifiers by others: are they lifted or refused as they should be, and do grids find what is in the pictures.

Three tables: verdicts and residuals of all models of ``manifest.json``; top-1 and top-5 on the first 200 and on all
400 ILSVRC validation images, by the model's logits and by the mean over the cells of the grid; and which of several
objects in one photo the grid finds, against what the image-level classes name. Exit code 1 if a model that must lift
does not (or the other way round), if a residual is too large, or if a figure is not the one in the folder's README.

Neither the images nor the models are part of this project.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.references.real import OBJECTS, REAL, REQUIRED, accuracy, check_model, read_manifest, several_objects

#: ILSVRC images of the smaller count.
FIRST = 200
#: Independent figures of the folder's README, top-1 and top-5 in percent: (of the models' own table, on other images or
#: fewer; of the audit of all 400 images, which must be met).
ACCURACY = {
    "in1k_mobilenetv2_100_224_tflite_fp32": ("75 / 92", (77.5, 93.5)),
    "in1k_darknettiny_keras_nhwc": ("67 / -", None),
    "in1k_squeezenet_fp16_caffe2": ("68 / 91", (70.75, 89.5)),
}
#: How far, in percent, an audit's figure may be off: two of 400 images.
SLACK = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", nargs="?", type=Path, default=REAL, metavar="REAL_DIR", help="default: ../shared/real")
    options = parser.parse_args()
    if not (options.real / "manifest.json").is_file():
        print(f"{options.real} has no manifest.json; give the folder of real models.", file=sys.stderr)
        return 2
    failures = []
    entries = {Path(entry["file"]).stem: entry for entry in read_manifest(options.real)}
    print(f"{'model':40} {'expected':15} {'got':12} {'grid':7} {'residual':9} {'cells':9} why")
    for entry in entries.values():
        row = check_model(entry, options.real)
        numbers = [f"{value:.1e}" if value is not None else "" for value in (row.residual, row.cell_residual)]
        grid = "x".join(map(str, row.grid))
        line = f"{row.name:40} {row.expected:15} {row.got:12} {grid:7} {numbers[0]:9} {numbers[1]:9}"
        print(line, row.code, row.why[:100])
        if row.got in ("wrong", "crashed") or (row.required and not row.met):
            failures.append(f"{row.name}: {row.expected} expected, {row.got} {row.code}")
    print(f"\n{'ILSVRC, % right':40} {'images':6}  top-1  top-5  by cells: top-1  top-5  README")
    for name, (table, audit) in ACCURACY.items():
        right = accuracy(entries[name], options.real)
        figures = {key: [100 * part.mean() for part in (hits[:FIRST], hits)] for key, hits in right.items()}
        texts = (table, "-" if audit is None else f"{audit[0]} / {audit[1]}")
        for place, (count, text) in enumerate(zip((FIRST, len(right["top1"])), texts, strict=True)):
            top1, top5, grid1, grid5 = (figures[key][place] for key in ("top1", "top5", "grid_top1", "grid_top5"))
            print(f"{name:40} {count:6}  {top1:5.1f}  {top5:5.1f}  {grid1:15.1f}  {grid5:5.1f}  {text}")
        off = (
            0.0
            if audit is None
            else max(abs(figures[key][1] - figure) for key, figure in zip(("top1", "top5"), audit, strict=True))
        )
        if off > SLACK:
            failures.append(f"{name}: accuracy is off by {off:.1f} from the README's")
    objects = several_objects(entries[REQUIRED[0]], options.real)
    print("\nSeveral objects in one photo                                                  grid   top-1  top-5")
    for thing in objects:
        marks = ["yes" if thing[key] else "-" for key in ("grid", "top1", "top5")]
        print(f"{thing['photo']:44} {thing['object']:32} {marks[0]:6} {marks[1]:6} {marks[2]}")
    totals = tuple(sum(thing[key] for thing in objects) for key in ("grid", "top1", "top5"))
    print(f"found of {len(objects)}: {totals}; README: {OBJECTS}")
    if totals != OBJECTS:
        failures.append(f"objects found: {totals}, README {OBJECTS}")
    print("\n" + ("\n".join(f"FAILS: {text}" for text in failures) or "passed"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
