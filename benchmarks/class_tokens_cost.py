"""What the lift of a class token costs: multiply-adds counted, and processor time measured.

On transformers of the common sizes at 224 pixels, 1,000 classes, with random weights. Processor time of one thread, the
least of runs in turn with the model that was not rewritten: others on the machine cost none, but for caches.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks import pages

COMMAND = "python -m benchmarks.class_tokens_cost --markdown docs/benchmarks/class_tokens_cost.md"
#: Width, layers, heads of the common sizes at 224 pixels with patches of 16.
SHAPES = {"ViT-Ti/16": (192, 12, 3), "ViT-S/16": (384, 12, 6), "ViT-B/16": (768, 12, 12)}


def vit(width: int, layers: int, heads: int, classes: int = 1000) -> onnx.ModelProto:
    """A transformer of a common size, with random weights."""
    from tests.references.class_token_vit import timing_model

    return timing_model(width, layers, heads, classes)


def cost(name: str, shape: tuple[int, int, int], runs: int) -> list[list[str]]:
    """Rows of the cost table: multiply-adds counted, and the least processor time of runs in turn, on one thread."""
    from onnx_gapmil.ort.limits import set_seconds
    from onnx_gapmil.rewriting.rewriter import rewrite_model

    set_seconds(600)  # a machine that others use traces a large model slowly
    width, layers, _ = shape
    tokens, classes = 197, 1000
    block = 12 * width * width * tokens + 2 * width * tokens * tokens
    whole = layers * block + tokens * 768 * width + width * classes
    model = vit(*shape)
    plans = {
        "direct": ("direct", "grid", layers * width * width * 196 + 196 * width * classes),
        "direct, topk:5": ("direct", "topk:5", layers * (5 * width * width + 5 * width * 196)),
        "through": (
            "through",
            "grid",
            layers * 9 * width * width * 196 + 196 * width * classes,
        ),
    }
    data = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    plain, rows = _timed(model), []
    for title, (mode, emit, added) in plans.items():
        # Two sessions at a time, run in turn: a large one is a third of a gigabyte.
        made = _timed(rewrite_model(model, class_token=mode, emit=emit).model)  # type: ignore[arg-type]
        least = [float("inf")] * 2
        for _ in range(runs):
            for place, session in enumerate((plain, made)):
                start = time.process_time()  # of one thread: others on the machine cost none
                session.run(None, {"x": data})
                least[place] = min(least[place], time.process_time() - start)
        del made
        counted, measured = 100 * added / whole, 100 * (least[1] / least[0] - 1)
        figures = [f"{whole / 1e9:.2f}", f"{counted:+.1f} %", f"{1e3 * least[0]:.0f}", f"{measured:+.1f} %"]
        rows.append([name, title, *figures])
    return rows


def _timed(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings)


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="timed runs for each size and lift")
    parser.add_argument("--markdown", type=Path)
    chosen = parser.parse_args()
    timed = [row for name, shape in SHAPES.items() for row in cost(name, shape, chosen.runs)]
    lines = [
        "# Class tokens: what the lift costs",
        "",
        *pages.made_by(COMMAND),
        "",
        "One image of 224 pixels, 1,000 classes; processor time of one thread, the least of "
        f"{chosen.runs} runs in turn.",
        "",
        *pages.table(["model", "lift", "GMAC", "counted", "ms", "measured"], timed, numbers_from=2),
    ]
    print("\n".join(lines))
    pages.write(chosen.markdown, lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
