"""What ``--fast-decode`` costs in exactness, and what it saves: inputs from large JPEGs with it and without.

Photos are synthesized with detail at every size, as photos have it, and written as JPEG of quality 90, 4:2:0. Each is
decoded and made the input of a network by the presets' ways, once from all pixels and once from those of a decoder that
leaves out what would be averaged away (DCT scaling, to no less than twice the resized photo). The difference is in grey
levels of 0..255, before scale and mean. Times are of the processor, a photo, on one thread; the least of three.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import made_by, table, write
from benchmarks.predict_end_to_end import photo

COMMAND = "python -m benchmarks.fast_decode --markdown docs/benchmarks/fast_decode.md"
SIZES = ((500, 375), (1280, 960), (2048, 1536), (4000, 3000))
SIDES = (224, 384)
HEADER = ["photo", "input", "decoded at", "mean", "99 %", "most", "ms exact", "ms fast"]


def measured(paths: list[Path], side: int) -> list[str]:
    """A row of the table."""
    from onnx_gapmil.images.decode import read_reduced, read_samples
    from onnx_gapmil.images.preprocess import Preprocess

    recipe = Preprocess(
        layout="NHWC",
        color="RGB",
        size=(side, side),
        scale=1.0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        dtype="uint8",
        resize="shortest",
        crop=0.875,
        interpolation="bilinear-antialias",
    )

    def exact(path: Path, out: Any) -> None:
        recipe.prepare(read_samples(path), out, path)

    def fast(path: Path, out: Any) -> None:
        samples, size = read_reduced(path, recipe.least_size)
        recipe.prepare(samples, out, path, size)

    differences, parts = [], set()
    for path in paths:
        inputs = np.empty((2, side, side, 3), dtype=np.uint8)
        exact(path, inputs[0])
        fast(path, inputs[1])
        differences.append(np.abs(inputs[0].astype(int) - inputs[1]))
        samples, size = read_reduced(path, recipe.least_size)
        parts.add(round(size[0] / samples.shape[0]))
    found = np.array(differences)
    (part,) = parts
    times = [f"{1e3 * _least(way, paths, side):.1f}" for way in (exact, fast)]
    share = "all pixels" if part == 1 else f"1/{part} of each side"
    figures = [f"{found.mean():.2f}", f"{np.quantile(found, 0.99):.0f}", f"{found.max()}"]
    return [f"{side} x {side}", share, *figures, *times]


def _least(way: Callable[[Path, Any], None], paths: list[Path], side: int) -> float:
    """Processor seconds a photo."""
    out = np.empty((side, side, 3), dtype=np.uint8)
    times = []
    for _ in range(3):
        start = time.thread_time()
        for path in paths:
            way(path, out)
        times.append((time.thread_time() - start) / len(paths))
    return min(times)


def main() -> int:
    """Measure, print, and write the page."""
    from onnx_gapmil.running.pipeline.tuning import tune_process

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=8, help="photos of each size (default 8)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    options = parser.parse_args()
    tune_process()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for width, height in SIZES:
            paths = []
            for seed in range(options.photos):
                stream = io.BytesIO()
                photo(seed, width, height).save(stream, "JPEG", quality=90)
                paths.append(Path(place) / f"{width}_{seed}.jpg")
                paths[-1].write_bytes(stream.getvalue())
            for side in SIDES:
                rows.append([f"{width} x {height}", *measured(paths, side)])
                print("  ".join(rows[-1]), flush=True)
    text = (__doc__ or "").strip().splitlines()
    page = [
        "# Fast decoding",
        "",
        *made_by(COMMAND, ("onnx-gapmil", "pillow", "simplejpeg", "numpy")),
        f"{options.photos} photos of each size.",
        "",
    ]
    write(options.markdown, [*page, *text, "", *table(HEADER, rows, numbers_from=3)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
