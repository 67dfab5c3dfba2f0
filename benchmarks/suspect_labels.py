"""How many suspect labels are wrong ones, where wrong ones were planted: the table of
``docs/measures/suspect-labels.md``.

Of the digit scenes of ``sample_models/`` and, where they lie beside the checkout, 400 photos with boxes, a tenth of the
labels is replaced, 20 times anew: by any other class (*any*), or by one that the model itself ranks high, 2nd to about
5th, in this image (*alike*), the mistake that a person would make. A class that is in the scene is never planted.
Precision is the share of suspects that were planted: what was wrong in the photos' labels before counts as a false
alarm, so that it is a lower bound there. Recall is the share of the planted ones that are suspect.

Beside it stand what its two parts give alone: every error; the errors of which the model is sure (confident learning's
threshold); and the suspects where no boxes are given.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from benchmarks.paper_claims import PHOTOS, REAL, SAMPLES, make_scenes, write_preprocess

SHARE, TIMES = 0.1, 20


def answers(model: Path, preprocess: str | None, images: Sequence[Path]) -> list[Any]:
    """The photo's geometry, the logits and the grid of each image."""
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.running.pipeline import iterate

    classifier = Classifier(model, preprocess=preprocess, emit=Emit(), by_image=True)
    found = []
    for answered in iterate(
        classifier.session, classifier.preprocess.preprocess, list(images), batch=8, outputs=("grid",)
    ):
        grids = answered.grids[classifier.place]
        shape = grids.grid.shape[2], grids.grid.shape[3]
        geometry = answered.geometry.of_cells(classifier.head.places, shape)
        found.append((geometry, grids.logits[0].astype(np.float32), grids.grid[0].astype(np.float32)))
    return found


def planted(rng: np.random.Generator, logits: np.ndarray, present: set[int], alike: bool) -> int:
    """A class that the image is not labelled with, and that is not in it as far as is known."""
    order = [int(index) for index in np.argsort(-logits) if int(index) not in present]
    if alike:
        order = [index for index in order if index != int(logits.argmax())][:4]
    return order[int(rng.integers(len(order)))]


def measured(answer: Any, label: int, boxes: Sequence[Any]) -> Any:
    """One image's measures under a label; boxes stay where they are, and are called by it."""
    from onnx_gapmil.metrics import measure_image

    geometry, logits, grid = answer
    own = [SimpleNamespace(box=tuple(map(float, box)), classes=(label,)) for box in boxes]
    return measure_image(logits, grid, labels=[label], geometry=geometry, boxes=own, localization=False)


def rates(
    found: Sequence[Any], labels: Sequence[int], boxes: Sequence[Any], present: Sequence[set[int]], alike: bool
) -> Any:
    """Precision, recall and mean number, over all plantings, of each way to choose."""
    from onnx_gapmil.metrics.suspects import suspect_images

    rng = np.random.default_rng(0)
    clean = [measured(*each) for each in zip(found, labels, boxes, strict=True)]
    counts: dict[str, list[int]] = {}
    total = 0
    for _ in range(TIMES):
        places = rng.choice(len(found), int(SHARE * len(found)), replace=False)
        images = list(clean)
        for place in places:
            label = planted(rng, found[place][1], present[place], alike)
            images[place] = measured(found[place], label, boxes[place])
        sure = [replace(image, foreground=None, label_cells=0) for image in images]
        ways: dict[str, Callable[[], Any]] = {
            "every error": lambda images=images: [i for i, image in enumerate(images) if not image.right],
            "sure errors": lambda sure=sure: suspect_images(sure),
            "suspects, without boxes": lambda images=images: suspect_images(
                [replace(image, foreground=None) for image in images]
            ),
            "suspects": lambda images=images: suspect_images(images),
        }
        total += len(places)
        for name, choose in ways.items():
            chosen = set(choose())
            hits, count = counts.get(name, [0, 0])
            counts[name] = [hits + len(chosen & set(places.tolist())), count + len(chosen)]
    return {name: (hits / max(count, 1), hits / total, count / TIMES) for name, (hits, count) in counts.items()}


def rows(name: str, found: Any, labels: Any, boxes: Any, present: Any) -> list[str]:
    """Lines of the table."""
    lines = []
    for alike in (False, True):
        for way, (precision, recall, count) in rates(found, labels, boxes, present, alike).items():
            kind = "alike" if alike else "any"
            lines.append(f"| `{name}` | {kind} | {way} | {count:.1f} | {100 * precision:.0f} | {100 * recall:.0f} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000, help="held-out scenes (default 1000)")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real models and photos")
    options = parser.parse_args()
    print(
        "| model | planted | chosen are | how many | precision, % | recall, % |\n| --- | --- | --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "scenes"
        scenes = json.loads(make_scenes(folder, options.scenes).read_text("utf-8"))
        found = answers(SAMPLES / "digits_torch_legacy.onnx", None, [folder / entry["image"] for entry in scenes])
        boxes = [[thing["box"] for thing in entry["objects"] if thing["class"] == entry["label"]] for entry in scenes]
        present = [{thing["class"] for thing in entry["objects"]} for entry in scenes]
        print("\n".join(rows("digits_torch_legacy", found, [entry["label"] for entry in scenes], boxes, present)))
        photos = options.real / "images" / "ilsvrc_val_227"
        if not photos.is_dir():
            print(f"*** {options.real} is absent: not measured on photos.", file=sys.stderr)
            return 0
        entries = json.loads((photos / "annotations.json").read_text("utf-8"))
        for name, offset in (("in1k_mobilenetv2_100_224_tflite_fp32", 1), ("in1k_squeezenet_fp16_caffe2", 0)):
            model = options.real / "models" / f"{name}.onnx"
            recipe = write_preprocess(model, PHOTOS[name], Path(scratch))
            found = answers(model, str(recipe), [photos / entry["file"] for entry in entries])
            labels = [entry["label"] + offset for entry in entries]
            own = [entry["boxes_227_xyxy"] for entry in entries]
            print("\n".join(rows(name, found, labels, own, [{label} for label in labels])), flush=True)
    return 0


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.exit(main())
